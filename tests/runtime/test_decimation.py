"""Ticks at the control rate from any faster sensor: counts, spacing, gaps and clocks that jump."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from robot_wm.runtime.decimation import Decimator, TickCap

PERIOD_S = 0.02


def ticks_of(stamps, period_s=PERIOD_S):
    decimator = Decimator(period_s)
    return [stamp for stamp in stamps if decimator.due(stamp)]


@pytest.mark.parametrize("rate_hz", [60, 200, 500, 1000])
@given(seed=st.integers(0, 2**32 - 1), jitter=st.floats(0, 0.4), start_s=st.sampled_from([0.0, 1.8e9]))
def test_any_faster_sensor_gives_the_control_rate_whatever_its_jitter(rate_hz, seed, jitter, start_s):
    """``jitter`` is in samples' intervals, to either side."""
    interval_s = 1 / rate_hz
    noise = np.random.default_rng(seed).uniform(-jitter, jitter, 20 * rate_hz) * min(interval_s, PERIOD_S / 4)
    stamps = start_s + np.arange(20 * rate_hz) * interval_s + noise
    ticks = ticks_of(stamps.tolist())
    assert abs(len(ticks) - 20 / PERIOD_S) <= 2
    # Neither early nor late: tick k stays within two samples of its place on the grid that the first one began.
    places = ticks[0] + np.arange(len(ticks)) * PERIOD_S
    assert np.abs(np.array(ticks) - places).max() < PERIOD_S / 2 + 2 * interval_s


@given(
    seed=st.integers(0, 2**32 - 1),
    jitter=st.floats(0, 0.2),
    drift=st.floats(-0.01, 0.01),
)
def test_a_sensor_at_the_control_rate_loses_no_ticks_to_jitter_or_drift(seed, jitter, drift):
    """At the very rate every sample ticks, but for the one that the anchor's jitter or a fast clock costs."""
    count = 1000
    noise = np.random.default_rng(seed).uniform(-jitter, jitter, count) * PERIOD_S
    stamps = np.arange(count) * PERIOD_S * (1 + drift) + noise
    spare = max(0.0, -drift) * count
    assert count - spare - 3 <= len(ticks_of(stamps.tolist())) <= count - max(0.0, spare - 3)


@given(rate_hz=st.floats(50, 5000), control_hz=st.floats(10, 50))
def test_rates_need_not_divide_each_other(rate_hz, control_hz):
    stamps = np.arange(int(10 * rate_hz)) / rate_hz
    assert abs(len(ticks_of(stamps.tolist(), 1 / control_hz)) - 10 * control_hz) <= 2


def test_a_fourth_sample_ticks_from_the_first_on():
    assert ticks_of([k * 0.005 for k in range(13)]) == pytest.approx([0, 0.02, 0.04, 0.06])


def test_a_slower_sensor_ticks_with_every_sample():
    stamps = [k * 0.033 for k in range(50)]
    assert ticks_of(stamps) == stamps


def test_after_a_gap_ticks_begin_at_once_and_are_not_made_up_for():
    stamps = [k * 0.002 for k in range(51)] + [1.0 + k * 0.002 for k in range(51)]
    after = [stamp for stamp in ticks_of(stamps) if stamp >= 1.0]
    assert after[0] == 1.0
    assert len(after) == 6
    assert min(b - a for a, b in itertools.pairwise(after)) >= PERIOD_S / 2


def test_after_a_jump_back_ticks_begin_at_once():
    decimator = Decimator(PERIOD_S)
    assert [decimator.due(stamp) for stamp in (100.0, 100.01, 50.0, 50.01, 50.02)] == [True, False, True, False, True]


def test_a_frozen_stamp_ticks_once_and_nan_never():
    decimator = Decimator(PERIOD_S)
    assert [decimator.due(5.0) for _ in range(4)] == [True, False, False, False]
    decimator.restart()
    assert decimator.due(5.0)
    assert not Decimator(PERIOD_S).due(math.nan)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=30))
@example([math.nan])
def test_any_stamps_are_taken_and_good_ones_tick_again(stamps):
    decimator = Decimator(PERIOD_S)
    for stamp in stamps:
        decimator.due(stamp)
    assert sum(decimator.due(7.0 + k * 0.01) for k in range(100)) >= 48


def test_the_cap_lets_the_rate_and_a_burst_pass_but_no_flood():
    cap = TickCap(PERIOD_S)
    assert [cap.allows(0.0) for _ in range(5)] == [True, True, True, False, False]
    cap = TickCap(PERIOD_S)
    assert all(cap.allows(k * PERIOD_S * 0.97) for k in range(1000))
    cap = TickCap(PERIOD_S)
    allowed = sum(cap.allows(k * 0.0002) for k in range(50_000))  # 5 kHz for 10 s
    assert 500 <= allowed <= 500 * 1.05 + 4


def test_the_cap_survives_a_clock_that_goes_back():
    cap = TickCap(PERIOD_S)
    for _ in range(5):
        cap.allows(100.0)
    assert not cap.allows(50.0)
    assert cap.allows(50.0 + PERIOD_S)
