"""What a controller of the plant is to the comparison, and the simplest: set-points that never change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Observation = Mapping[str, NDArray[Any]]


class PlantController(Protocol):
    """From what the task observes to the next set-points [A] (°C, 1, 1, °C), every five minutes."""

    def reset(self) -> None:
        """Forget: an episode begins."""

    def act(self, observation: Observation) -> NDArray[np.float64]:
        """The set-points [A] for the next control step; the plant cuts them to range and ramp."""


class Constant:
    """The same set-points [A] for ever."""

    def __init__(self, set_points: Sequence[float]) -> None:
        self._set_points = np.asarray(set_points, np.float64)

    def reset(self) -> None:
        """Nothing is remembered."""

    def act(self, observation: Observation) -> NDArray[np.float64]:
        """[A], whatever is observed."""
        return self._set_points


class Hourly:
    """Constant set-points for each hour of the day, [24, A]."""

    def __init__(self, set_points: NDArray[np.float64]) -> None:
        self.set_points = set_points

    def reset(self) -> None:
        """Nothing is remembered."""

    def act(self, observation: Observation) -> NDArray[np.float64]:
        """[A] of the hour that the observation's time of day lies in."""
        return self.set_points[hour_of(observation)]


def hour_of(observation: Observation) -> int:
    """Hour of the day, 0 to 23, of its sine and cosine."""
    sine, cosine = observation["time_of_day"].astype(np.float64)
    # A float32 of a full hour may lie a hair before it.
    return int(np.arctan2(sine, cosine) / (2 * np.pi) % 1.0 * 24 + 1e-4) % 24
