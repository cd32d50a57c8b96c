"""How unlike two robots' motions are where their times do not align: distances between what joints do after commands.

Shape letters: F features, W windows, N joints.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
LAGS = (1, 2, 3, 4)  # control periods since a command
PROJECTIONS = 24
LEVELS = 64  # of quantiles that are compared
_SEED = 7  # of the projections, which are the same for all


def windows(position: Float64, velocity: Float64, command: Float64) -> Float64:
    """What each joint does beside what it was told before, [W, N, F]; arguments [T, N], a control period apart.

    Commands of several periods ago, as far as they are from where the joint is, say how late it heeds them; beside its
    speed and change of speed they say what it takes to move it.
    """
    first = LAGS[-1]
    now = position[first:]
    late = [command[first - lag : len(command) - lag] - now for lag in LAGS]
    change = velocity[first:] - velocity[first - 1 : -1]
    return np.stack([now, velocity[first:], change, *late], axis=-1)


class Likeness:
    """Distances to one robot's windows: sliced Wasserstein-1 (Bonneel et al. 2015) of each joint, in its own units."""

    def __init__(self, told: Sequence[Float64]) -> None:
        """``told`` are windows [W, N, F] of pieces that need not follow each other."""
        windows_of = np.concatenate(told)
        self._mean = windows_of.mean(axis=0)  # [N, F]
        self._std = windows_of.std(axis=0) + 1e-9  # [N, F]
        ways = np.random.default_rng(_SEED).normal(size=(windows_of.shape[-1], PROJECTIONS))
        # The single features too: a projection of all hides what only one of them shows.
        self._ways = np.concatenate([ways / np.linalg.norm(ways, axis=0), np.eye(len(ways))], axis=1)
        self._levels = (np.arange(LEVELS) + 0.5) / LEVELS
        self._quantiles = self._of(windows_of)

    def distance(self, told: Sequence[Float64]) -> float:
        """Mean over joints and projections of what quantiles are apart, in standard deviations of the first robot."""
        return float(np.abs(self._of(np.concatenate(told)) - self._quantiles).mean())

    def _of(self, windows_of: Float64) -> Float64:
        scaled = (windows_of - self._mean) / self._std
        found: Float64 = np.quantile(scaled @ self._ways, self._levels, axis=0)  # [LEVELS, N, projections]
        return found
