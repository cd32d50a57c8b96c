"""Whether the trunk tilts to where the legs lean it. Shape letters: L leans, forward and to the left.

Of each lean half the difference between gravity at its two ends is kept, a column of the matrix

    M [2, L]: how far gravity's x and y move in the base's axes with a lean forward and one to the left,

which of a sound robot is near to a positive diagonal: what points down comes nearer to the side that sinks. From it

* atan2(M[1, 0] - M[0, 1], M[0, 0] + M[1, 1]) is the turn that fits it best (the orthogonal Procrustes problem in two
  dimensions, Schoenemann 1966): of an IMU about the vertical, or of legs whose names went round;
* det M < 0 tells of a reflection: right and left legs, or front and hind ones, taken for each other.

A bias of the IMU and a floor that slopes cancel, as both ends have them.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from robot_wm.runtime.live.lean import LEANS

Float64 = NDArray[np.float64]

LEAST = 0.01  # of gravity's length, that the largest lean tilts a robot which stands on its feet
STANDARD_ERRORS = 3.0
TURNED_DEG = 45.0
MIRRORED = -0.25  # sine of the angle from one column of M to the other; 1 of a sound robot


class Tilt:
    """What gravity said at the ends of the leans of one start."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all of it."""
        self._sums = np.zeros((len(LEANS), 2, 2))  # [L, end, 2]
        self._counts = np.zeros((len(LEANS), 2), dtype=np.int64)  # [L, end]

    def add(self, lean: int, end: int, gravity: NDArray[np.float32]) -> None:
        """Take gravity [3] in the base's axes at one tick at an end, 1 or -1, of a lean."""
        side = (1 - end) // 2
        self._sums[lean, side] += gravity[:2]
        self._counts[lean, side] += 1

    @property
    def samples(self) -> int:
        """At the end that has fewest, of those that were seen."""
        return int(self._counts[self._counts > 0].min(initial=np.iinfo(np.int64).max))

    def matrix(self) -> Float64:
        """M [2, L]; of a lean that was not made NaN."""
        means = self._sums / np.where(self._counts, self._counts, np.nan)[:, :, None]  # [L, end, 2]
        matrix: Float64 = 0.5 * (means[:, 0] - means[:, 1]).T
        return matrix


def tilt_problem(field: str, matrix: Float64, noise: float, samples: int) -> str:
    """What is wrong with M [2, L], "" if nothing is, or nothing is told.

    ``noise`` is the standard deviation of one sample of gravity, of which each mean has ``samples``. The second column
    may be NaN: then the first is judged alone.
    """
    sure = STANDARD_ERRORS * noise / math.sqrt(2.0 * samples)
    lengths = np.linalg.norm(matrix, axis=0)  # [L]
    for name, length in zip(LEANS, lengths.tolist(), strict=True):
        if length + sure < LEAST:
            return (
                f"{field}: turned by {length:.2g} when the robot leant {name}, expected at least {LEAST:g}: it does not"
                " stand on its feet, or the legs are others"
            )
    if not is_told(matrix, noise, samples):
        return ""
    if math.isnan(lengths[1]):
        turn = math.degrees(math.atan2(matrix[1, 0], matrix[0, 0]))
        return "" if abs(turn) <= 2.0 * TURNED_DEG else _wrong(field, matrix[:, :1], f"it is off by {turn:.0f}°")
    sine = float(np.linalg.det(matrix)) / float(lengths.prod())
    if sine < MIRRORED:
        return _wrong(field, matrix, "it is mirrored")
    turn = math.degrees(math.atan2(matrix[1, 0] - matrix[0, 1], matrix[0, 0] + matrix[1, 1]))
    return "" if abs(turn) <= TURNED_DEG else _wrong(field, matrix, f"it is turned by {turn:.0f}°")


def is_told(matrix: Float64, noise: float, samples: int) -> bool:
    """Whether each lean that was made tilted the robot by more than noise can."""
    lengths = np.linalg.norm(matrix, axis=0)
    return not bool((lengths < LEAST + STANDARD_ERRORS * noise / math.sqrt(2.0 * samples)).any())


def _wrong(field: str, matrix: Float64, how: str) -> str:
    moved = " and ".join(
        f"along ({x:.2f}, {y:.2f}) when the robot leant {name}" for name, (x, y) in zip(LEANS, matrix.T, strict=False)
    )
    return (
        f"{field}: turned {moved}, expected (+, 0) forward and (0, +) to the left, {how}: the IMU's mounting about the"
        " vertical, or legs that are swapped in commands and measurements alike"
    )
