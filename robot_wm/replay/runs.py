"""Where the episodes of a recording lie: runs of ticks in which the robot did what the agent said.

A run has no fault and no ``damp``, no tick of it is missing, and each sample came half to one and a half control
periods after the one before: a model of the robot at another rate is a model of another robot.

**Gaps.** A busy machine skips control periods: the next sample comes two or three periods later, and its tick has the
next number. Nothing was sent meanwhile, so that the drives kept to the command, which is known; what the sensors said
is not. Such a gap is bridged with a step for each period skipped: the time base stays true, the action is the command
that stood, the observation is the last one again (no value is made up that no sensor gave: between two samples of an
angle that wraps lies no angle that was there), and the episode's source names these steps. A gap is bridged up to
``bridge_ticks`` periods long, and only where ten recorded ticks for each of these lie before it, behind the gap before:
of an episode one step in eleven is a bridge at most. Any other gap ends the episode. Ticks that happened and were not
recorded are never bridged: their commands are not known.

Shape letters: N ticks of a recording, L steps of a run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot_wm.replay.recording import TickRecording

BRIDGE_TICKS = 3
_TICKS_BEFORE = 10  # recorded ones for each that is bridged


@dataclass(frozen=True)
class Run:
    """Ticks ``start`` to ``stop`` of a recording, counted as they lie there."""

    start: int
    stop: int
    gaps: tuple[tuple[int, int], ...] = ()  # bridged: the tick before, and how many are missing

    @property
    def steps(self) -> int:
        """L: ticks and bridged steps."""
        return self.stop - self.start + sum(missed for _, missed in self.gaps)

    def places(self) -> NDArray[np.int64]:
        """The tick of each step [L]; a tick before a bridged gap is there again."""
        times = np.ones(self.stop - self.start, np.int64)
        for at, missed in self.gaps:
            times[at - self.start] += missed
        return np.repeat(np.arange(self.start, self.stop), times)

    def without(self, taken: NDArray[np.bool_]) -> Iterator[Run]:
        """What is left of it, two ticks or more at a time, without the ticks that are ``taken`` [N]."""
        free = np.concatenate([[False], ~taken[self.start : self.stop], [False]])
        edges = np.flatnonzero(free[1:] != free[:-1]) + self.start
        for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            if stop - start > 1:
                yield Run(start, stop, tuple(gap for gap in self.gaps if start <= gap[0] < stop - 1))


@dataclass(frozen=True)
class Runs:
    """The runs of a recording, and what became of the other ticks."""

    slices: tuple[Run, ...]
    not_driven: int  # ticks at rest, damped or with a fault
    too_short: int  # ticks that had no neighbour
    paused: int  # ticks that the recorder left out on purpose, behind a damped one
    missing: int  # other ticks that were never recorded, by their numbers
    skipped: int  # control periods without a tick, between two ticks that were driven
    bridged_gaps: int
    bridged_ticks: int  # of the skipped
    split_by_missing: int  # places where an episode ends because the next tick is missing
    split_by_time: int  # … because its sample came too early or too late


def find_runs(recording: TickRecording, *, bridge_ticks: int = BRIDGE_TICKS) -> Runs:
    """Cut a recording into runs; gaps of up to ``bridge_ticks`` control periods are bridged, see above."""
    ticks = recording.ticks
    driven = _driven(recording)  # [N]
    number = ticks["tick"].astype(np.int64)  # [N]
    stamp_ns = ticks["header.stamp.sec"].astype(np.int64) * 10**9 + ticks["header.stamp.nanosec"]  # [N]
    step, period_ns = np.diff(number), recording.spec.control_period_s * 1e9  # [N - 1]
    passed_ns = np.diff(stamp_ns)  # [N - 1]
    both = driven[:-1] & driven[1:]  # [N - 1]
    next_one = both & (step == 1)
    joined = next_one & (np.abs(passed_ns - period_ns) <= period_ns / 2)
    late = next_one & (passed_ns > period_ns * 3 / 2)
    skipped = np.where(late, np.maximum(1, np.rint(passed_ns / period_ns) - 1), 0).astype(np.int64)
    bridges = _bridges(both, joined, skipped, bridge_ticks)
    joined[list(bridges)] = True
    begins = np.flatnonzero(driven & ~np.concatenate([[False], joined]))
    ends = np.flatnonzero(driven & ~np.concatenate([joined, [False]])) + 1
    found = [
        Run(a, b, tuple((at, missed) for at, missed in bridges.items() if a <= at < b))
        for a, b in zip(begins.tolist(), ends.tolist(), strict=True)
    ]
    unrecorded = np.where(step > 1, step - 1, 0)
    paused = int(unrecorded[ticks["damp"][:-1]].sum()) if len(ticks) else 0
    return Runs(
        slices=tuple(run for run in found if run.stop - run.start > 1),
        not_driven=int((~driven).sum()),
        too_short=sum(run.stop - run.start == 1 for run in found),
        paused=paused,
        missing=int(unrecorded.sum()) - paused,
        skipped=int(skipped.sum()),
        bridged_gaps=len(bridges),
        bridged_ticks=sum(bridges.values()),
        split_by_missing=int((both & (step != 1)).sum()),
        split_by_time=int((next_one & ~joined).sum()),
    )


def _driven(recording: TickRecording) -> NDArray[np.bool_]:
    """Whether each tick was followed by the robot and is whole [N]."""
    ticks = recording.ticks
    driven: NDArray[np.bool_] = (ticks["fault_bits"] == 0) & ~ticks["damp"]
    for name in ("command", *recording.log.vectors.values()):
        driven &= np.isfinite(ticks[name]).all(axis=1)
    for images in recording.images.values():
        has_image = np.zeros(len(ticks), np.bool_)
        has_image[list(images)] = True
        driven &= has_image
    return driven


def _bridges(
    both: NDArray[np.bool_], joined: NDArray[np.bool_], skipped: NDArray[np.int64], bridge_ticks: int
) -> dict[int, int]:
    """The gaps that are bridged: the tick before each, and how many are missing. All arguments are [N - 1]."""
    bridges: dict[int, int] = {}
    begin = 0  # of the ticks since the last gap, or since whatever else ended a run
    for at in np.flatnonzero(~joined).tolist():
        missed = int(skipped[at])
        if both[at] and 0 < missed <= bridge_ticks and at + 1 - begin >= _TICKS_BEFORE * missed:
            bridges[at] = missed
        begin = at + 1
    return bridges
