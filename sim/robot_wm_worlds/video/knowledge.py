"""What is known before a chunk is encoded: the probes of all chunks, what those so far became, budget and buffer."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from robot_wm.spec import ObservationField
from robot_wm_worlds.video.encoder import MODES, QUANTISERS, SPREADS
from robot_wm_worlds.video.forecast import PROBED, PROBES, Forecast, ranked
from robot_wm_worlds.video.link import Sending
from robot_wm_worlds.video.programme import Programme

LOOKED_AHEAD = 5  # K chunks, the one to come among them: 5 s
_SPREADS = len(SPREADS)
_OTHERS = len(PROBED) * (_SPREADS - 1)
_CLIP = 5.0
_MOST_LOSS = 20.0  # quality points of an offer that nobody would take


def _field(name: str, size: int, scale: float, offset: float = 0.0, unit: str = "1") -> ObservationField:
    return ObservationField(
        name=name, shape=(size,), unit=unit, scale=(scale,), offset=(offset,), clip=_CLIP, max_age_s=5.0
    )


FIELDS = (
    # The probes of the coming K chunks, evenly spread; those of a middling chunk after the programme's end.
    _field("coming_size", LOOKED_AHEAD, 0.5, 1.0),  # log2 of bytes at the fine quantiser / what a chunk may cost
    _field("coming_fall", LOOKED_AHEAD, 1.0, 1.8),  # log2 of bytes at the fine quantiser / at the coarse one
    _field("coming_fine", LOOKED_AHEAD, 0.1, 92.0),  # VMAF
    _field("coming_middle", LOOKED_AHEAD, 0.1, 85.0),  # VMAF
    _field("coming_coarse", LOOKED_AHEAD, 0.05, 70.0),  # VMAF
    _field("coming_psnr", LOOKED_AHEAD, 0.2, 38.0, "dB"),  # at the fine quantiser
    _field("coming_first", LOOKED_AHEAD, 4.0, 0.3),  # share of bytes that the first picture takes
    # Of this chunk, the other spreads against the even one at each quantiser: log2 of bytes, and VMAF.
    _field("spread_size", _OTHERS, 4.0),
    _field("spread_vmaf", _OTHERS, 0.5),
    # What the forecast offers of each spread, the best first.
    _field("offered_quantiser", _SPREADS, 0.1, 30.0),
    _field("offered_spread", _SPREADS, 1.0, 1.0),  # its number
    _field("offered_loss", _SPREADS - 1, 0.5),  # quality points, at the fair price, below the best offer
    _field("step_loss", 2, 0.5),  # of the best offer one step finer and one coarser
    _field("price", 1, 0.5, 3.0),  # log2 of quality points that the bytes of a chunk may cost on average are worth
    # Of the last chunk: 10 log2 of bytes / expected, VMAF - expected, its quantiser - the one offered.
    _field("last", 3, 0.2),
    _field("bits_left", 1, 1.0),  # log2 of bytes left a coming chunk / what one may cost on average
    _field("buffer", 1, 2.0, 0.5),  # fullness, share
    _field("chunks_left", 1, 2.0, 0.5),  # share
)
_MIDDLING = (1.0, 1.8, 92.0, 85.0, 70.0, 38.0, 0.3)
_NOTHING_OFFERED = (30.0,) * _SPREADS + (1.0,) * _SPREADS + (0.0,) * (_SPREADS + 1) + (3.0,)


class Knowledge:
    """A programme on its way, as far as an encoder knows it."""

    def __init__(self, programme: Programme, sending: Sending) -> None:
        self._sending = sending
        self._chunks = len(programme)
        self.forecast = Forecast(programme)
        size, vmaf, psnr, first = (
            values[:, PROBES].reshape(self._chunks, len(PROBED), _SPREADS)  # [N, probed, spreads]
            for values in (np.log2(programme.size), programme.vmaf, programme.psnr_db, programme.first / programme.size)
        )
        rows = (
            size[:, 0, 0] - math.log2(sending.link.fair),
            size[:, 0, 0] - size[:, -1, 0],
            *vmaf[..., 0].T,
            psnr[:, 0, 0],
            first[:, 0, 0],
        )
        self._coming = np.empty((len(rows), self._chunks + LOOKED_AHEAD))  # [7, N + K]
        self._coming[:, : self._chunks] = rows
        self._coming[:, self._chunks :] = np.array(_MIDDLING)[:, None]
        spreads = [(values[..., 1:] - values[..., :1]).reshape(self._chunks, _OTHERS) for values in (size, vmaf)]
        self._spread = np.concatenate(spreads, axis=1)  # [N, 2 x others]
        self._last = (0.0, 0.0, 0.0)
        self._look()

    def _look(self) -> None:
        """What the forecast offers now."""
        chunk, sending = self._sending.chunk, self._sending
        worth = self.forecast.worth(chunk, max(sending.left, 1.0)).tolist()
        offers = ranked(worth)
        self.offers = [mode for _, mode in offers]
        best, mode = offers[0]
        step = mode % len(QUANTISERS)
        finer = best - worth[mode - 1] if step else _MOST_LOSS
        coarser = best - worth[mode + 1] if step + 1 < len(QUANTISERS) else _MOST_LOSS
        self._told = (
            *(float(MODES[mode][1]) for mode in self.offers),
            *(float(mode // len(QUANTISERS)) for mode in self.offers),
            *(best - other for other, _ in offers[1:]),
            finer,
            coarser,
            math.log2(self.forecast.price * sending.link.fair),
        )

    def send(self, mode: int, size: int, vmaf: float) -> None:
        """Let the next chunk go in a mode, in which it turned out so."""
        chunk, forecast = self._sending.chunk, self.forecast
        surprise = 10.0 * math.log2(size / forecast.size[chunk, mode])
        offered = MODES[self.offers[0]][1]
        self._last = (surprise, vmaf - forecast.vmaf[chunk, mode], float(MODES[mode][1] - offered))
        forecast.learn(chunk, mode, size)
        self._sending.send(size)
        if self._sending.chunk < self._chunks:
            self._look()
        else:
            self._told = _NOTHING_OFFERED

    def observe(self) -> dict[str, NDArray[np.float32]]:
        """The fields; after the last chunk those of an empty rest."""
        sending, link = self._sending, self._sending.link
        chunk = sending.chunk
        spread = self._spread[chunk].tolist() if chunk < self._chunks else [0.0] * self._spread.shape[1]
        remaining = max(self._chunks - chunk, 1)
        values = (
            *self._coming[:, chunk : chunk + LOOKED_AHEAD].reshape(-1).tolist(),
            *spread,
            *self._told,
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
