"""What may be commanded: hard limits of every joint, and the one function that enforces them.

Precedence: a command must be finite, then it is cut to the joint's range, then to what can be reached from the last
command in one tick. The last command was inside the range, so what lies between the two is inside it too.
Everything is float32, as the commands are, and the limits are rounded inwards: what comes out is within the spec's
own (double precision) numbers. Shape letter: A actions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.runtime.joints import joint_limits
from robot_wm.spec import ActionSpec, AgentSpec, JointLimits

Float32 = NDArray[np.float32]

# Beyond any joint, and far enough from float32's ends that no difference or quotient of two commands leaves them.
_LARGEST = 1e15
_SMALLEST_SCALE = 1e-15


@dataclass(frozen=True)
class CommandLimits:
    """Limits of the SI command; ``low <= command <= high`` and ``|command - last| <= step``, element by element."""

    low: Float32  # [A]
    high: Float32  # [A]
    step: Float32  # [A] largest change in one tick; inf where there is no such limit


def command_limits(spec: AgentSpec) -> CommandLimits:
    """Limits per joint that follow from the spec's action, in the command's unit.

    Range: position mode ``limits.position``, velocity mode ± ``limits.velocity``, effort mode ± ``limits.effort``;
    for a joint without that limit, what the policy can ask for (``offset ± |scale| * clip``), widened to hold zero in
    velocity and effort mode, where zero is what a robot is stopped with. Change per tick: ``limits.rate`` and, in
    position mode, ``limits.velocity``, whichever is less, over the control rate.
    Raises UserError, naming the joint, for limits that float32 cannot express or that exclude each other.
    """
    action = spec.action
    n = spec.action_dim
    if action.is_discrete:
        zeros, ones = np.zeros(n, dtype=np.float32), np.ones(n, dtype=np.float32)
        return CommandLimits(low=zeros, high=ones, step=np.full(n, np.inf, dtype=np.float32))
    low, high, step = (np.empty(n, dtype=np.float32) for _ in range(3))
    for index, (joint, limits) in enumerate(zip(action.joints, joint_limits(spec), strict=True)):
        bottom, top = _range(action, index, limits)
        low[index], high[index] = _rounded_up(bottom), -_rounded_up(-top)
        if low[index] > high[index]:
            raise UserError(f"action.limits.{joint}: range [{bottom}, {top}] {action.unit} holds no float32 number")
        step[index] = _step(spec, limits, largest=max(abs(low[index]), abs(high[index])), joint=joint)
    return CommandLimits(low=low, high=high, step=step)


def require_robot_limits(spec: AgentSpec) -> None:
    """Refuse (UserError) a spec that a simulated toy may have and no robot: joints bounded by the policy's wish alone.

    Every joint needs the limit of its command: effort, velocity, or position or a speed of it.
    """
    action = spec.action
    if action.is_discrete:
        return
    for joint, limits in zip(action.joints, joint_limits(spec), strict=True):
        own = {
            "position": (limits.position, limits.velocity, limits.rate),
            "velocity": (limits.velocity,),
            "effort": (limits.effort,),
        }[action.mode]
        if all(limit is None for limit in own):
            raise UserError(
                f"action.limits: {joint} has no {action.mode} limit in {action.unit}: no robot is commanded"
                " without one (train with it in the task's spec)"
            )


def _range(action: ActionSpec, index: int, limits: JointLimits) -> tuple[float, float]:
    joint = action.joints[index]
    gain = abs(action.scale[index % len(action.scale)]) * action.clip
    offset = action.offset[index % len(action.offset)]
    if not _SMALLEST_SCALE <= gain <= _LARGEST or abs(offset) > _LARGEST:
        raise UserError(
            f"action: {joint} has scale * clip {gain:g} and offset {offset:g} {action.unit}; "
            f"float32 needs {_SMALLEST_SCALE:g} to {_LARGEST:g} and an offset of at most {_LARGEST:g}"
        )
    bound = {"position": None, "velocity": limits.velocity, "effort": limits.effort}[action.mode]
    if action.mode == "position" and limits.position is not None:
        bottom, top = limits.position
    elif bound is not None:
        bottom, top = -bound, bound
    else:
        bottom, top = offset - gain, offset + gain
        if action.mode != "position":
            bottom, top = min(bottom, 0.0), max(top, 0.0)
    if bottom > _LARGEST or top < -_LARGEST:
        raise UserError(
            f"action: range [{bottom}, {top}] {action.unit} of {action.joints[index]} is beyond {_LARGEST:g}"
        )
    return max(bottom, -_LARGEST), min(top, _LARGEST)


def _rounded_up(value: float) -> np.float32:
    """The smallest float32 that is not below ``value``."""
    nearest = np.float32(value)
    return nearest if float(nearest) >= value else np.nextafter(nearest, np.float32(np.inf))


def _step(spec: AgentSpec, limits: JointLimits, *, largest: np.float32, joint: str) -> np.float32:
    rates = [limits.rate, limits.velocity if spec.action.mode == "position" else None]
    per_second = min((rate for rate in rates if rate is not None), default=None)
    if per_second is None:
        return np.float32(np.inf)
    exact = per_second / spec.control_rate_hz
    # last ± step is rounded to a float32 of at most that spacing: without the margin it could reach a hair too far.
    step = -_rounded_up(-(exact - float(np.spacing(largest))))
    if step <= 0:
        raise UserError(
            f"action.limits.{joint}: {per_second} {spec.action.unit}/s is {exact:g} {spec.action.unit} a tick, "
            f"too small for float32 commands as large as {largest:g}"
        )
    return min(step, np.float32(_LARGEST))


def limit_command(
    target: Float32,
    last: Float32,
    limits: CommandLimits,
    *,
    out: Float32 | None = None,
    reach: tuple[Float32, Float32] | None = None,
) -> Float32:
    """Return the command nearest to ``target`` [A] that is allowed after ``last`` [A], which must be allowed itself.

    A target with a NaN or infinite element is no target at all: the result is ``last``. ``out`` [A] (not ``last``) and
    ``reach`` (two of [A]) are float32 buffers for callers that must not allocate.
    """
    out = np.empty_like(last) if out is None else out
    lowest, highest = (np.empty_like(last), np.empty_like(last)) if reach is None else reach
    if not all(map(math.isfinite, target.tolist())):  # for so few numbers faster than NumPy's two passes
        np.copyto(out, last)
        return out
    np.minimum(target, limits.high, out=out)
    np.maximum(out, limits.low, out=out)
    np.subtract(last, limits.step, out=lowest)
    np.add(last, limits.step, out=highest)
    np.maximum(out, lowest, out=out)
    np.minimum(out, highest, out=out)
    return out
