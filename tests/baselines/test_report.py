"""Medians over seeds of which some never walked, and running means."""

import numpy as np
import pytest

from robot_wm.baselines.report import median, running_mean


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0, 1.0, 2.0], 2.0),
        ([3.0, 1.0], 2.0),
        ([3.0, None, 1.0], 3.0),
        ([None, None, 1.0], None),
        ([None, 1.0], None),
        ([None], None),
    ],
)
def test_a_seed_without_a_figure_counts_as_infinite(values, expected):
    assert median(values) == expected


def test_a_running_mean_begins_with_what_there_is():
    np.testing.assert_allclose(running_mean(np.arange(5.0), 3), [0, 0.5, 1, 2, 3])
    assert running_mean(np.zeros(0), 3).shape == (0,)
