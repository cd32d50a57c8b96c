"""Where an observation tells the positions, speeds and efforts of the commanded joints, and all of them tick by tick.

The spec marks the field of each (``ObservationField.role``); nothing is guessed by units and labels, which a sensed
goal may have, too. Shape letters: A actions, O all elements of vector fields laid end to end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.spec import AgentSpec, JointLimits, JointRole

Float32 = NDArray[np.float32]

_TURN_RAD = 2.0 * math.pi
_WHOLE_TURN = 0.99  # of a turn: limits of ±3.14 rad are those of a joint whose sensor wraps at ±pi
# What each kind of command is watched with.
_ROLES = {
    "position": (JointRole.POSITION,),
    "velocity": (JointRole.POSITION, JointRole.VELOCITY),
    "effort": (JointRole.POSITION, JointRole.VELOCITY, JointRole.EFFORT),
    "discrete": (),
}


@dataclass(frozen=True)
class JointElements:
    """Where the field of a role tells of K commanded joints."""

    field: str  # "" if no field has the role
    joints: tuple[int, ...] = ()  # [K] places in the action's joints
    places: tuple[int, ...] = ()  # [K] in O
    units: tuple[str, ...] = ()  # [K]


_NOWHERE = JointElements("")


def joint_elements(spec: AgentSpec, role: JointRole) -> JointElements:
    """The elements of commanded joints in the field that has the role, in the action's order."""
    start = 0
    for field in spec.observations:
        if field.role is role:
            at = {joint: field.labels.index(joint) for joint in spec.action.joints if joint in field.labels}
            joints = tuple(spec.action.joints.index(joint) for joint in at)
            units = field.element_units()
            places = tuple(start + index for index in at.values())
            return JointElements(field.name, joints, places, tuple(units[index] for index in at.values()))
        start += 0 if field.is_image else field.shape[0]
    return _NOWHERE


def unplaced_joints(spec: AgentSpec) -> tuple[str, ...]:
    """The commanded joints of which no field with the role tells the position."""
    told = joint_elements(spec, JointRole.POSITION).joints
    return tuple(joint for index, joint in enumerate(spec.action.joints) if index not in told)


def unkept_joints(spec: AgentSpec) -> tuple[str, ...]:
    """The joints whose speed or effort is commanded, that have a range, and whose position nobody here knows."""
    if spec.action.mode not in ("velocity", "effort"):
        return ()
    limits = dict(zip(spec.action.joints, joint_limits(spec), strict=True))
    return tuple(joint for joint in unplaced_joints(spec) if limits[joint].position is not None)


def require_placed(spec: AgentSpec) -> None:
    """Refuse (UserError) a spec of position commands that does not say which field tells where the joints are.

    Without it a robot's first command would jump to wherever the policy wants, and no jump would be noticed.
    """
    action = spec.action
    if action.mode == "position" and (unplaced := unplaced_joints(spec)):
        raise UserError(
            f"observations: no field with the role {JointRole.POSITION.value} tells where {', '.join(unplaced)} is, so"
            f" the first command in {action.unit} would jump: mark the field in the task's spec (a bundle of an older"
            " version: export it again)"
        )


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
    """Position, speed and effort of every commanded joint, [A] in its own unit; NaN where no field tells them.

    A speed that no field tells is how far the joint went since the reading before, over the time between. What a mode
    of command is not watched with is not read: of position commands, anything but positions.
    """

    def __init__(self, spec: AgentSpec, flat: Float32) -> None:
        """``flat`` [O] is where the fields lie."""
        self._flat = flat
        n, mode = spec.action_dim, spec.action.mode
        self.position, self.speed, self.effort = (np.full(n, np.nan, dtype=np.float32) for _ in range(3))  # [A] each
        told = {role: joint_elements(spec, role) for role in _ROLES[mode]}
        self.fields = frozenset(elements.field for elements in told.values() if elements.field)
        into = {JointRole.POSITION: self.position, JointRole.VELOCITY: self.speed, JointRole.EFFORT: self.effort}
        self._copies = [(into[role], _indices(e.joints), _indices(e.places)) for role, e in told.items() if e.field]
        positions, speeds = (told.get(role, _NOWHERE) for role in (JointRole.POSITION, JointRole.VELOCITY))
        by_moving = positions.joints if JointRole.VELOCITY in told else ()
        self._by_moving = _indices([joint for joint in by_moving if joint not in speeds.joints])
        limits = joint_limits(spec)
        self._is_turning = np.zeros(n, dtype=np.float32)  # [A]
        for joint, unit in zip(positions.joints, positions.units, strict=True):
            self._is_turning[joint] = wraps(limits[joint], unit)
        self._shortest_s = 0.5 * spec.control_period_s
        self._last = np.full(n, np.nan, dtype=np.float32)  # [A]
        self._last_s = -math.inf

    def forget(self) -> None:
        """The next reading has none before it."""
        self._last.fill(np.nan)
        self._last_s = -math.inf

    def take(self, now_s: float) -> None:
        """Read a sound frame's ``position``, ``speed`` and ``effort``."""
        for values, joints, places in self._copies:
            values[joints] = self._flat[places]
        elapsed_s = now_s - self._last_s
        if self._by_moving.size and elapsed_s >= self._shortest_s:  # a tick out of turn sees the same sample again
            moved = without_turns(self.position - self._last, self._is_turning) / np.float32(elapsed_s)
            self.speed[self._by_moving] = moved[self._by_moving]
            self._last[:], self._last_s = self.position, now_s


def _indices(values: Sequence[int]) -> NDArray[np.intp]:
    return np.array(values, dtype=np.intp)
