"""A task's robot to be shown: what it looks like, and the pose that observed fields tell.

Shape letters: K steps, J joints of the robot, O elements of a field.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.spec import AgentSpec
from robot_wm.tasks import make_env

if TYPE_CHECKING:
    import gymnasium

Colour = tuple[float, float, float, float]  # red, green, blue, alpha in [0, 1]


class Poses(NamedTuple):
    """K poses of a robot. A step of which something is not known is NaN throughout."""

    joints: NDArray[np.float64]  # [K, J] rad or m, in the order of `PosedRobot.joints`
    base_position: NDArray[np.float64]  # [K, 3] m
    base_quaternion: NDArray[np.float64]  # [K, 4] x, y, z, w

    def known(self) -> NDArray[np.bool_]:
        """Which of them are known, [K]."""
        known: NDArray[np.bool_] = np.isfinite(np.concatenate(self, 1)).min(axis=1, initial=True)
        return known

    def rows(self, which: Any) -> Poses:
        """Some of them, by a slice, indices or a mask."""
        return Poses(self.joints[which], self.base_position[which], self.base_quaternion[which])


class PosedRobot(Protocol):
    """What a task's environment offers of its robot."""

    @property
    def joints(self) -> tuple[str, ...]:
        """Names of the description's moving joints, along axis J."""

    def description(self, colour: Colour | None = None) -> str:
        """URDF whose links look as they do in the task's pictures, or all in one ``colour``; meshes by full path."""

    def poses(self, obs: Mapping[str, NDArray[Any]]) -> Poses:
        """Poses that fields [K, O], raw SI, tell. What no field tells is as the robot stands at home."""

    def picture(self, poses: Poses, k: int) -> NDArray[np.uint8]:
        """The robot in pose ``k``, which is known, as the task's pictures show it: uint8 [height, width, 3]."""


def posed_robot(env: gymnasium.Env[Any, Any], spec: AgentSpec) -> PosedRobot | None:
    """The robot of a task's environment as ``spec``'s fields tell it; None where it offers none, or none tells a joint.

    It takes the environment's physics as its stage: who poses a robot steps no episode there.
    """
    offer = getattr(env.unwrapped, "posed_robot", None)
    found: PosedRobot | None = None if offer is None else offer(spec)
    return found


@contextmanager
def robot_on_stage(task: str, options: Mapping[str, Any], spec: AgentSpec) -> Iterator[tuple[PosedRobot | None, str]]:
    """The robot of ``task`` and "", or None and why it cannot be shown; its environment is closed with the block."""
    try:
        env = make_env(task, **options)
    except UserError as error:
        yield None, str(error)
        return
    try:
        found = posed_robot(env, spec)
        yield found, "" if found is not None else f"task {task}: no field tells where a robot's joints are"
    finally:
        env.close()
