"""SensorModel: how late, how noisy and how lossy the way from a robot's sensors to its agent and back is."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from pydantic import ConfigDict

from robot_wm.errors import UserError

MOST_LATENCY_S = 10.0
# Of legged_gym (Rudin et al. 2021; there uniform in ± the same numbers), standard deviations.
LEGGED_GYM_NOISE = {"joint_position": 0.01, "joint_velocity": 1.5, "angular_velocity": 0.2, "gravity": 0.05}

Numbers = float | Sequence[float]  # one for all elements, or one for each


@dataclass(frozen=True, kw_only=True)
class SensorModel:
    """By default everything is exact and at once, as the physics engine has it.

    Latencies are seconds, rounded to whole physics steps: with ``observation_latency_s`` 0.006 the agent is told at
    each tick what the sensors read 6 ms before it (at the start: when the episode began), with ``action_latency_s``
    0.006 the drives do for the first 6 ms of each control period what they were told before (at the start: they brake).
    Either may be longer than a control period. ``jitter_s`` makes each sample and each command later by something
    uniform in [0, jitter_s]; none overtakes an earlier one. With ``drop_probability`` a sample is lost, and the agent
    is told the last one once more, noise included.

    ``noise_std`` (Gaussian, white) and ``bias`` (the same in every sample) go by what a sensor reads, each one number
    or one for each element:

    ==========================  =====================  ==================================================
    name                        unit                   elements
    ==========================  =====================  ==================================================
    joint_position              rad or m               the robot's joints J
    joint_velocity              rad/s or m/s           J
    joint_effort                N·m or N               J
    angular_velocity            rad/s                  3, axes of the base
    linear_acceleration         m/s²                   3, axes of the base
    gravity                     1                      2: horizontal parts of its direction, length 1; the
                                                       orientation tilts by as many rad
    base_position               m                      3, world
    linear_velocity             m/s                    3, axes of the base
    a sensor's field of the     the field's            the field's, where it comes on none of the topics
    spec, such as a tool pose                          joint_states, imu/data and odom, of which the above are
    ==========================  =====================  ==================================================

    The task's fields follow from these: a mean of four wheels' speeds has half their noise. Raises UserError for a
    number that cannot be; a name that the task's robot lacks is refused where the model meets it (`Noise`).
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")  # where it is read from a task's option

    observation_latency_s: float = 0.0
    action_latency_s: float = 0.0
    jitter_s: float = 0.0
    drop_probability: float = 0.0
    noise_std: Mapping[str, Numbers] = field(default_factory=dict)
    bias: Mapping[str, Numbers] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("observation_latency_s", "action_latency_s", "jitter_s"):
            value = getattr(self, name)
            if not (_is_number(value) and 0.0 <= value <= MOST_LATENCY_S):
                raise UserError(f"{name} must be within [0, {MOST_LATENCY_S:g}] s, got {value!r}")
        if not (_is_number(self.drop_probability) and 0.0 <= self.drop_probability < 1.0):
            raise UserError(f"drop_probability must be at least 0 and below 1, got {self.drop_probability!r}")
        for name, least in (("noise_std", 0.0), ("bias", -math.inf)):
            given = getattr(self, name)
            if not isinstance(given, Mapping):
                raise UserError(f"{name} must go by the names of what is read, got {given!r}")
            object.__setattr__(self, name, {key: _numbers(f"{name} {key}", given[key], least) for key in given})

    @property
    def is_exact(self) -> bool:
        """Whether the agent is told what is so now."""
        late = self.observation_latency_s or self.jitter_s or self.drop_probability
        return not (late or self.noise_std or self.bias)

    @property
    def is_prompt(self) -> bool:
        """Whether drives hear of a command at once."""
        return not (self.action_latency_s or self.jitter_s)


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, float) or (isinstance(value, numbers.Real) and not isinstance(value, bool))
    return is_number and math.isfinite(value)


def _numbers(name: str, value: Any, least: float) -> float | tuple[float, ...]:
    given = value.tolist() if isinstance(value, np.ndarray) else value
    several = tuple(given) if isinstance(given, list | tuple) else (given,)
    for one in several or (given,):
        if not (_is_number(one) and one >= least):
            raise UserError(f"{name} must be {'at least 0' if least == 0.0 else 'finite'}, got {one!r}")
    return tuple(map(float, several)) if several != (given,) else float(several[0])


EXACT = SensorModel()
