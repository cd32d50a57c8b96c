"""The percentile normaliser against numpy."""

import numpy as np
import pytest
import torch

from robot_wm.nn.percentile import PercentileScale


def test_average_of_percentiles_by_hand():
    scale = PercentileScale(rate=0.01, low=5.0, high=95.0, limit=1.0)
    first, second = np.random.default_rng(0).normal(0, 900, (2, 7, 11)).astype(np.float32)
    low = high = 0.0
    for values in (first, second):
        got = scale.update(torch.from_numpy(values)).item()
        low = 0.99 * low + 0.01 * np.percentile(values, 5)
        high = 0.99 * high + 0.01 * np.percentile(values, 95)
        assert got == pytest.approx(max(1.0, high - low), rel=1e-4)
    assert high - low > 1.0


def test_small_returns_are_not_blown_up():
    scale = PercentileScale(rate=1.0, low=5.0, high=95.0, limit=1.0)
    assert scale.update(torch.linspace(0, 0.1, 100)).item() == 1.0


def test_percentiles_interpolate_and_ignore_outliers():
    scale = PercentileScale(rate=1.0, low=5.0, high=95.0, limit=1.0)
    values = torch.cat([torch.arange(100.0), torch.tensor([1e9])])  # 101 values: percentile p is element p
    assert scale.update(values).item() == pytest.approx(90.0)
