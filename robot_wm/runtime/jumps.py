"""Readings that no joint can have made: out of its range, or farther from the last sound one than its speed allows.

A glitch of one sample, a slipped encoder or a swapped cable shows as a position that jumps. Between two readings a
joint moves by its velocity limit times the time between them at most; a quarter more is allowed, for noise and for
stamps that jitter. What can be reached grows with the time since the last sound reading, so that a joint which really
did move while nobody looked is believed again. A joint that turns without end reads the same after a whole turn.

Out of range is a position beyond the joint's limits by more than a tenth of their width: limits are often set so much
inside the mechanical stops, on which a limb may well lie, and encoders have offsets.
Shape letters: K positions watched, O as in ``joints``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from robot_wm.runtime.faults import Fault
from robot_wm.runtime.joints import joint_elements, joint_limits, position_ranges, without_turns, wraps
from robot_wm.spec import AgentSpec, JointRole

Float32 = NDArray[np.float32]

SPEED_MARGIN = 1.25  # times the velocity limit
RANGE_MARGIN = 0.1  # of the range's width, beyond either end

_RANGE, _JUMP = int(Fault.RANGE), int(Fault.JUMP)


class JointWatch:
    """Watches the positions of the commanded joints that have limits; ``flat`` [O] is where the fields lie."""

    def __init__(self, spec: AgentSpec, flat: Float32) -> None:
        self._flat = flat
        told, limits = joint_elements(spec, JointRole.POSITION), joint_limits(spec)
        watched = [
            (joint, place, unit)
            for joint, place, unit in zip(told.joints, told.places, told.units, strict=True)
            if (limits[joint].velocity, limits[joint].position) != (None, None)
        ]
        self.fields = frozenset({told.field} if watched else ())
        self._period_s = spec.control_period_s
        self._names = [f"{told.field}: {spec.action.joints[joint]}" for joint, _, _ in watched]
        self._units = [unit for _, _, unit in watched]
        self._places = np.array([place for _, place, _ in watched], dtype=np.intp)  # [K]
        of = [limits[joint] for joint, _, _ in watched]
        self._low, self._high = position_ranges(of, margin=RANGE_MARGIN)  # [K] each
        speeds = [math.inf if limit.velocity is None else SPEED_MARGIN * limit.velocity for limit in of]
        self._reach = np.array(speeds, dtype=np.float32)  # [K] rad/s or m/s
        turning = [wraps(limit, unit) for limit, unit in zip(of, self._units, strict=True)]
        self._is_turning = np.array(turning, dtype=np.float32)  # [K]
        self._last = np.zeros(len(watched), dtype=np.float32)  # [K] the last sound reading
        self._last_s = -math.inf

    def forget(self) -> None:
        """Believe the next reading, wherever in its range it is."""
        self._last_s = -math.inf

    def judge(self, now_s: float) -> tuple[int, str]:
        """Bits of ``Fault`` and what is wrong; (0, "") for a sound frame, which the next one is then compared with."""
        if not self._names:
            return 0, ""
        now = self._flat.take(self._places)  # [K]
        bits, found = 0, []
        # Two ticks may follow each other faster than the samples that they saw.
        elapsed_s = max(now_s - self._last_s, self._period_s)
        if elapsed_s != math.inf:
            beyond = np.abs(without_turns(now - self._last, self._is_turning)) / self._reach  # [K] s
            worst = int(beyond.argmax())
            if float(beyond[worst]) > elapsed_s:
                bits |= _JUMP
                was, is_now = self._last[worst], now[worst]
                found.append(f"{self._names[worst]} jumped from {was:.4g} to {is_now:.4g} in {elapsed_s:.3g} s")
        outside = (now < self._low) | (now > self._high)
        if outside.any():
            bits |= _RANGE
            worst = int(outside.argmax())
            found.append(f"{self._names[worst]} reads {now[worst]:.4g} {self._units[worst]}, out of its range")
        if bits:
            return bits, "; ".join(found)
        self._last[:] = now
        self._last_s = now_s
        return 0, ""
