"""Durations from hand-made messages, to the nanosecond."""

from __future__ import annotations

import numpy as np
import pytest

from robot_wm_ros.hil.measure import STAGES, TRACE, Capture, Counters, Measurement, measure_agent, measure_echo
from robot_wm_ros.hil.pairing import SampleAccount

MS = 1_000_000


def rows(values, width):
    return np.array(values, dtype=np.int64).reshape(-1, width)


def capture(sampled, applied, trace):
    return Capture(sampled=rows(sampled, 2), applied=rows(applied, 2), trace=rows(trace, len(TRACE)))


# Samples every 10 ms; each tick spends 1 µs more on each stage than the one before.
STAMPS = [k * 10 * MS for k in range(1, 6)]
TRACES = [
    [k, stamp, stamp + 100_000, stamp + 300_000 + k, stamp + 310_000 + k, stamp + 330_000 + k]
    for k, stamp in enumerate(STAMPS, 1)
]
APPLIED = [[k, trace[-1] + 70_000] for k, trace in enumerate(TRACES, 1)]
SAMPLED = list(enumerate(STAMPS, 1))
WHOLE = (0, 1000 * MS)


def measured(heard, window=WHOLE, counters=None, *, one_clock=True):
    return measure_agent(heard, window, counters or Counters(), period_s=0.01, one_clock=one_clock)


def test_stages_are_the_differences_and_add_up_to_end_to_end():
    found = measured(capture(SAMPLED, APPLIED, TRACES))
    assert list(found.stages) == list(STAGES)
    assert found.stages["receipt"].tolist() == [100_000] * 5
    assert found.stages["inference"].tolist() == [200_000 + k for k in range(1, 6)]
    assert found.stages["safety"].tolist() == [10_000] * 5
    assert found.stages["publish"].tolist() == [20_000] * 5
    assert found.stages["applied"].tolist() == [70_000] * 5
    assert found.policy.tolist() == [210_000 + k for k in range(1, 6)]
    assert found.end_to_end.tolist() == [400_000 + k for k in range(1, 6)]
    assert sum(found.stages.values()).tolist() == found.end_to_end.tolist()
    assert (found.samples.processed, found.samples.unaccounted, found.unanswered, found.missed) == (5, 0, 0, 0)


def test_a_command_may_arrive_before_the_call_that_publishes_it_returns():
    early = [[k, trace[4] + 5_000] for k, trace in enumerate(TRACES, 1)]  # after safety, before the publish stage ends
    found = measured(capture(SAMPLED, early, TRACES))
    assert found.stages["applied"].tolist() == [-15_000] * 5
    assert sum(found.stages.values()).tolist() == found.end_to_end.tolist() == [315_000 + k for k in range(1, 6)]


def test_only_samples_of_the_window_count_and_their_commands_may_come_after_it():
    found = measured(capture(SAMPLED, APPLIED, TRACES), (STAMPS[1], STAMPS[3] + 1))
    assert found.end_to_end.tolist() == [400_002, 400_003, 400_004]
    assert found.samples.published == 5  # as the agent counts, which knows no window


def test_a_lost_command_is_unanswered_and_shifts_no_other():
    found = measured(capture(SAMPLED, [row for row in APPLIED if row[0] != 3], TRACES))
    assert found.end_to_end.tolist() == [400_001, 400_002, 400_004, 400_005]
    assert found.unanswered == 1
    assert found.policy.size == 5


@pytest.mark.parametrize("stamp", [STAMPS[1], STAMPS[1] + 5 * MS], ids=["an old stamp", "a time of its own"])
def test_a_tick_that_no_sample_made_measures_nothing_and_shifts_no_command(stamp):
    begin = STAMPS[1] + 5 * MS
    again = [25, stamp, begin, begin, begin + 10_000, begin + 30_000]
    trace = sorted([*TRACES, again], key=lambda row: row[-1])
    trace = [[number, *row[1:]] for number, row in enumerate(trace)]
    applied = [[k, row[-1] + 70_000] for k, row in enumerate(trace, 1)]
    found = measured(capture(SAMPLED, applied, trace))
    assert found.end_to_end.tolist() == [400_000 + k for k in range(1, 6)]
    assert found.samples == SampleAccount(published=5, processed=5)


