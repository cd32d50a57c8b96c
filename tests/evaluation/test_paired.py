"""The interval of a mean of paired differences."""

from __future__ import annotations

import numpy as np
import pytest

from robot_wm.evaluation.paired import paired_interval


def test_equal_differences_leave_no_doubt():
    assert paired_interval(np.full(20, 1.5), 0.95) == (1.5, 1.5)


def test_of_many_it_is_the_normal_one():
    differences = np.random.default_rng(1).normal(3.0, 2.0, 400)
    error = differences.std() / 20.0
    wanted = (differences.mean() - 1.96 * error, differences.mean() + 1.96 * error)
    assert paired_interval(differences, 0.95) == pytest.approx(wanted, abs=0.08 * error)


def test_it_moves_with_the_differences_and_turns_with_their_sign():
    differences = np.random.default_rng(2).exponential(1.0, 25)
    low, high = paired_interval(differences, 0.9)
    assert low < differences.mean() < high
    assert paired_interval(differences + 10.0, 0.9) == pytest.approx((low + 10.0, high + 10.0))
    assert paired_interval(-differences, 0.9) == pytest.approx((-high, -low))
    wide = paired_interval(differences, 0.99)
    assert wide[0] < low
    assert wide[1] > high


def test_it_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(3)
    intervals = [paired_interval(rng.normal(1.0, 1.0, 30), 0.9) for _ in range(200)]
    covered = np.mean([low <= 1.0 <= high for low, high in intervals])
    assert 0.8 < covered < 0.96
