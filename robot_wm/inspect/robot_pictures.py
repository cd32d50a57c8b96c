"""The robot as it was, and over it, as a ghost, as the model expected it without looking."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from robot_wm.inspect.pieces import Piece
from robot_wm.posed import PosedRobot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROWS, _COLUMNS = 3, 5  # looks away, and instants of each
_GHOST = 0.4  # weight of what was imagined


def robot_figure(robot: PosedRobot, piece: Piece) -> Figure | None:
    """Pictures of a piece's first ticks: a row for each time that the model looked away, or for a stretch of time.

    None where no tick tells the robot's pose.
    """
    from matplotlib.figure import Figure

    recorded, imagined = piece.robots["recorded"], piece.robots.get("imagined")
    known = recorded.known() if imagined is None else recorded.known() & imagined.known()
    rows = instants(known, None if imagined is None else piece.ahead)
    if not rows:
        return None
    figure = Figure(figsize=(9, 0.3 + 1.6 * len(rows)), layout="constrained")
    places = figure.subplots(len(rows), _COLUMNS, squeeze=False)
    for axes in places.ravel():
        axes.axis("off")
    for row, ticks in zip(places, rows, strict=True):
        for axes, k in zip(row, ticks, strict=False):
            shown = robot.picture(recorded, k)
            told = f"{piece.time_s[k] - piece.time_s[0]:.2f} s"
            if imagined is not None and piece.ahead is not None:
                shown = ghosted(shown, robot.picture(imagined, k))
                told += f", {piece.ahead[k]} steps ahead"
            axes.imshow(shown)
            axes.set_title(told, fontsize=7)
    return figure


def instants(known: NDArray[np.bool_], ahead: NDArray[np.int64] | None) -> list[list[int]]:
    """Ticks to show, in rows: of looks away spread over the ticks, each from its first step to its last.

    Without ``ahead`` [K] rows are stretches of all ticks that are known [K].
    """
    ticks = np.flatnonzero(known)
    if ahead is None:
        spread = _spread(ticks, _ROWS * _COLUMNS)
        return [spread[first : first + _COLUMNS] for first in range(0, len(spread), _COLUMNS)]
    begins = np.flatnonzero(ahead[ticks] == 1)
    looks = [look for look in np.split(ticks, begins)[1:] if len(look)]
    longest = max((len(look) for look in looks), default=0)
    whole = [look for look in looks if len(look) == longest]
    return [_spread(whole[n], _COLUMNS) for n in _spread(np.arange(len(whole)), _ROWS)]


def ghosted(real: NDArray[np.uint8], imagined: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One picture shining through the other, [H, W, 3] each."""
    return ((1 - _GHOST) * real + _GHOST * imagined).astype(np.uint8)


def _spread(values: NDArray[np.int64], count: int) -> list[int]:
    if not len(values):
        return []
    places: NDArray[np.int64] = np.unique(np.linspace(0, len(values) - 1, count).round().astype(int))
    found: list[int] = values[places].tolist()
    return found
