"""What every mode of the encoder would make of a chunk, told from ten probes of it.

The probes are an analysis before the encoding, as the first pass of a two-pass encoder is: each chunk at three
quantisers with each spread, and at the coarsest. Between and beyond them, bytes and what VMAF lacks of 100 go
geometrically with the quantiser. With the stream itself that is eleven encodings of a chunk; bisection for the best
constant quantiser of the best spread is up to twelve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from robot_wm_worlds.video.encoder import MODES, QUANTISERS, SPREADS
from robot_wm_worlds.video.programme import Programme

PROBED, COARSEST = (24, 30, 36), QUANTISERS[-1]  # quantisers, the former with every spread
PROBES = tuple(MODES.index((spread, quantiser)) for quantiser in PROBED for spread in SPREADS)  # P modes
COARSEST_PROBE = MODES.index(("even", COARSEST))
_LEAST_LACK = 0.3  # points that VMAF lacks of 100: at 100 it tells nothing of how it would fall
_HALVINGS = 18
_SPAN = math.log(64.0)  # of a price about the last one, up and down
_FORGETTING = 0.3  # of what chunks before the last one said about the probes
_MOST_CORRECTION = 0.5  # natural logarithm


class Forecast:
    """Expected bytes and VMAF of a programme's chunks, corrected by those that were sent."""

    def __init__(self, programme: Programme) -> None:
        lack = np.maximum(100.0 - programme.vmaf, _LEAST_LACK)
        self.size: NDArray[np.float64] = _between(programme.size)  # [N, M] bytes
        self.vmaf: NDArray[np.float64] = 100.0 - _between(lack)  # [N, M]
        self.correction = 0.0  # natural logarithm of bytes that chunks cost / expected
        self.price = 1e-3  # quality points a byte, of the last plan

    def learn(self, chunk: int, mode: int, size: float) -> None:
        """What a chunk cost in its mode, bytes."""
        surprise = math.log(size / self.size[chunk, mode])
        mixed = self.correction + _FORGETTING * (surprise - self.correction)
        self.correction = min(max(mixed, -_MOST_CORRECTION), _MOST_CORRECTION)

    def worth(self, chunk: int, left: float) -> NDArray[np.float64]:
        """Expected quality of this chunk in each mode, [M], less the fair price of its bytes.

        The fair price is the one at which this chunk and those that follow would spend the bytes that are ``left``.
        """
        size = self.size[chunk:] * math.exp(self.correction)
        vmaf, rows = self.vmaf[chunk:], np.arange(len(size))
        low, high = math.log(self.price) - _SPAN, math.log(self.price) + _SPAN
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            spent = size[rows, (vmaf - math.exp(middle) * size).argmax(1)].sum()
            low, high = (low, middle) if spent <= left else (middle, high)
        self.price = math.exp(high)
        worth: NDArray[np.float64] = vmaf[0] - self.price * size[0]
        return worth


def ranked(worth: Sequence[float]) -> list[tuple[float, int]]:
    """The best worth of each spread and its mode, the best spread first."""
    best = []
    for first in range(0, len(MODES), len(QUANTISERS)):
        mode = max(range(first, first + len(QUANTISERS)), key=worth.__getitem__)
        best.append((worth[mode], mode))
    return sorted(best, reverse=True)


def _between(values: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.float64]:
    """Positive values [N, M] as the probes among them let expect."""
    known = np.log(values[:, PROBES]).reshape(len(values), len(PROBED), -1).swapaxes(1, 2)  # [N, spreads, probes]
    fall = np.log(values[:, COARSEST_PROBE]) - known[:, 0, -1]  # [N] beyond the last one, whatever the spread
    last = known[..., -1:] + fall[:, None, None]
    known, at = np.concatenate([known, last], axis=-1), np.array((*PROBED, COARSEST))
    quantiser = np.array(QUANTISERS)
    piece = np.clip(np.searchsorted(at, quantiser, side="right") - 1, 0, len(at) - 2)  # [Q]
    share = (quantiser - at[piece]) / (at[piece + 1] - at[piece])  # below 0 where finer than any
    expected = known[..., piece] * (1 - share) + known[..., piece + 1] * share  # [N, spreads, Q]
    found: NDArray[np.float64] = np.exp(expected.reshape(len(values), -1))
    return found
