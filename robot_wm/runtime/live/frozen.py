"""Sensors that repeat themselves: a camera's picture, or an IMU's numbers, that stay the same to the last bit while
the robot moves. Noise alone keeps a real one from it; a simulated one is exact, so what stands still proves nothing.
"""

from __future__ import annotations

import zlib
from typing import Any

from numpy.typing import NDArray

REPEATS = 4  # samples that must be as the one before them
_PIXELS = 16384  # of a picture, at most, that are looked at


class FrozenWatch:
    """Of one field. ``moved`` is how far the robot went since the field last changed, in shares of what is enough."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.forget()

    def forget(self) -> None:
        """The next sample is the first."""
        self._digest, self._repeats, self._moved = -1, 0, 0.0

    def judge(self, value: NDArray[Any], moved: float) -> str:
        """What is wrong after one more sample, measured anew, "" if nothing is."""
        flat = value.reshape(-1)
        digest = zlib.crc32(flat[:: 1 + flat.size // _PIXELS].tobytes())
        if digest != self._digest:
            self._digest, self._repeats, self._moved = digest, 0, 0.0
            return ""
        self._repeats += 1
        self._moved += moved
        if self._repeats < REPEATS or self._moved < 1.0:
            return ""
        return (
            f"{self._name}: is frozen: the same to the last bit in {self._repeats + 1} samples in a row while the robot"
            " moved"
        )
