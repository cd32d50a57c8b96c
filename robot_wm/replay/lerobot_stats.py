"""Statistics of columns as LeRobot's datasets hold them, of any number of steps in flat memory.

Of vectors: least, greatest, mean, standard deviation (of the whole, not of a sample of it) and quantiles, an element
at a time. Of pictures the same of each channel over all pixels, which LeRobot takes from 0 to 1.
Shape letters: L steps, O elements, H x W x C a picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
_SAMPLE_ROWS = 65_536  # quantiles of more are those of as many, drawn uniformly

Stats = Mapping[str, NDArray[Any]]


def vector_stats(values: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Of values [L, O]: arrays [O], and ``count`` [1]."""
    wide = values.astype(np.float64)
    found = {"min": wide.min(axis=0), "max": wide.max(axis=0), "mean": wide.mean(axis=0), "std": wide.std(axis=0)}
    found["count"] = np.array([len(wide)])
    return found | dict(zip(QUANTILES, np.quantile(wide, list(QUANTILES.values()), axis=0), strict=True))


class VectorStats:
    """Of all that was added, as `vector_stats` has them.

    Mean and variance are joined by the parallel algorithm (Chan, Golub, LeVeque 1979), so that large offsets cost no
    digits; quantiles are exact as long as there are at most 65,536 rows.
    """

    def __init__(self) -> None:
        self._joined: dict[str, NDArray[Any]] | None = None
        self._rows: NDArray[np.float64] | None = None  # [at most _SAMPLE_ROWS, O]
        self._filled = 0
        self._random = np.random.default_rng(0)

    def add(self, values: NDArray[Any], stats: Stats) -> None:
        """Values [L, O] with the statistics of them."""
        self._sample(values)
        if self._joined is None:
            self._joined = {name: stats[name] for name in ("min", "max", "mean", "std", "count")}
            return
        old, n, m = self._joined, self._joined["count"], stats["count"]
        apart = stats["mean"] - old["mean"]
        variance = (old["std"] ** 2 * n + stats["std"] ** 2 * m) / (n + m) + apart**2 * n * m / (n + m) ** 2
        self._joined = {
            "min": np.minimum(old["min"], stats["min"]),
            "max": np.maximum(old["max"], stats["max"]),
            "mean": old["mean"] + apart * m / (n + m),
            "std": np.sqrt(variance),
            "count": n + m,
        }

    def stats(self) -> dict[str, NDArray[Any]]:
        """Of everything; something was added."""
        assert self._joined is not None
        assert self._rows is not None
        rows = self._rows[: min(self._filled, _SAMPLE_ROWS)]
        return self._joined | dict(zip(QUANTILES, np.quantile(rows, list(QUANTILES.values()), axis=0), strict=True))

    def _sample(self, values: NDArray[Any]) -> None:
        """Vitter's algorithm R: row number k replaces one of those kept with probability _SAMPLE_ROWS / (k + 1)."""
        if self._rows is None:
            self._rows = np.empty((_SAMPLE_ROWS, values.shape[1]))
        number = self._filled + np.arange(len(values))  # [L] rows before each
        place = np.where(number < _SAMPLE_ROWS, number, self._random.integers(0, number + 1))
        for row, at in zip(values[place < _SAMPLE_ROWS], place[place < _SAMPLE_ROWS].tolist(), strict=True):
            self._rows[at] = row
        self._filled += len(values)


class ImageStats:
    """Of pictures [L, H, W, C] of bytes, exactly, by counting how often each value is there; arrays are [C, 1, 1]."""

    def __init__(self, channels: int) -> None:
        self._counts = np.zeros((channels, 256), np.int64)
        self._pictures = 0

    def add(self, pictures: NDArray[np.uint8]) -> None:
        """More pictures [L, H, W, C]."""
        for channel, counts in enumerate(self._counts):
            counts += np.bincount(pictures[..., channel].reshape(-1), minlength=256)
        self._pictures += len(pictures)

    def join(self, other: ImageStats) -> None:
        """Take in what another one has counted."""
        self._counts += other._counts
        self._pictures += other._pictures

    def stats(self) -> dict[str, NDArray[Any]]:
        """Of everything; something was added."""
        values = np.arange(256) / 255
        total = self._counts.sum(axis=1)  # [C]
        mean = self._counts @ values / total
        upto = self._counts.cumsum(axis=1)  # [C, 256]
        found = {
            "min": values[(upto > 0).argmax(axis=1)],
            "max": values[(upto == total[:, None]).argmax(axis=1)],
            "mean": mean,
            "std": np.sqrt((self._counts * (values - mean[:, None]) ** 2).sum(axis=1) / total),
        }
        found |= {name: values[(upto >= q * total[:, None]).argmax(axis=1)] for name, q in QUANTILES.items()}
        return {name: value.reshape(-1, 1, 1) for name, value in found.items()} | {"count": np.array([self._pictures])}
