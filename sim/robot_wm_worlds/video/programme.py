"""A programme: shots of clips, one after the other, in whole chunks, as an operator's screen changes cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from robot_wm_worlds.video.curves import Curves
from robot_wm_worlds.video.encoder import QUANTISERS
from robot_wm_worlds.video.pictures import CHUNK_S

CHUNKS = 24  # N of a programme
SHOT_CHUNKS = (2, 6)  # fewest and most of one shot
TEST_PROGRAMMES = 6
_TEST_SEED = 16
# Targets are what constant quantisers cost: 24 looks nearly as the clips do, 36 is visibly coarse.
TEST_QUANTISERS = (24, 27, 30, 33, 36)
_TRAIN_QUANTISERS = (22.0, 38.0)


@dataclass(frozen=True, eq=False)
class Programme:
    """Chunks in order, and what each costs and looks like in each mode."""

    parts: tuple[tuple[str, int], ...]  # [N] clip and chunk
    size: NDArray[np.int64]  # [N, M] bytes
    first: NDArray[np.int64]  # [N, M] bytes of the first picture among them
    vmaf: NDArray[np.float64]  # [N, M]
    psnr_db: NDArray[np.float64]  # [N, M]

    def __len__(self) -> int:
        return len(self.parts)

    def bytes_at(self, quantiser: float) -> float:
        """Cost at one quantiser throughout, evenly spread; geometrically interpolated between those there are."""
        return float(np.exp(np.interp(quantiser, QUANTISERS, self._log_bytes)))

    @cached_property
    def _log_bytes(self) -> NDArray[np.float64]:
        return np.log(self.size[:, : len(QUANTISERS)].sum(0))  # [Q]


def draw(curves: Sequence[Curves], rng: np.random.Generator, *, chunks: int = CHUNKS) -> Programme:
    """Shots of a few chunks, each of a clip drawn anew and from anywhere in it."""
    taken: list[tuple[Curves, int]] = []
    while len(taken) < chunks:
        one = curves[int(rng.integers(len(curves)))]
        length = min(int(rng.integers(SHOT_CHUNKS[0], SHOT_CHUNKS[1] + 1)), len(one), chunks - len(taken))
        first = int(rng.integers(len(one) - length + 1))
        taken += [(one, first + number) for number in range(length)]
    return Programme(
        tuple((one.clip, chunk) for one, chunk in taken),
        *(np.stack([getattr(one, key)[chunk] for one, chunk in taken]) for key in ("size", "first", "vmaf", "psnr_db")),
    )


def draw_target(programme: Programme, rng: np.random.Generator) -> float:
    """A target in bit/s to learn at: what some constant quantiser would cost."""
    return kept_rate(programme.bytes_at(rng.uniform(*_TRAIN_QUANTISERS)), len(programme))


def test_programmes(curves: Sequence[Curves]) -> list[Programme]:
    """The programmes of the test, always the same of the same curves."""
    rng = np.random.default_rng(_TEST_SEED)
    return [draw(curves, rng) for _ in range(TEST_PROGRAMMES)]


def test_targets(programme: Programme) -> list[float]:
    """The targets of the test, bit/s, the highest first."""
    return [kept_rate(programme.bytes_at(quantiser), len(programme)) for quantiser in TEST_QUANTISERS]


def kept_rate(size: float, chunks: int) -> float:
    """Bit/s of ``size`` bytes over that many chunks."""
    return 8.0 * size / (chunks * CHUNK_S)
