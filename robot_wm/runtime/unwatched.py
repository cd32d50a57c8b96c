"""What of a robot's joints nothing watches, in words: for whoever is about to let it drive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from robot_wm.runtime.following import FollowingMonitor
from robot_wm.runtime.joints import unkept_joints
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
    if unkept := unkept_joints(spec):
        yield (
            f"only the drives can keep {_some(unkept)} from the ends of the range: no field with the role"
            f" {JointRole.POSITION.value}"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= _SHOWN else f"{names[0]} and {len(names) - 1} others"
