"""Two ways to act, compared over the same starts. Shape letter: E starts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_RESAMPLES = 10_000


def paired_interval(differences: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """Confidence interval of the mean of differences [E], one a start: percentiles of its bootstrap.

    Returns are no normal variable: an episode ends on the ground or does not. Efron & Tibshirani 1993, chapter 13. The
    same for the same differences.
    """
    picked = np.random.default_rng(0).integers(0, differences.size, (_RESAMPLES, differences.size))
    means = differences[picked].mean(-1)  # [resamples]
    low, high = np.quantile(means, ((1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0))
    return float(low), float(high)
