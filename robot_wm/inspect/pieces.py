"""What is looked at, piece by piece, so that a recording of any length takes the memory of one piece.

Shape letters: K ticks of a piece.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Piece:
    """K consecutive ticks."""

    time_s: NDArray[np.float64]  # [K] ascending; since the first tick of all, or UNIX time of a robot's recording
    # By path, such as "observation/pole_angle": [K] float, NaN where there is none. What belongs into one plot has a
    # parent in common: "observation/pole_angle/recorded" and "observation/pole_angle/reconstructed".
    numbers: Mapping[str, NDArray[Any]]
    pictures: Mapping[str, Mapping[int, NDArray[np.uint8]]] = field(default_factory=dict)  # path -> tick -> [H, W, C]
    events: tuple[tuple[float, str], ...] = ()  # time, s, and what happened then
