"""The link and the decoder's buffer at its end: what a chunk may cost, now and for the sake of those that follow.

A leaky bucket in whole chunks, as of a player that takes a chunk out when its first picture is due: the buffer starts
full; chunk i must lie in it whole (else it underflows), is taken out, and in the second after that the link brings
``PEAK`` times the mean rate, as far as there is room. Frame by frame H.264's hypothetical reference decoder (ISO/IEC
14496-10, annex C) is this with pictures in place of chunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot_wm_worlds.video.encoder import QUANTISERS
from robot_wm_worlds.video.pictures import CHUNK_S

PEAK = 1.25  # link's rate / mean rate
BUFFER_S = 3.0  # of the mean rate
OVERSHOOT = 0.01  # of the budget, that a programme may cost more


@dataclass(frozen=True)
class Link:
    """A mean rate and what follows from it for one programme, in bytes."""

    budget: float  # of the programme
    fair: float  # of a chunk at the mean rate
    brought: float  # by the link in the time of a chunk
    buffer: float  # that the decoder's buffer holds

    @classmethod
    def of(cls, rate_bps: float, chunks: int) -> Link:
        """The link of a mean rate, bit/s, for that many chunks."""
        fair = rate_bps * CHUNK_S / 8
        return cls(fair * chunks, fair, PEAK * fair, BUFFER_S / CHUNK_S * fair)

    def after(self, fullness: float, size: float) -> float:
        """The buffer's fullness when the next chunk is due, bytes; never below 0, where an underflow has waited."""
        return min(self.buffer, max(0.0, fullness - size) + self.brought)


class Sending:
    """One programme on its way. `admit` is the hard constraint that every contender of ours is under."""

    def __init__(self, link: Link, coarsest: NDArray[np.int64]) -> None:
        """``coarsest`` is what each chunk costs at the coarsest quantiser, evenly spread, [N] bytes; it was probed."""
        self.link = link
        # [N + 1] bytes that the chunks from each one on cost at least, and that must lie in the buffer when it is due.
        self._reserve, self._due = [0.0], [0.0]
        for size in coarsest[::-1].tolist():
            self._reserve.append(self._reserve[-1] + size)
            self._due.append(size + max(0.0, self._due[-1] - link.brought))
        self._reserve.reverse()
        self._due.reverse()
        self.left, self.fullness = link.budget, link.buffer
        self.chunk = self.underflows = 0

    def admit(self, sizes: Sequence[int], mode: int) -> int:
        """The finest mode from ``mode`` on that fits the buffer and the budget, with what coming chunks need at least.

        ``sizes`` [M] are those of this chunk, which is encoded again with ever coarser quantisers, spread as they were,
        until one fits. Where none does the coarsest goes, evenly spread.
        """
        room = self.fullness - max(0.0, self._due[self.chunk + 1] - self.link.brought)
        most = min(room, self.left - self._reserve[self.chunk + 1])
        while sizes[mode] > most:
            if (mode + 1) % len(QUANTISERS) == 0:
                return len(QUANTISERS) - 1
            mode += 1
        return mode

    def send(self, size: int) -> None:
        """Let this chunk go."""
        self.underflows += size > self.fullness
        self.left -= size
        self.fullness = self.link.after(self.fullness, size)
        self.chunk += 1


def underflows(link: Link, sizes: Sequence[int]) -> int:
    """Chunks of a stream [N] that did not lie in the decoder's buffer in time."""
    fullness, found = link.buffer, 0
    for size in sizes:
        found += size > fullness
        fullness = link.after(fullness, size)
    return found
