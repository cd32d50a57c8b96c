"""What of a robot's joints nothing watches, in words: for whoever is about to let it drive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from robot_wm.runtime.following import FollowingMonitor
from robot_wm.runtime.joints import joint_limits, unplaced_joints
from robot_wm.spec import AgentSpec, JointRole

_SHOWN = 3  # names in a line


def unwatched(spec: AgentSpec, following: FollowingMonitor) -> tuple[str, ...]:
    """One line for each thing that is not watched, with the joints and what would have to be there."""
    return tuple(_lines(spec, following))


def _lines(spec: AgentSpec, following: FollowingMonitor) -> Iterator[str]:
    action = spec.action
    if action.is_discrete:
        return
    if following.unwatched:
        yield (
            f"nothing watches whether {_some(following.unwatched)} will do as told: no field with the role"
            f" joint_{action.mode}, no limits in the spec, or following_s infinite"
        )
    ranged = [name for name, limit in zip(action.joints, joint_limits(spec), strict=True) if limit.position is not None]
    unplaced = [name for name in unplaced_joints(spec) if name in ranged]
    if unplaced:
        yield (
            f"nothing keeps {_some(unplaced)} from the ends of the range: no field with the role"
            f" {JointRole.POSITION.value}"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= _SHOWN else f"{names[0]} and {len(names) - 1} others"
