"""What a latent says, read off it by a straight line: ridge regression, scored on episodes that it was not fitted to.

Shape letters: N latents, L numbers of a latent, P probed quantities.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RIDGE = 1e-2  # of the latents' mean variance; keeps what is collinear from growing


class Probe(NamedTuple):
    """Weights [L + 1, P] of latents with a one behind them, and how well they do on other episodes."""

    names: tuple[str, ...]  # P
    weights: Floats
    r2: Floats  # [P] of held-out latents; NaN where the quantity does not move there

    def predict(self, latents: NDArray[np.float32]) -> Floats:
        """Quantities [N, P] at latents [N, L]."""
        return latents.astype(np.float64) @ self.weights[:-1] + self.weights[-1]


def fit_probe(
    names: Sequence[str],
    latents: NDArray[np.float32],
    values: Floats,
    group: NDArray[np.int64],
    *,
    ridge: float = RIDGE,
) -> Probe:
    """Fit ``values`` [N, P] to ``latents`` [N, L], scored by halves of the groups [N] (episodes), then to all of them.

    Raises ValueError where there are fewer than two groups: then nothing could be held out.
    """
    groups = np.unique(group)
    if len(groups) < 2:
        raise ValueError("a probe needs latents of two episodes, one of them to be held out")
    held = np.isin(group, groups[1::2])
    error, variance = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    for test in (held, ~held):
        weights = _solve(latents[~test], values[~test], ridge)
        error += ((Probe((), weights, error).predict(latents[test]) - values[test]) ** 2).sum(0)
        variance += ((values[test] - values[test].mean(0)) ** 2).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        r2 = np.where(variance > 1e-12 * len(values), 1.0 - error / variance, np.nan)
    return Probe(tuple(names), _solve(latents, values, ridge), r2)


def _solve(latents: NDArray[np.float32], values: Floats, ridge: float) -> Floats:
    """Weights [L + 1, P]. Latents keep their units: one that hardly moves here may move more where it is asked."""
    x = latents.astype(np.float64)
    mean, middle = x.mean(0), values.mean(0)
    x = x - mean
    inner = x.T @ x
    inner[np.diag_indices_from(inner)] += max(ridge * float(np.trace(inner)) / x.shape[1], 1e-12)
    weights = np.linalg.solve(inner, x.T @ (values - middle))
    return np.vstack([weights, middle - mean @ weights])
