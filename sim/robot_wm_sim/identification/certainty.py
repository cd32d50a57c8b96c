"""How sure a fit is: the Gaussian that its derivatives span, with what is known of parameters beforehand.

Shape letters: R residuals of all joints, P parameters, in shares of the way between their bounds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
_NOTHING = 1e-12  # of the largest curvature: a direction that the log does not tell of
_MOST_ALIKE = 50  # samples in a row that may err alike


def posterior(share: Float64, misfits: Float64, slope: Float64, known: Float64) -> tuple[Float64, Float64]:
    """Shares [P] moved towards what is known beforehand, as far as the log leaves them open, and their deviations [P].

    ``misfits`` [R', N] are those of ``share``, of a joint each column, ``slope`` [R, P] their derivatives; ``known``
    [P] is the standard deviation about one half that a parameter has beforehand, inf where nothing is known. Misfits
    that follow each other err alike, so that the log counts as fewer samples. Deviations are inf where nothing tells.
    """
    variance = float(np.mean(misfits**2)) * alike(misfits)
    before = np.where(np.isfinite(known), known, np.inf) ** -2.0  # [P] precisions
    precision = slope.T @ slope / max(variance, 1e-300) + np.diag(before)
    free = (share > 0.0) & (share < 1.0)  # the others lie at a bound, and stay
    moved = share.copy()
    pull = before[free] * (0.5 - share[free])
    moved[free] += np.linalg.pinv(precision[np.ix_(free, free)], rcond=_NOTHING, hermitian=True) @ pull
    values, vectors = np.linalg.eigh(precision)
    spread = np.where(values > _NOTHING * max(values[-1], 1e-300), 1.0 / np.maximum(values, 1e-300), np.inf)
    with np.errstate(invalid="ignore"):
        squares = np.where(vectors**2 > 1e-9, vectors**2 * spread, 0.0)
    return np.clip(moved, 0.0, 1.0), np.sqrt(squares.sum(axis=1))


def alike(misfits: Float64) -> float:
    """How many samples in a row of [R', N] err as one, 1 for white noise: autocorrelations up to the first ≤ 0."""
    error = misfits - misfits.mean(axis=0)
    power = float((error**2).sum())
    total = 1.0
    for lag in range(1, min(_MOST_ALIKE, len(error) - 1)):
        share = float((error[lag:] * error[:-lag]).sum()) / max(power, 1e-300)
        if share <= 0.0:
            break
        total += 2.0 * share
    return total
