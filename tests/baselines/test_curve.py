"""Falls, robot-minutes and first walks of a run, as they are counted and written."""

import math

import numpy as np
import pytest

from robot_wm.baselines.curve import EPISODES, TRIALS, Curve, read_rows
from robot_wm.baselines.walking import Walk

STANDS, WALKS = Walk(False, 0.01, 0.0, 0.0, 6.0), Walk(True, 0.51, 0.02, 0.1, 6.0)
FELL = Walk(False, math.nan, math.nan, math.nan, 2.0)


@pytest.fixture
def curve(tmp_path):
    with Curve(tmp_path, rate_hz=50.0, figure_names=("fall", "gain"), trial_every_steps=100) as curve:
        yield curve


def end(curve, step, *, fall, gain=0.5, episode_return=1.0, terminated=None):
    terminated = bool(fall) if terminated is None else terminated
    figures = {"fall": fall, "gain": gain}
    curve.episode(step, episode_return=episode_return, length=10, terminated=terminated, figures=figures)


def test_falls_are_counted_from_the_first_step_and_minutes_are_of_all_robots(curve, tmp_path):
    for step, fall in [(30, 1.0), (60, 0.0), (90, 1.0)]:
        end(curve, step, fall=fall, gain=step / 100, terminated=True)  # the second one reached its goal, say
    rows = read_rows(tmp_path / EPISODES)
    np.testing.assert_array_equal(rows["falls"], [1, 1, 2])
    np.testing.assert_array_equal(rows["terminated"], [1, 1, 1])
    np.testing.assert_allclose(rows["robot_minutes"], np.array([30, 60, 90]) / 3000)
    np.testing.assert_allclose(rows["gain"], [0.3, 0.6, 0.9])
    assert list(rows)[-2:] == ["wall_s", "gain"]  # fall stands once
    summary = curve.summary(6000)
    assert (summary["falls"], summary["episodes"], summary["robot_minutes"]) == (2, 3, 2.0)
    assert summary["falls_per_robot_minute"] == 1.0


def test_a_fall_is_what_the_task_calls_one_and_not_every_end(tmp_path):
    with Curve(tmp_path, rate_hz=50.0, figure_names=("upright",), trial_every_steps=None) as curve:
        curve.episode(10, episode_return=1.0, length=10, terminated=True, figures={"upright": 1.0})
        assert not curve.trial_due(10**6)
    assert math.isnan(read_rows(tmp_path / EPISODES)["falls"][0])
    summary = curve.summary(10)
    assert (summary["falls"], summary["falls_per_robot_minute"], summary["trials"]) == (None, None, 0)


def test_the_first_walk_keeps_the_falls_until_then(curve, tmp_path):
    end(curve, 50, fall=1.0)
    curve.trial(100, [STANDS, FELL, FELL])
    end(curve, 150, fall=1.0)
    curve.trial(200, [STANDS, WALKS, FELL])
    end(curve, 250, fall=1.0)
    curve.trial(300, [WALKS, WALKS, WALKS])
    curve.trial(400, [WALKS, WALKS, WALKS])
    summary = curve.summary(400)
    assert summary["first_walk"] == {"step": 200, "robot_minutes": 0.067, "falls": 2, "episodes": 2}
    assert summary["steady_walk"] == {"step": 300, "robot_minutes": 0.1, "falls": 3, "episodes": 3}
    rows = read_rows(tmp_path / TRIALS)
    np.testing.assert_array_equal(rows["walked"], [0, 1, 3, 3])
    np.testing.assert_allclose(rows["forward_m_s"], [0.01, 0.26, 0.51, 0.51])
    np.testing.assert_allclose(rows["lasted_s"], [10 / 3, 14 / 3, 6, 6])


def test_who_never_walked_has_no_first_walk(curve):
    curve.trial(100, [STANDS] * 3)
    assert (curve.summary(100)["first_walk"], curve.summary(100)["steady_walk"]) == (None, None)


def test_a_trial_is_due_once_for_each_multiple_that_was_passed(curve):
    due = []
    for step in range(0, 600, 16):  # sixteen environments never stop at a multiple of 100
        if curve.trial_due(step):
            curve.trial(step, [STANDS])
            due.append(step)
    assert due == [112, 208, 304, 400, 512]
    curve.trial(950, [STANDS])
    assert not curve.trial_due(960)  # what was skipped is not made up for


def test_the_return_at_the_end_is_of_the_newest_episodes(curve):
    for step in range(1, 41):
        end(curve, step, fall=0.0, episode_return=float(step))
    assert curve.summary(40)["return_last"] == pytest.approx(30.5)


def test_a_file_without_rows_reads_as_empty_columns(curve, tmp_path):
    assert {name: len(column) for name, column in read_rows(tmp_path / TRIALS).items()}["step"] == 0
