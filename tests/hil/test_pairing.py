"""Commands find the ticks that sent them, and every sample has exactly one fate."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_wm.runtime.decimation import Decimator
from robot_wm_ros.hil.pairing import SampleAccount, account, pair_in_order

MS = 1_000_000
times = st.lists(st.integers(0, 40), max_size=6).map(sorted)


def as_ns(values):
    return np.array(values, dtype=np.int64)


@pytest.mark.parametrize(
    ("sent", "received", "pairs"),
    [
        ([], [], []),
        ([10], [], []),
        ([], [12], [-1]),
        ([10, 20, 30], [11, 21, 31], [0, 1, 2]),
        ([10, 20, 30], [11, 31], [0, 2]),  # the second was lost
        ([10, 20, 30], [25, 32, 33], [0, 1, 2]),  # a slow start: three in flight, first in, first out
        ([10, 11, 12], [13], [2]),  # a queue of one keeps the newest
        ([10, 20], [5, 11, 21], [-1, 0, 1]),  # somebody else's, from before
        ([10, 20], [10, 20], [0, 1]),  # no time passed on this clock
    ],
)
def test_pairs_that_can_be_seen_by_eye(sent, received, pairs):
    assert pair_in_order(as_ns(sent), as_ns(received)).tolist() == pairs


@given(gaps=st.lists(st.integers(1, 20), max_size=60), delays=st.lists(st.integers(0, 200), min_size=60, max_size=60))
def test_without_loss_it_is_first_in_first_out_however_long_it_takes(gaps, delays):
    sent = np.cumsum(as_ns(gaps))
    received = np.maximum.accumulate(sent + as_ns(delays)[: sent.size])  # nothing overtakes
    assert pair_in_order(sent, received).tolist() == list(range(sent.size))


@given(data=st.data(), gaps=st.lists(st.integers(2, 20), max_size=60))
def test_with_loss_it_is_exact_while_delays_are_shorter_than_the_gaps(data, gaps):
    sent = np.cumsum(as_ns(gaps))
    kept = [i for i in range(sent.size) if data.draw(st.booleans())]
    following = np.append(sent[1:], 10**6)
    received = as_ns([data.draw(st.integers(int(sent[i]), int(following[i]) - 1)) for i in kept])
    assert pair_in_order(sent, received).tolist() == kept


@given(sent=times, received=times)
def test_no_other_pairing_leaves_fewer_out_or_has_less_delay(sent, received):
    found = pair_in_order(as_ns(sent), as_ns(received)).tolist()
    pairs = [(i, k) for k, i in enumerate(found) if i >= 0]
    assert all(sent[i] <= received[k] for i, k in pairs)
    assert [i for i, _ in pairs] == sorted({i for i, _ in pairs})
    used = [received[k] for _, k in pairs]
    most, least = 0, None
    for size in range(min(len(sent), len(received)) + 1):
        for left in combinations(sent, size):
            for right in combinations(received, size):
                if all(begin <= end for begin, end in zip(left, right, strict=True)):
                    most = max(most, size)
                    if list(right) == used:
                        least = min(sum(right) - sum(left), least if least is not None else 10**9)
    assert len(pairs) == most
    assert sum(used) - sum(sent[i] for i, _ in pairs) == least


@st.composite
def days(draw):
    """Samples of a robot, what the network and a busy agent made of them, and the truth."""
    sensor_ms, periods = draw(st.sampled_from([(5, 1), (2, 1), (1, 5), (2, 2)]))
    period_ms = sensor_ms * periods
    count = draw(st.integers(1, 80))
    jitter = draw(st.lists(st.integers(-100_000, 100_000), min_size=count, max_size=count))
    stamps = as_ns([(10 + k) * sensor_ms * MS + jitter[k] for k in range(count)])
    weights = ["takes"] * draw(st.integers(1, 20)) + ["loses", "busy"]
    fates = draw(st.lists(st.sampled_from(weights), min_size=count, max_size=count))
    decimator, processed = Decimator(period_ms * 1e-3), []
    truth = {"decimated": 0, "superseded": 0, "lost": 0}
    for stamp, fate in zip(stamps.tolist(), fates, strict=True):
        if fate == "loses":
            truth["lost"] += 1
        elif fate == "busy":
            truth["superseded"] += 1
        elif decimator.due(stamp * 1e-9):
            processed.append(stamp)
        else:
            truth["decimated"] += 1
    return stamps, as_ns(processed), period_ms * 1e-3, truth


@given(day=days())
@settings(max_examples=200)
def test_every_sample_has_the_fate_that_it_had(day):
    stamps, processed, period_s, truth = day
    found = account(stamps, processed, superseded=truth["superseded"], lost=truth["lost"], period_s=period_s)
    assert found == SampleAccount(published=stamps.size, processed=processed.size, unaccounted=0, **truth)


@given(day=days(), superseded=st.integers(-3, 100), lost=st.integers(-3, 100), data=st.data())
def test_it_adds_up_whatever_the_counters_say_and_whatever_the_trace_lacks(day, superseded, lost, data):
    stamps, processed, period_s, _ = day
    heard = processed[[data.draw(st.booleans()) for _ in processed]]
    found = vars(account(stamps, heard, superseded=superseded, lost=lost, period_s=period_s)).copy()
    assert found.pop("published") == stamps.size == sum(found.values())
    assert found["processed"] == heard.size
    assert min(found.values()) >= 0


@pytest.mark.parametrize("missing", [1, 3])
def test_a_due_sample_that_vanished_is_unaccounted_for(missing):
    stamps = as_ns([k * 5 * MS for k in range(1, 101)])
    processed = np.delete(stamps, [20, 50, 80][:missing])
    found = account(stamps, processed, superseded=0, lost=0, period_s=0.005)
    assert found == SampleAccount(published=100, processed=100 - missing, unaccounted=missing)


def test_a_loss_does_not_excuse_a_second_gap():
    stamps = as_ns([k * 5 * MS for k in range(1, 101)])
    found = account(stamps, np.delete(stamps, [20, 50]), superseded=0, lost=1, period_s=0.005)
    assert (found.lost, found.unaccounted, found.decimated) == (1, 1, 0)


def test_accounts_add_up_over_segments():
    one = SampleAccount(published=5, processed=3, lost=2)
    two = SampleAccount(published=2, decimated=1, superseded=1)
    assert one + two == SampleAccount(published=7, processed=3, decimated=1, superseded=1, lost=2)
