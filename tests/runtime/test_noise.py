"""Noise has the distribution that the manifest names, follows its seed and fills buffers in place."""

from __future__ import annotations

import numpy as np
import pytest

from robot_wm.runtime.graph_tensors import NoiseTensor
from robot_wm.runtime.noise import NoiseSource

EULER = 0.5772156649


@pytest.mark.parametrize(("distribution", "mean", "deviation"), [("normal", 0, 1), ("gumbel", EULER, np.pi / 6**0.5)])
def test_moments_and_seed(distribution, mean, deviation):
    tensor = NoiseTensor(name="noise/x", shape=(1, 50_000), distribution=distribution)
    first, second = (np.zeros((1, 50_000), np.float32) for _ in range(2))
    for buffer in (first, second):
        NoiseSource([tensor], {"noise/x": buffer}, seed=3).draw()
    np.testing.assert_array_equal(first, second)
    assert np.isfinite(first).all()
    assert first.mean() == pytest.approx(mean, abs=0.02)
    assert first.std() == pytest.approx(deviation, abs=0.02)
