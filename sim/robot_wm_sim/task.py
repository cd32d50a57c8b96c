"""Task: what the robot is asked to do. It owns the AgentSpec, the scene, resets, observations and rewards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_wm.evaluation.overlay import Panel
from robot_wm.spec import AgentSpec
from robot_wm.tasks import RewardFrom
from robot_wm_sim.backend import PhysicsBackend
from robot_wm_sim.scene import Scene

Vector = NDArray[Any] | Sequence[float]
VIDEO = "video"  # the scene's camera that RobotEnv.render looks through


class Outcome(NamedTuple):
    """What a control step brought."""

    reward: float
    terminated: bool = False
    # "success": bool where the task knows success; "figures": values of the episode so far under Task.figure_names, a
    # dict, or a `FiguresSoFar` where working them out at every step would cost.
    info: Mapping[str, Any] = MappingProxyType({})


class Task(ABC):
    """One task on one robot, on any backend.

    Whatever a task remembers from step to step must be set anew by ``reset``: an episode depends on nothing but the
    generator that ``reset`` gets. The environment adds to ``observe`` what it knows itself: images (from the scene's
    camera of the field's name) and the last action.
    """

    spec: AgentSpec
    scene: Scene
    step_limit: int  # control steps, then the episode is truncated
    # What ``Outcome.info["figures"]`` holds at every step: each a mean, rate or ratio of the episode so far, None while
    # it is not defined. ``fall`` is 1 once the episode has ended in a fall, else 0: whoever reports, counts those.
    figure_names: tuple[str, ...] = ()

    @abstractmethod
    def reset(self, sim: PhysicsBackend, rng: np.random.Generator) -> None:
        """Start an episode: place the robot and the markers. Physics stands where the scene was built."""

    def advance(self, sim: PhysicsBackend, rng: np.random.Generator) -> None:  # noqa: B027  most tasks need none
        """Before each control step: a new operator's command, a push. ``rng`` is the episode's generator."""

    @abstractmethod
    def observe(self, sim: PhysicsBackend) -> Mapping[str, Vector]:
        """Sensor and command fields of the spec by name, raw SI; each is copied by the environment.

        Asked for at any physics step, and more than once: it changes nothing. Under a SensorModel the state of ``sim``
        is what the sensors say, and the fields on other topics than joint_states, imu/data and odom are those of a call
        when they were read.
        """

    @abstractmethod
    def outcome(self, sim: PhysicsBackend, command: NDArray[np.float64]) -> Outcome:
        """Reward and end of the control step that ``command`` [A] (SI, as executed) led to. Called once a step."""

    def reward_from(self) -> RewardFrom | None:
        """The rewards of ``outcome`` from recorded fields, for what robots recorded; None where these do not suffice.

        Both must come from one function of what the fields tell: see `robot_wm_sim.recorded.step_rewards`.
        """
        return None

    def overlay(self, sim: PhysicsBackend) -> Panel:
        """Lines by name to be drawn on pictures for people: what was asked of the robot, what it does. None here."""
        return {}
