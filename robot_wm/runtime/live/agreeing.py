"""Joints' speeds against positions and a gyroscope against gravity, until each has been seen to agree.

Shape letters: W samples, O elements of all vector fields, K joints of which both are known.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robot_wm.runtime.joints import joint_limits, without_turns, wraps
from robot_wm.runtime.live.agreement import TURNED, agreement, turned
from robot_wm.runtime.live.fields import LiveFields
from robot_wm.runtime.live.samples import SampleRing
from robot_wm.spec import AgentSpec

Float32 = NDArray[np.float32]

LONGEST_GAP = 2.5  # control periods between two samples of a window


class LiveAgreement:
    """Of one robot; what once moved far enough and agreed is not asked again."""

    def __init__(self, spec: AgentSpec, fields: LiveFields) -> None:
        self._spec, self._fields = spec, fields
        limits = joint_limits(spec)
        units = dict(zip(fields.position.joints, fields.position.units, strict=True))
        turning = [wraps(limits[int(joint)], units[int(joint)]) for joint in fields.joints]
        self._is_turning = np.array(turning, dtype=np.float32)  # [K]
        self._are_right = np.zeros(len(fields.joints), dtype=np.bool_)  # [K]
        self._turns_right = fields.gyro is None

    @property
    def is_right(self) -> bool:
        """Whether everything has been seen to agree."""
        return bool(self._are_right.all()) and self._turns_right

    def judge(self, ring: SampleRing, noise: Float32, is_slow: bool) -> str:
        """What does not agree in a full ring, "" if nothing; ``noise`` [O] is that of one sample.

        ``is_slow``: no policy drives. Where one does, feet strike, and what speeds do between two ticks is lost of some
        joints: then most of them must be wrong.
        """
        if np.diff(ring.times_s).max() > LONGEST_GAP * self._spec.control_period_s:
            return ""  # what happened meanwhile nobody knows
        return self._speeds(ring, noise, is_slow) or self._turns(ring, noise)

    def _speeds(self, ring: SampleRing, noise: Float32, is_slow: bool) -> str:
        fields = self._fields
        if self._are_right.all():
            return ""
        steps = np.diff(ring.values[:, fields.position_places], axis=0)  # [W - 1, K]
        found = agreement(
            without_turns(steps, self._is_turning).astype(np.float64)[:, :, None],
            ring.values[:, fields.velocity_places].astype(np.float64)[:, :, None],
            ring.times_s,
            level_noise=noise[fields.position_places].astype(np.float64),
            rate_noise=noise[fields.velocity_places].astype(np.float64),
        )
        self._are_right |= found.is_right
        is_wrong = found.is_wrong & ~self._are_right
        if not is_wrong.any() or not (is_slow or is_wrong.sum() > 0.5 * len(is_wrong)):
            return ""
        worst = int(is_wrong.argmax())
        joint = self._spec.action.joints[fields.joints[worst]]
        return (
            f"{fields.velocity.field}: of {joint} does not agree with {fields.position.field}: in"
            f" {ring.times_s[-1] - ring.times_s[0]:.2g} s the speeds add up to {found.rate_moved[worst]:.3g}, the"
            f" positions moved by {found.level_moved[worst]:.3g} {fields.position.units[0]} (rms): sign, unit or order"
        )

    def _turns(self, ring: SampleRing, noise: Float32) -> str:
        fields = self._fields
        if self._turns_right or fields.gravity is None or fields.gyro is None:
            return ""
        values = ring.values.astype(np.float64)
        gravity, turning = values[:, fields.gravity.where], values[:, fields.gyro.where]
        found = agreement(
            np.diff(gravity, axis=0)[:, None, :],
            turned(gravity, turning)[:, None, :],
            ring.times_s,
            level_noise=noise[fields.gravity.where].max(keepdims=True).astype(np.float64),
            rate_noise=noise[fields.gyro.where].max(keepdims=True).astype(np.float64),
            moved=TURNED,
        )
        self._turns_right = bool(found.is_right[0])
        if not found.is_wrong[0]:
            return ""
        return (
            f"{fields.gyro.field.name}: does not agree with {fields.gravity.field.name}: in"
            f" {ring.times_s[-1] - ring.times_s[0]:.2g} s it tells of {found.rate_moved[0]:.3g} rad, gravity turned by"
            f" {found.level_moved[0]:.3g} rad (rms): sign, unit, axes, or the order of a quaternion"
        )
