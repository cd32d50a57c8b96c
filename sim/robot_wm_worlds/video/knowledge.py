"""What is known before a chunk is encoded: the first pass over all chunks, what the chunks so far became, the buffer.

The first pass encodes every chunk once, at one quantiser, as a two-pass encoder's does, and measures what it decodes.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from robot_wm.spec import ObservationField
from robot_wm_worlds.video.encoder import MODES, QUANTISERS, SPREADS
from robot_wm_worlds.video.link import Sending
from robot_wm_worlds.video.plans import FIRST_PASS
from robot_wm_worlds.video.programme import Programme

LOOKED_AHEAD = 5  # K chunks, the one to come among them: 5 s
_PROBED = MODES[FIRST_PASS][1]  # quantiser of the first pass
_SPREAD = {name: float(number) for number, name in enumerate(SPREADS)}
OCTAVE = 5.6  # quantisers that halve a stream, as our clips have it in the middle of their range
_MOST_CORRECTION = 1.0  # octaves
_FORGETTING = 0.3  # of what chunks before the last one said about the first pass
_CLIP = 5.0
_NOTHING = (80.0, 35.0, 0.4)  # VMAF, PSNR and share of the first picture of what does not come: about the means


def _field(name: str, size: int, scale: float, offset: float = 0.0, unit: str = "1") -> ObservationField:
    return ObservationField(
        name=name, shape=(size,), unit=unit, scale=(scale,), offset=(offset,), clip=_CLIP, max_age_s=5.0
    )


FIELDS = (
    # Of the coming K chunks in the first pass; 0 after the programme's end.
    _field("coming_size", LOOKED_AHEAD, 0.5),  # log2 of bytes / what a chunk may cost on average
    _field("coming_vmaf", LOOKED_AHEAD, 0.05, 80.0),
    _field("coming_psnr", LOOKED_AHEAD, 0.2, 35.0, "dB"),
    _field("coming_first", LOOKED_AHEAD, 4.0, 0.4),  # share of a chunk's bytes that its first picture takes
    _field("rest_size", 1, 0.5),  # log2, the mean of all that is to come
    _field("rest_vmaf", 2, 0.05, 80.0),  # mean of all that is to come, and by its bytes
    _field("base_quantiser", 1, 0.1, 30.0),  # the constant one that would spend what is left, by the first pass
    _field("base_step", 1, 1.0),  # from the nearest quantiser there is to that one
    _field(
        "last", 4, 0.1
    ),  # quantiser - base, VMAF - first pass's, 10 log2 of size / expected, 10 x number of the spread
    _field("bits_left", 1, 1.0),  # log2 of bytes left a coming chunk / what one may cost on average
    _field("buffer", 1, 2.0, 0.5),  # fullness, share
    _field("chunks_left", 1, 2.0, 0.5),  # share
)


class Knowledge:
    """A programme on its way, as far as an encoder knows it."""

    def __init__(self, programme: Programme, sending: Sending) -> None:
        self._sending = sending
        self._chunks = len(programme)
        size = programme.size[:, FIRST_PASS].astype(np.float64)  # [N]
        vmaf, psnr = programme.vmaf[:, FIRST_PASS], programme.psnr_db[:, FIRST_PASS]
        padding = np.zeros(LOOKED_AHEAD)
        first = programme.first[:, FIRST_PASS] / size
        relative = np.log2(size / sending.link.fair)
        self._coming = np.stack([np.append(row, padding) for row in (relative, vmaf, psnr, first)])  # [4, N + K]
        self._coming[1:, self._chunks :] = np.array(_NOTHING)[:, None]
        self._to_come = np.cumsum(size[::-1])[::-1]  # [N] bytes of the chunks from each one on
        number = np.arange(self._chunks, 0, -1)
        self._mean_vmaf = np.cumsum(vmaf[::-1])[::-1] / number
        self._weighted_vmaf = np.cumsum((vmaf * size)[::-1])[::-1] / self._to_come
        self._first_size, self._first_vmaf = size.tolist(), vmaf.tolist()
        self._correction = 0.0  # octaves that chunks have cost more than the first pass let expect
        self._last = (0.0, 0.0, 0.0, 0.0)

    @property
    def base_quantiser(self) -> float:
        """The constant quantiser that would spend what is left, by the first pass and the chunks so far."""
        chunk, left = self._sending.chunk, max(self._sending.left, 1.0)
        octaves = math.log2(self._to_come[chunk] / left) + self._correction
        return min(max(_PROBED + OCTAVE * octaves, QUANTISERS[0]), QUANTISERS[-1])

    @property
    def base(self) -> int:
        """Index of the quantiser nearest to it, of Q."""
        step = QUANTISERS[1] - QUANTISERS[0]
        return min(max(round((self.base_quantiser - QUANTISERS[0]) / step), 0), len(QUANTISERS) - 1)

    def learn(self, base: float, mode: int, size: float, vmaf: float) -> None:
        """What the chunk that is being sent became, in that mode, where ``base`` was known."""
        chunk, (spread, quantiser) = self._sending.chunk, MODES[mode]
        expected = math.log2(self._first_size[chunk]) - (quantiser - _PROBED) / OCTAVE
        surprise = math.log2(size) - expected
        mixed = self._correction + _FORGETTING * (surprise - self._correction)
        self._correction = min(max(mixed, -_MOST_CORRECTION), _MOST_CORRECTION)
        self._last = (quantiser - base, vmaf - self._first_vmaf[chunk], 10.0 * surprise, 10.0 * _SPREAD[spread])

    def observe(self) -> dict[str, NDArray[np.float32]]:
        """The fields; after the last chunk those of an empty rest."""
        sending, link = self._sending, self._sending.link
        chunk = sending.chunk
        coming = self._coming[:, chunk : chunk + LOOKED_AHEAD]
        ended = chunk >= self._chunks
        remaining = max(self._chunks - chunk, 1)
        base = float(_PROBED) if ended else self.base_quantiser
        nearest = base if ended else float(QUANTISERS[self.base])
        values = (
            *coming.reshape(-1).tolist(),
            0.0 if ended else math.log2(self._to_come[chunk] / remaining / link.fair),
            80.0 if ended else self._mean_vmaf[chunk],
            80.0 if ended else self._weighted_vmaf[chunk],
            base,
            base - nearest,
            *self._last,
            math.log2(max(sending.left, 0.05 * link.fair) / remaining / link.fair),
            sending.fullness / link.buffer,
            (self._chunks - chunk) / self._chunks,
        )
        flat = np.array(values, dtype=np.float32)  # one array, cut into fields
        return {name: flat[start:end] for name, start, end in _PLACES}


def _places() -> tuple[tuple[str, int, int], ...]:
    ends = np.cumsum([field.shape[0] for field in FIELDS]).tolist()
    return tuple((field.name, end - field.shape[0], end) for field, end in zip(FIELDS, ends, strict=True))


_PLACES = _places()
