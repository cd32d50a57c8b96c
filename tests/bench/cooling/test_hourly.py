"""Set-points by the hour: which hour it is, what is chosen, and that a search finds it."""

import math

import numpy as np
import pytest
from closed_form_plant import closed_form_env
from hypothesis import given
from hypothesis import strategies as st

from robot_wm_bench.cooling.controller import Hourly, hour_of
from robot_wm_bench.cooling.hourly import INLET_LIMIT_C, SEARCHED, best_hours, candidates, search_hourly
from robot_wm_bench.cooling.rollout import Run, run_episode


@given(st.integers(0, 24 * 12 - 1))
def test_the_hour_of_every_five_minutes(step):
    angle = 2 * math.pi * step / 288
    told = {"time_of_day": np.array([math.sin(angle), math.cos(angle)], np.float32)}
    assert hour_of(told) == step // 12
    assert Hourly(np.arange(96.0).reshape(24, 4)).act(told)[0] == 4 * (step // 12)


def test_the_cheapest_that_stays_cool_is_chosen_and_else_the_coolest():
    points = np.arange(12.0).reshape(3, 4)
    power = np.array([[3.0, 1.0, 1.0], [2.0, 2.0, 2.0], [1.0, 3.0, 3.0]])
    warm, cool = INLET_LIMIT_C + 0.1, INLET_LIMIT_C - 0.1
    warmest = np.array([[cool, cool, warm + 2], [cool, cool, warm + 1], [warm, warm, warm]])
    np.testing.assert_array_equal(best_hours(points, power, warmest), points[[1, 0, 2]])


def test_candidates_lie_where_is_searched():
    points = candidates(64, 0)
    below = points[:, 0] - points[:, 3]
    for values, (low, high) in zip((points[:, 0], points[:, 1], below), SEARCHED, strict=True):
        assert low <= values.min() < low + 0.1 * (high - low)
        assert high >= values.max() > high - 0.1 * (high - low)
    np.testing.assert_array_equal(points[:, 1], points[:, 2])


def test_a_search_beats_the_middle_of_where_it_looks():
    env = closed_form_env()
    turns = []
    found = search_hourly(env, count=8, seeds=(1, 2), seed=0, done=lambda: turns.append(1))
    assert len(turns) == 8
    run = run_episode(env, found, seed=1, settling_h=3.0)
    middle = run_episode(env, Hourly(np.tile([24.0, 0.975, 0.975, 19.0], (24, 1))), seed=1, settling_h=3.0)
    assert run.warmest_c <= INLET_LIMIT_C + 0.3  # on its way from one hour's to the next one's it may be warmer
    assert run.hvac_kwh < middle.hvac_kwh or middle.warmest_c > INLET_LIMIT_C


def test_what_settles_is_not_counted():
    env = closed_form_env()
    constant = Hourly(np.tile([22.0, 1.0, 1.0, 14.0], (24, 1)))
    whole, late = run_episode(env, constant, seed=0), run_episode(env, constant, seed=0, settling_h=12.0)
    assert (whole.steps, late.steps) == (287, 143)
    assert late.hours == pytest.approx(143 / 12)
    assert late.hvac_kwh < whole.hvac_kwh


def test_runs_add_up():
    one = Run(steps=1, hours=1.0, hvac_kwh=10.0, it_kwh=50.0, outside_h=0.0, warmest_c=25.0, reward=-1.0)
    other = Run(steps=3, hours=3.0, hvac_kwh=20.0, it_kwh=150.0, outside_h=0.5, warmest_c=28.0, reward=-4.0)
    both = one + other
    assert both == Run(4, 4.0, 30.0, 200.0, 0.5, 28.0, -5.0)
    assert both.pue == pytest.approx(1.15)
