"""What is looked at, piece by piece, so that a recording of any length takes the memory of one piece.

Shape letters: K ticks of a piece.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from robot_wm.posed import PosedRobot, Poses
from robot_wm.spec import AgentSpec


@dataclass(frozen=True)
class Piece:
    """K consecutive ticks."""

    time_s: NDArray[np.float64]  # [K] ascending; since the first tick of all, or UNIX time of a robot's recording
    # By path, such as "observation/pole_angle": [K] float, NaN where there is none. What belongs into one plot has a
    # parent in common: "observation/pole_angle/recorded" and "observation/pole_angle/reconstructed".
    numbers: Mapping[str, NDArray[Any]]
    pictures: Mapping[str, Mapping[int, NDArray[np.uint8]]] = field(default_factory=dict)  # path -> tick -> [H, W, C]
    events: tuple[tuple[float, str], ...] = ()  # time, s, and what happened then
    robots: Mapping[str, Poses] = field(default_factory=dict)  # "recorded" and "imagined": K poses each
    ahead: NDArray[np.int64] | None = None  # [K] control steps since "imagined" has last looked; 0: at the reset


class Pieces(Protocol):
    """Where they come from: gone through once."""

    spec: AgentSpec
    task_options: Mapping[str, Any]  # of the task whose robot it is
    robot: PosedRobot | None  # to be posed as the ticks tell it, where that is wanted
    damage: list[str]  # what could not be read, in words, as far as it was gone through

    def __iter__(self) -> Iterator[Piece]:
        """In the order of time."""
