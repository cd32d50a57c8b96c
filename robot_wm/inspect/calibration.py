"""How far predictions are off, and whether what they say comes true as often as they say it.

Shape letters: N predictions, B bins.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BINS = 10


class Mean(NamedTuple):
    """A mean and its standard error, of numbers that belong together in groups (the steps of an episode)."""

    value: float
    error: float  # NaN with fewer than two groups

    @classmethod
    def of(cls, values: Floats, group: NDArray[np.int64]) -> Mean:
        """Of ``values`` [N] in ``group`` [N]: cluster-robust (Cameron & Miller 2015, eq. 6 for a constant alone)."""
        if not len(values):
            return cls(float("nan"), float("nan"))
        mean = float(values.mean())
        _, index = np.unique(group, return_inverse=True)
        sums = np.bincount(index, weights=values - mean)  # [groups]
        count = len(sums)
        if count < 2:
            return cls(mean, float("nan"))
        return cls(mean, float(np.sqrt(count / (count - 1) * (sums**2).sum()) / len(values)))


class Reliability(NamedTuple):
    """A reliability curve, of bins with as many predictions each."""

    predicted: Floats  # [B] mean of each bin
    real: Floats  # [B]
    counts: NDArray[np.int64]  # [B]
    bias: Mean  # predicted less real
    calibration_error: float  # mean of |predicted - real| over bins, weighted by their counts
    rms: float  # root mean square of predicted less real


def reliability(predicted: Floats, real: Floats, group: NDArray[np.int64], *, bins: int = BINS) -> Reliability:
    """Of N predictions and what came of them; ``group`` [N] names the episode of each."""
    order = np.argsort(predicted, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    means = np.array([[predicted[part].mean(), real[part].mean()] for part in parts]).reshape(-1, 2)
    counts = np.array([len(part) for part in parts], np.int64)
    off = np.abs(means[:, 0] - means[:, 1])
    return Reliability(
        predicted=means[:, 0],
        real=means[:, 1],
        counts=counts,
        bias=Mean.of(predicted - real, group),
        calibration_error=float((off * counts).sum() / max(1, counts.sum())),
        rms=float(np.sqrt(((predicted - real) ** 2).mean())) if len(real) else float("nan"),
    )


def lag_errors(predicted: list[Floats], real: list[Floats], most: int) -> dict[int, float]:
    """Variance of the errors of predictions against what came ``lag`` steps later, for lags of -most..most.

    Of rows of predictions and of what came, over the same steps for every lag. What was learned with its time shifted
    fits best at another lag than 0.
    """
    errors = {}
    for lag in range(-most, most + 1):
        off = [
            p[most : len(p) - most] - r[most + lag : len(r) - most + lag]
            for p, r in zip(predicted, real, strict=True)
            if len(p) > 2 * most
        ]
        errors[lag] = float(np.concatenate(off).var()) if off else float("nan")
    return errors
