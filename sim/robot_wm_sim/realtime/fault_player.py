"""Plays a fault schedule on samples before they become messages."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import singledispatch

import numpy as np

from robot_wm_sim.realtime import fault_schedule as faults
from robot_wm_sim.sensing.sample import Sample

NS = 1_000_000_000  # in a second


class FaultPlayer:
    """What a schedule does to a stream of samples. Times are seconds since the schedule's start; before it: none."""

    def __init__(self, schedule: faults.FaultSchedule) -> None:
        self._faults = schedule.faults
        self._frozen_ns: dict[int, int] = {}  # stamp at which each stale stream stands still, by the fault's number

    def active(self, time_s: float) -> tuple[str, ...]:
        """Kinds of the faults that are on."""
        return tuple(fault.kind for fault in self._faults if fault.is_active(time_s))

    def rate_hz(self, time_s: float) -> float | None:
        """How often samples come; None: as usual."""
        rates = [f.rate_hz for f in self._faults if isinstance(f, faults.Flood) and f.is_active(time_s)]
        return max(rates, default=None)

    def apply(self, sample: Sample, time_s: float) -> Sample | None:
        """What becomes of a stamped sample; None: nobody hears of it. The sample itself is left as it is."""
        for number, fault in enumerate(self._faults):
            if not fault.is_active(time_s):
                self._frozen_ns.pop(number, None)
            elif isinstance(fault, faults.Stop):
                return None
            elif isinstance(fault, faults.Stale) and fault.age_s is None:
                sample = replace(sample, stamp_ns=self._frozen_ns.setdefault(number, sample.stamp_ns))
            else:
                sample = change(fault, sample)
        return sample


@singledispatch
def change(fault: faults.Fault, sample: Sample) -> Sample:
    """The sample as the fault leaves it; a flood changes only the rate."""
    return sample


@change.register
def _(fault: faults.Stale, sample: Sample) -> Sample:
    return replace(sample, stamp_ns=max(0, sample.stamp_ns - round((fault.age_s or 0.0) * NS)))


@change.register
def _(fault: faults.ClockJump, sample: Sample) -> Sample:
    return replace(sample, stamp_ns=max(0, sample.stamp_ns + round(fault.offset_s * NS)))


@change.register
def _(fault: faults.Jump, sample: Sample) -> Sample:
    return replace(
        sample, joint_position=sample.joint_position + fault.delta * _at(sample, (fault.joint,)).astype(np.float64)
    )


@change.register
def _(fault: faults.NotANumber, sample: Sample) -> Sample:
    where = _at(sample, fault.joints or sample.joint_names)  # [N]
    changed = replace(
        sample,
        joint_position=np.where(where, math.nan, sample.joint_position),
        joint_velocity=np.where(where, math.nan, sample.joint_velocity),
        joint_effort=np.where(where, math.nan, sample.joint_effort),
    )
    if fault.joints:
        return changed
    return replace(
        changed,
        orientation=np.full(4, math.nan),
        angular_velocity=np.full(3, math.nan),
        linear_acceleration=np.full(3, math.nan),
    )


@change.register
def _(fault: faults.MissingJoints, sample: Sample) -> Sample:
    return _reordered(sample, np.flatnonzero(~_at(sample, fault.joints)))


@change.register
def _(fault: faults.Reorder, sample: Sample) -> Sample:
    rows = np.random.default_rng(fault.seed).permutation(len(sample.joint_names))
    # Of a few joints a permutation may be none.
    return _reordered(sample, rows if (np.diff(rows) != 1).any() else np.roll(rows, 1))


@change.register
def _(fault: faults.Rename, sample: Sample) -> Sample:
    return replace(sample, joint_names=tuple(fault.names.get(name, name) for name in sample.joint_names))


def _at(sample: Sample, joints: tuple[str, ...]) -> np.ndarray:
    """Which of the sample's joints are named, bool [N]."""
    return np.array([name in joints for name in sample.joint_names], dtype=bool)


def _reordered(sample: Sample, rows: np.ndarray) -> Sample:
    """The sample with the joints of these rows, in their order."""
    return replace(
        sample,
        joint_names=tuple(sample.joint_names[row] for row in rows),
        joint_position=sample.joint_position[rows],
        joint_velocity=sample.joint_velocity[rows],
        joint_effort=sample.joint_effort[rows],
    )
