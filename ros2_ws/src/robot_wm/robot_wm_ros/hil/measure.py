"""From what was heard in a segment to durations: pure functions over int64 arrays of nanoseconds.

Shape letters: S samples published, R commands received by the robot, K ticks of the agent, N ticks measured.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from robot_wm_ros.hil.pairing import Int64, SampleAccount, account, pair_in_order

TRACE = ("sequence", "stamp", "receipt", "inference", "safety", "publish")  # columns of the agent's ~/trace
STAGES = ("receipt", "inference", "safety", "publish", "applied")
_ON_TWO_CLOCKS = ("receipt", "applied")  # stages between robot and agent


@dataclass(frozen=True)
class Capture:
    """Messages as they were heard: the robot's ~/sampled [S, 2] and ~/applied [R, 2], the agent's ~/trace [K, 6]."""

    sampled: Int64  # sequence, stamp
    applied: Int64  # count, receipt
    trace: Int64  # see TRACE

    @property
    def missed(self) -> int:
        """Messages that were sent and that we did not hear, by the gaps in their counts."""
        return sum(
            int(rows[:, 0].max() - rows[:, 0].min() + 1 - rows.shape[0])
            for rows in (self.sampled, self.applied, self.trace)
            if rows.shape[0]
        )

    def until(self, time_ns: int) -> Capture:
        """What had happened by then, on the one clock of all: no command is in it without its cause."""
        return Capture(
            sampled=self.sampled[self.sampled[:, 1] < time_ns],
            applied=self.applied[self.applied[:, 1] < time_ns],
            trace=self.trace[self.trace[:, 1] < time_ns],
        )


@dataclass(frozen=True, kw_only=True)
class Counters:
    """What an agent's diagnostics counted from its activation until ``at_ns``, on its own clock."""

    at_ns: int = 2**62  # for ever
    superseded: int = 0
    lost: int = 0


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one node did with the samples of one or more segments; durations in ns."""

    end_to_end: Int64 = field(default_factory=lambda: _NOTHING)  # [N] sample stamp -> command received
    stages: dict[str, Int64] = field(default_factory=dict)  # [N] each; only what one clock can tell
    policy: Int64 = field(default_factory=lambda: _NOTHING)  # [N] observing, inference and safety together
    samples: SampleAccount = field(default_factory=SampleAccount)
    unanswered: int = 0  # ticks whose command the robot did not receive
    missed: int = 0  # messages about all this that we did not hear

    def __add__(self, other: Measurement) -> Measurement:
        return Measurement(
            end_to_end=np.concatenate((self.end_to_end, other.end_to_end)),
            stages={
                name: np.concatenate((self.stages.get(name, _NOTHING), other.stages.get(name, _NOTHING)))
                for name in {**self.stages, **other.stages}
            },
            policy=np.concatenate((self.policy, other.policy)),
            samples=self.samples + other.samples,
            unanswered=self.unanswered + other.unanswered,
            missed=self.missed + other.missed,
        )


_NOTHING: NDArray[np.int64] = np.zeros(0, dtype=np.int64)


def measure_agent(
    capture: Capture,
    window_ns: tuple[int, int],
    counters: Counters,
    *,
    period_s: float,
    one_clock: bool = True,
) -> Measurement:
    """Durations of the ticks whose samples were stamped in the window [from, to), on the robot's clock.

    Ticks that no sample made, such as the watchdog's, only keep the commands in order.

    With ``one_clock`` a command is sent at the end of the safety stage (it may be received before the call that
    publishes it returns, so ``applied`` can be slightly negative). Across hosts only the robot's clock tells when
    something was sent and received: a command is then not received before its sample was stamped, and the stages
    between robot and agent are left out.

    Samples are accounted for whether in the window or not, as the counters are: from the agent's first tick to its
    last before they were read. ``capture`` must begin before the agent is activated and end after its last command:
    commands are paired from the last one backwards.
    """
    trace = capture.trace[np.argsort(capture.trace[:, 0], kind="stable")]  # [K, 6]
    _, stamp, receipt, inference, safety, publish = trace.T
    paired = pair_in_order(np.maximum.accumulate(safety if one_clock else stamp), capture.applied[:, 1])  # [R]
    applied = np.full(stamp.size, -1, dtype=np.int64)  # [K] receipt of the tick's command
    applied[paired[paired >= 0]] = capture.applied[paired >= 0, 1]

    stamps = np.unique(capture.sampled[:, 1])  # [S]
    first = np.zeros(stamp.size, dtype=bool)
    first[np.unique(stamp, return_index=True)[1]] = True
    sampled = np.isin(stamp, stamps)
    measured = first & sampled & _within(stamp, window_ns)
    answered = measured & (applied >= 0)
    ends = {"receipt": receipt - stamp, "inference": inference - receipt, "safety": safety - inference}
    stages = {name: duration[answered] for name, duration in ends.items()}
    stages |= {"publish": (publish - safety)[answered], "applied": (applied - publish)[answered]}
    ticked = np.unique(stamp[sampled & (publish <= counters.at_ns)])
    return Measurement(
        end_to_end=(applied - stamp)[answered],
        stages={name: stages[name] for name in STAGES if one_clock or name not in _ON_TWO_CLOCKS},
        policy=(safety - receipt)[measured],
        samples=account(
            stamps[(stamps >= ticked[0]) & (stamps <= ticked[-1])] if ticked.size else stamps,
            ticked,
            superseded=counters.superseded,
            lost=counters.lost,
            period_s=period_s,
        ),
        unanswered=int(np.count_nonzero(measured & ~answered)),
        missed=capture.missed,
    )


def measure_echo(capture: Capture, window_ns: tuple[int, int]) -> Measurement:
    """Durations of the samples stamped in the window [from, to), answered by a node that leaves no trace.

    ``capture`` must end after its last command.
    """
    stamps = capture.sampled[np.argsort(capture.sampled[:, 0], kind="stable"), 1]  # [S]
    paired = pair_in_order(stamps, capture.applied[:, 1])  # [R]
    received = np.full(stamps.size, -1, dtype=np.int64)  # [S]
    received[paired[paired >= 0]] = capture.applied[paired >= 0, 1]
    measured = _within(stamps, window_ns)
    answered = measured & (received >= 0)
    return Measurement(
        end_to_end=(received - stamps)[answered],
        unanswered=int(np.count_nonzero(measured & ~answered)),
        missed=capture.missed,
    )


def _within(times_ns: Int64, window_ns: tuple[int, int]) -> NDArray[np.bool_]:
    return (times_ns >= window_ns[0]) & (times_ns < window_ns[1])
