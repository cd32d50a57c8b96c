"""The memory's slope against lines that are known."""

import numpy as np
import pytest

from robot_wm.errors import UserError
from robot_wm_ros.hil.soak import summary


def series(mib_of_minute):
    return [(second, int(mib_of_minute(second / 60.0) * 2**20)) for second in np.arange(0.0, 600.0, 5.0)]


def test_a_leak_is_its_slope():
    result = summary(series(lambda minute: 100.0 + 0.25 * minute))
    assert result["slope_kib_per_min"] == pytest.approx(256.0, rel=1e-3)
    assert not result["flat"]
    assert result["resident_last_mib"] > result["resident_first_mib"]


def test_what_fills_at_the_beginning_is_no_leak():
    result = summary(series(lambda minute: 100.0 + 20.0 * min(minute, 1.9)))
    assert result["slope_kib_per_min"] == pytest.approx(0.0, abs=1e-6)
    assert result["flat"]
    assert result["resident_first_mib"] == result["resident_max_mib"]


def test_too_short_a_run_says_nothing():
    with pytest.raises(UserError, match="50 s or more"):
        summary([(0.0, 1)] * 9)
