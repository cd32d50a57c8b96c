"""Where an observation tells the positions and speeds of the commanded joints, and both of them tick by tick.

An element of a sensor's field tells a joint's position if its label is the joint's name and its unit rad or m, and a
joint's speed if its unit is rad/s or m/s. Shape letters: A actions, O all elements of vector fields laid end to end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot_wm.spec import AgentSpec, JointLimits, ObservationField, Source

Float32 = NDArray[np.float32]

POSITION_UNITS = ("rad", "m")
SPEED_UNITS = ("rad/s", "m/s")

_TURN_RAD = 2.0 * math.pi
_WHOLE_TURN = 0.99  # of a turn: limits of ±3.14 rad are those of a joint whose sensor wraps at ±pi


@dataclass(frozen=True)
class JointElement:
    """One element of a field that tells something of a commanded joint."""

    field: str
    joint: int  # place in the action's joints
    place: int  # in O
    unit: str


def element_units(field: ObservationField) -> tuple[str, ...]:
    """Unit of each element of a vector: ``unit`` is one for all, or a list with commas; () if its length is wrong."""
    units = tuple(unit.strip() for unit in field.unit.split(","))
    units = units * field.shape[0] if len(units) == 1 else units
    return units if len(units) == field.shape[0] else ()


def joint_elements(spec: AgentSpec, units: tuple[str, ...]) -> Iterator[JointElement]:
    """Every element of a sensor's field in one of ``units`` that is labelled with a commanded joint's name."""
    joints = {name: index for index, name in enumerate(spec.action.joints)}
    start = 0
    for field in spec.observations:
        if field.is_image:
            continue
        if field.source is Source.SENSOR:
            for index, (label, unit) in enumerate(zip(field.labels, element_units(field), strict=False)):
                if label in joints and unit in units:
                    yield JointElement(field.name, joints[label], start + index, unit)
        start += field.shape[0]


def joint_limits(spec: AgentSpec) -> tuple[JointLimits, ...]:
    """Limits of each action, [A]; empty ones where the spec has none."""
    return spec.action.limits or (JointLimits(),) * spec.action_dim


def position_ranges(limits: Sequence[JointLimits], *, margin: float = 0.0) -> tuple[Float32, Float32]:
    """Lowest and highest position of each of K joints, [K] each; a share ``margin`` of the range wider at either end.

    Infinite for a joint without a range.
    """
    ends = [_ends(limit, margin) for limit in limits]
    low, high = (np.array([pair[end] for pair in ends], dtype=np.float32) for end in (0, 1))
    return low, high


def _ends(limits: JointLimits, margin: float) -> tuple[float, float]:
    if limits.position is None:
        return -math.inf, math.inf
    low, high = limits.position
    return low - margin * (high - low), high + margin * (high - low)


def wraps(limits: JointLimits, unit: str) -> bool:
    """Whether a joint turns without end, so that its sensor may begin anew after a turn."""
    if unit != "rad":
        return False
    return limits.position is None or limits.position[1] - limits.position[0] >= _WHOLE_TURN * _TURN_RAD


def without_turns(moved: Float32, is_turning: Float32) -> Float32:
    """Differences of positions less the whole turns of those that wrap (``is_turning`` 1.0, of all others 0.0)."""
    turns: Float32 = np.rint(moved / np.float32(_TURN_RAD)) * is_turning
    moved = moved - np.float32(_TURN_RAD) * turns
    return moved


class JointReadings:
    """Position and speed of every commanded joint, [A] in its own unit; NaN where no field tells them.

    A speed that no field tells is how far the joint went since the reading before, over the time between.
    """

    def __init__(self, spec: AgentSpec, flat: Float32) -> None:
        """``flat`` [O] is where the fields lie."""
        self._flat = flat
        n = spec.action_dim
        self.position: Float32 = np.full(n, np.nan, dtype=np.float32)  # [A]
        self.speed: Float32 = np.full(n, np.nan, dtype=np.float32)  # [A]
        first: dict[tuple[int, bool], JointElement] = {}
        for element in joint_elements(spec, POSITION_UNITS + SPEED_UNITS):
            first.setdefault((element.joint, element.unit in POSITION_UNITS), element)
        told = [first[joint, True] for joint in range(n) if (joint, True) in first]
        speeds = [first[joint, False] for joint in range(n) if (joint, False) in first]
        self.fields = frozenset(element.field for element in (*told, *speeds))
        self._joints, self._places = _indices([e.joint for e in told]), _indices([e.place for e in told])
        self._speed_joints, self._speed_places = (
            _indices([e.joint for e in speeds]),
            _indices([e.place for e in speeds]),
        )
        self._differs = bool(set(self._joints.tolist()) - set(self._speed_joints.tolist()))
        limits = joint_limits(spec)
        self._is_turning = np.zeros(n, dtype=np.float32)  # [A]
        for element in told:
            self._is_turning[element.joint] = wraps(limits[element.joint], element.unit)
        self._shortest_s = 0.5 * spec.control_period_s
        self._last = np.full(n, np.nan, dtype=np.float32)  # [A]
        self._last_s = -math.inf

    def forget(self) -> None:
        """The next reading has none before it."""
        self._last.fill(np.nan)
        self._last_s = -math.inf

    def take(self, now_s: float) -> None:
        """Read a sound frame's ``position`` and ``speed``."""
        self.position[self._joints] = self._flat[self._places]
        elapsed_s = now_s - self._last_s
        if self._differs and elapsed_s >= self._shortest_s:  # a tick out of turn sees the same sample again
            moved = without_turns(self.position - self._last, self._is_turning)
            self.speed[:] = moved / np.float32(elapsed_s)
            self._last[:], self._last_s = self.position, now_s
        self.speed[self._speed_joints] = self._flat[self._speed_places]


def _indices(values: list[int]) -> NDArray[np.intp]:
    return np.array(values, dtype=np.intp)