@pytest.mark.parametrize("hours", [-1, 1])
def test_across_hosts_no_two_clocks_are_compared(hours):
    """The agent's clock is an hour off: the round trip and the agent's own stages come out the same."""
    behind = hours * 3600 * 1000 * MS
    trace = [[row[0], row[1], *(value - behind for value in row[2:])] for row in TRACES]
    found = measured(capture(SAMPLED, APPLIED, trace), one_clock=False)
    assert list(found.stages) == ["inference", "safety", "publish"]
    assert found.end_to_end.tolist() == [400_000 + k for k in range(1, 6)]
    assert found.policy.tolist() == [210_000 + k for k in range(1, 6)]


def test_what_the_agent_says_it_lost_is_told_apart():
    heard = capture(SAMPLED, [APPLIED[0], *APPLIED[3:]], [TRACES[0], *TRACES[3:]])
    found = measured(heard, counters=Counters(superseded=1, lost=1))
    assert (found.samples.superseded, found.samples.lost, found.samples.unaccounted) == (1, 1, 0)
    assert measured(heard).samples.unaccounted == 2


def test_samples_are_accounted_for_until_the_counters_were_read():
    """The agent lost samples 2 and 4; when its counters were read, it knew of the first only."""
    heard = capture(SAMPLED, APPLIED[::2], TRACES[::2])
    found = measured(heard, counters=Counters(at_ns=TRACES[2][5], lost=1))
    assert found.samples == SampleAccount(published=3, processed=2, lost=1)
    late = measured(heard, counters=Counters(at_ns=TRACES[4][5], lost=1))
    assert late.samples == SampleAccount(published=5, processed=3, lost=1, unaccounted=1)


def test_samples_before_the_agent_was_there_are_nobodys():
    heard = capture([[k, (k - 5) * 10 * MS + 5 * MS] for k in range(5)] + SAMPLED, APPLIED, TRACES)
    assert measured(heard).samples == SampleAccount(published=5, processed=5)


def test_messages_that_we_did_not_hear_are_counted_by_their_gaps():
    heard = capture([SAMPLED[0], *SAMPLED[2:]], APPLIED, [*TRACES[:2], TRACES[4]])
    assert heard.missed == 3
    assert measured(heard).missed == 3
    assert capture([], [], []).missed == 0


def test_a_capture_that_is_cut_has_no_command_without_its_cause():
    """Heard while it goes on: the last command has come, its trace has not."""
    heard = capture(SAMPLED, APPLIED, TRACES[:-1])
    assert measured(heard.until(APPLIED[3][1] + 1)).end_to_end.tolist() == [400_000 + k for k in range(1, 5)]


def test_an_echo_is_measured_by_order_alone():
    found = measure_echo(capture(SAMPLED, [[k, stamp + 200_000] for k, stamp in SAMPLED if k != 2], []), WHOLE)
    assert found.end_to_end.tolist() == [200_000] * 4
    assert found.unanswered == 1


def test_segments_are_joined():
    one = measured(capture(SAMPLED, APPLIED, TRACES), (0, STAMPS[2]))
    two = measured(capture(SAMPLED, APPLIED[:-1], TRACES), (STAMPS[2], 1000 * MS))
    both = Measurement() + one + two
    assert both.end_to_end.tolist() == [400_000 + k for k in range(1, 5)]
    assert both.stages["inference"].tolist() == [200_000 + k for k in range(1, 5)]
    assert (both.samples, both.unanswered) == (SampleAccount(published=10, processed=10), 1)


def test_nothing_heard_is_nothing_measured():
    found = measured(capture([], [], []))
    assert found.end_to_end.size == found.samples.published == found.unanswered == 0
