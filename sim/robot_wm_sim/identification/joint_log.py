"""What joints were told and what they did, as a recording of a robot's ticks has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.replay.recording import TickRecording, read_recording
from robot_wm.replay.runs import Run, find_runs
from robot_wm.spec import AgentSpec, JointRole, ObservationField, Source, require_same

Float64 = NDArray[np.float64]
MOST_S = 60.0  # of a log that are looked at
SETTLING_S = 1.0  # of each stretch that hangs on how it began
LEAST_S = 2.0  # of a stretch that is worth anything
HELD_OUT = 0.25  # share of each stretch, its end, that only judges


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Joints under commands without a fault. Times are seconds since the first sample, each on its own beat.

    A sample is of its stamp. Its command went out when the agent had worked it out: from there until joints heed it
    is what is identified as the delay, together with whatever a sample was late when it was stamped.
    """

    time_s: Float64  # [T] of the samples
    position: Float64  # [T, N] rad or m, as encoders tell
    velocity: Float64 | None  # [T, N] rad/s or m/s
    command_s: Float64  # [T] when each command went out
    command: Float64  # [T, A] SI
    counts_from_s: float = 0.0  # samples before that are there for what they lead to
    wishes: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)  # [T, *shape] the operator's, by field

    @property
    def duration_s(self) -> float:
        """From the first sample to the last."""
        return float(self.time_s[-1])

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Which samples [T] count."""
        counted: NDArray[np.bool_] = self.time_s >= self.counts_from_s - 1e-9
        return counted

    def part(self, begin: int, end: int) -> Stretch:
        """Samples ``begin`` to ``end``, all of which count; the time begins anew."""
        own, start = slice(begin, end), self.time_s[begin]
        return replace(
            self,
            time_s=self.time_s[own] - start,
            position=self.position[own],
            velocity=None if self.velocity is None else self.velocity[own],
            command_s=self.command_s[own] - start,
            command=self.command[own],
            counts_from_s=0.0,
            wishes={name: values[own] for name, values in self.wishes.items()},
        )


@dataclass(frozen=True, kw_only=True)
class JointLog:
    """The stretches of a recording: what is fitted, and what only judges.

    The latter are whole, as set-points of velocity commands follow from where they began; their last samples count.
    """

    spec: AgentSpec
    joints: tuple[str, ...]  # [N] commanded and measured
    fit: tuple[Stretch, ...]
    held_out: tuple[Stretch, ...]

    @property
    def duration_s(self) -> float:
        """Of all stretches."""
        return sum(one.duration_s for one in self.held_out)


def read_joint_log(path: Path, *, expected: AgentSpec | None = None, skip_damaged: bool = False) -> JointLog:
    """The first minute of a recording in which the robot did what it was told.

    Raises UserError for a file that cannot be read, for ticks of another spec than ``expected``, and for a recording
    that lacks what is needed: positions of the commanded joints (a field with role joint_position), and two seconds
    in a row without a fault.
    """
    recording = read_recording(path, skip_damaged=skip_damaged)
    spec = recording.spec
    if expected is not None:
        require_same(expected, spec, origin=str(path))
    position = _field(spec, JointRole.POSITION)
    if position is None:
        told = ", ".join(one.name for one in spec.observations)
        raise UserError(f"{path}: no field has role {JointRole.POSITION.value} (fields: {told}): joints cannot be seen")
    joints = tuple(name for name in spec.action.joints if name in position.labels)
    stretches, left_s = [], MOST_S
    for run in find_runs(recording).slices:
        stretch = _stretch(recording, run, position, joints)
        count = int(np.searchsorted(stretch.time_s, left_s, side="right"))
        stretch = stretch.part(0, count)
        if count > 1 and stretch.duration_s >= LEAST_S:
            stretches.append(stretch)
            left_s -= stretch.duration_s
        if left_s < LEAST_S:
            break
    if not stretches:
        raise UserError(
            f"{path}: has no {LEAST_S:g} s in a row in which the robot was driven without a fault"
            f" ({len(recording.ticks)} ticks)"
        )
    cuts = [round(len(one.time_s) * (1.0 - HELD_OUT)) for one in stretches]
    return JointLog(
        spec=spec,
        joints=joints,
        fit=tuple(_begun(one.part(0, cut)) for one, cut in zip(stretches, cuts, strict=True)),
        held_out=tuple(
            replace(one, counts_from_s=float(one.time_s[cut])) for one, cut in zip(stretches, cuts, strict=True)
        ),
    )


def _begun(stretch: Stretch) -> Stretch:
    """Of which the beginning does not count: where joints were is known to within noise, and no earlier command is."""
    return replace(stretch, counts_from_s=min(SETTLING_S, stretch.duration_s / 4))


def _field(spec: AgentSpec, role: JointRole) -> ObservationField | None:
    return next((one for one in spec.observations if one.role is role), None)


def _stretch(recording: TickRecording, run: Run, position: ObservationField, joints: tuple[str, ...]) -> Stretch:
    ticks, own = recording.ticks, slice(run.start, run.stop)
    stamp_ns = ticks["header.stamp.sec"][own].astype(np.int64) * 10**9 + ticks["header.stamp.nanosec"][own]  # [T]
    time_s = (stamp_ns - stamp_ns[0]) * 1e-9
    worked_s = (ticks["publish_ns"][own] - ticks["receipt_ns"][own]) * 1e-9  # [T] from a sample to its command

    def column(of: ObservationField) -> Float64:
        rows = [of.labels.index(name) for name in joints]
        values: Float64 = ticks[recording.log.vectors[of.name]][own].astype(np.float64)[:, rows]
        return values

    velocity = _field(recording.spec, JointRole.VELOCITY)
    if velocity is not None and not set(joints) <= set(velocity.labels):
        velocity = None
    return Stretch(
        time_s=time_s,
        position=column(position),
        velocity=None if velocity is None else column(velocity),
        command_s=time_s + worked_s,
        command=ticks["command"][own].astype(np.float64),
        wishes={
            one.name: np.ascontiguousarray(ticks[recording.log.vectors[one.name]][own])
            for one in recording.spec.observations
            if one.source is Source.COMMAND
        },
    )
