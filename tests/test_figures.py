"""Figures of several episodes: means by hand, and what may not change them."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_wm.figures import episode_figures, falls, robot_minutes, summary, weighted_means

NAN = math.nan


def test_an_episode_counts_by_its_length_and_a_fall_by_itself():
    told = summary(
        [14, 1000, 986],
        [
            {"fall": 1.0, "error": 2.0, "late": NAN, "never": NAN},
            {"fall": 0.0, "error": 0.1, "late": 4.0, "never": NAN},
            {"fall": 0.0, "error": 0.1, "late": 8.0, "never": NAN},
        ],
        control_rate_hz=50,
    )
    assert told == {
        "figures": {
            "error": pytest.approx((14 * 2.0 + 1986 * 0.1) / 2000),
            "late": pytest.approx((1000 * 4 + 986 * 8) / 1986),  # NaN is left out, with its weight
            "never": None,
        },
        "falls": 1,
        "falls_per_episode": pytest.approx(1 / 3),
        "falls_per_robot_minute": pytest.approx(1.5),  # 2000 steps at 50 Hz are 40 s
        "robot_minutes": pytest.approx(2 / 3),
        "lengths": [14, 1000, 986],
    }
    json.dumps(told, allow_nan=False)


def test_a_task_that_declares_no_fall_counts_none():
    told = summary([3, 5], [{"error": 1.0}, {"error": 1.0}], control_rate_hz=10)
    assert (told["falls"], told["falls_per_episode"], told["falls_per_robot_minute"]) == (None, None, None)
    assert told["figures"] == {"error": 1.0}
    assert summary([3], [{}], control_rate_hz=10)["figures"] == {}
    assert falls([{"fall": 0.0}]) == 0
    assert falls([]) is None
    assert weighted_means([], []) == {}


@given(
    episodes=st.lists(
        st.tuples(st.integers(1, 2000), st.floats(-1e6, 1e6) | st.just(NAN), st.sampled_from([0.0, 1.0])), min_size=1
    )
)
def test_means_are_those_of_all_steps_together_in_any_order(episodes):
    lengths = [length for length, *_ in episodes]
    figures = [{"fall": fall, "value": value} for _, value, fall in episodes]
    mean = weighted_means(lengths, figures)["value"]
    steps = np.concatenate([np.full(length, value) for length, value, _ in episodes])
    if np.isnan(steps).all():
        assert mean is None
    else:
        assert mean == pytest.approx(np.nanmean(steps), rel=1e-9, abs=1e-6)
        assert weighted_means(lengths[::-1], figures[::-1])["value"] == pytest.approx(mean, rel=1e-9, abs=1e-6)
    assert falls(figures) == sum(fall for *_, fall in episodes)


def test_robot_minutes():
    assert robot_minutes(16 * 50 * 60, 50) == pytest.approx(16)  # sixteen robots, a minute each


def test_only_declared_figures_are_taken():
    assert episode_figures(("a",), {"figures": {"a": 1, "b": 2}}) == {"a": 1.0}
    assert episode_figures((), {}) == {}
