"""What a page shows of pieces: the shape of every curve over all of them, and some ticks from close by."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from robot_wm.inspect.envelope import Envelope
from robot_wm.inspect.pieces import Piece

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CLOSE_TICKS = 200
_FRAMES = 8  # camera pictures from close by
_EVENTS = 200  # kept
_BAND = ("low", "high")  # of what "open_loop" beside them tells
_STYLES = {
    "recorded": ("black", "-"),
    "filtered": ("black", "-"),
    "reconstructed": ("tab:blue", "-"),
    "predicted": ("tab:orange", "-"),
    "open_loop": ("tab:orange", "--"),
    "raw": ("tab:orange", "-"),
}


@dataclass
class Overview:
    """Takes pieces as they come, in memory that does not grow with them."""

    ticks: int = 0
    events: list[tuple[float, str]] = field(default_factory=list)
    more_events: int = 0
    close: Piece | None = None  # the first ticks of the first piece
    _curves: dict[str, Envelope] = field(default_factory=lambda: defaultdict(Envelope))
    _first_s: float | None = None
    _last_s: float = 0.0

    def add(self, piece: Piece) -> None:
        """One more piece."""
        if self._first_s is None:
            self._first_s = float(piece.time_s[0])
            self.close = _close(piece)
        for path, values in piece.numbers.items():
            if path.rpartition("/")[2] not in _BAND:
                self._curves[path].add(piece.time_s - self._first_s, np.asarray(values, np.float64))
        room = _EVENTS - len(self.events)
        self.events += [(time_s - self._first_s, words) for time_s, words in piece.events[:room]]
        self.more_events += max(0, len(piece.events) - room)
        self.ticks += len(piece.time_s)
        self._last_s = float(piece.time_s[-1])

    @property
    def duration_s(self) -> float:
        """From the first tick to the last."""
        return 0.0 if self._first_s is None else self._last_s - self._first_s

    def groups(self) -> dict[str, list[str]]:
        """Paths by what belongs into one plot."""
        found: dict[str, list[str]] = {}
        for path in self._curves:
            found.setdefault(path.rpartition("/")[0] or path, []).append(path)
        return found

    def whole_figure(self, top: str) -> Figure:
        """Everything below ``top`` over the whole time; a band reaches from the least to the largest value."""
        groups = {name: paths for name, paths in self.groups().items() if name.split("/")[0] == top}
        figure, rows = _rows(len(groups))
        for axes, (name, paths) in zip(rows, groups.items(), strict=True):
            for path in paths:
                time, low, high = self._curves[path].curve()
                colour, style = _STYLES.get(path.rpartition("/")[2], (None, "-"))
                if len(time):
                    (line,) = axes.plot(time, (low + high) / 2, style, color=colour, linewidth=0.8, label=_label(path))
                    axes.fill_between(time, low, high, color=line.get_color(), alpha=0.3, linewidth=0)
            _finish(axes, name, paths)
        rows[-1].set_xlabel("s", fontsize=8)
        return figure

    def close_figure(self, top: str) -> Figure:
        """The same of the first ticks alone, each as it was, with the band of what was expected without looking."""
        assert self.close is not None
        piece, groups = self.close, {n: p for n, p in self.groups().items() if n.split("/")[0] == top}
        time = piece.time_s - piece.time_s[0]
        figure, rows = _rows(len(groups))
        for axes, (name, paths) in zip(rows, groups.items(), strict=True):
            for path in paths:
                colour, style = _STYLES.get(path.rpartition("/")[2], (None, "-"))
                axes.plot(time, piece.numbers[path], style, color=colour, linewidth=1.0, label=_label(path))
            if all(f"{name}/{end}" in piece.numbers for end in _BAND):
                low, high = (piece.numbers[f"{name}/{end}"] for end in _BAND)
                axes.fill_between(time, low, high, color="tab:orange", alpha=0.2, linewidth=0)
            _finish(axes, name, paths)
        rows[-1].set_xlabel("s", fontsize=8)
        return figure

    def camera_figure(self) -> Figure | None:
        """Pictures of the first ticks, a row for what was recorded and one for what was made of it; None without."""
        from matplotlib.figure import Figure

        if self.close is None or not self.close.pictures:
            return None
        kinds = self.close.pictures
        figure = Figure(figsize=(9, 1.3 * len(kinds)), layout="constrained")
        places = figure.subplots(len(kinds), _FRAMES, squeeze=False)
        ticks = sorted(set().union(*kinds.values()))
        for row, (path, frames) in zip(places, kinds.items(), strict=True):
            for axes, at in zip(row, np.linspace(0, len(ticks) - 1, _FRAMES).astype(int), strict=True):
                axes.axis("off")
                if (picture := frames.get(ticks[at])) is not None:  # none is expected of a reset
                    axes.imshow(picture[..., 0] if picture.shape[-1] == 1 else picture[..., :3], cmap="gray")
            row[0].set_title(path.removeprefix("camera/"), fontsize=7, loc="left")
        return figure


def _close(piece: Piece) -> Piece:
    return Piece(
        piece.time_s[:_CLOSE_TICKS].copy(),
        {path: np.array(values[:_CLOSE_TICKS], np.float64) for path, values in piece.numbers.items()},
        {path: {k: f for k, f in frames.items() if k < _CLOSE_TICKS} for path, frames in piece.pictures.items()},
        robots={kind: poses.rows(slice(_CLOSE_TICKS)) for kind, poses in piece.robots.items()},
        ahead=None if piece.ahead is None else piece.ahead[:_CLOSE_TICKS],
    )


def _rows(count: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.4 + 1.15 * count), layout="constrained")
    return figure, list(figure.subplots(count, 1, squeeze=False, sharex=True)[:, 0])


def _finish(axes: Axes, name: str, paths: list[str]) -> None:
    axes.set_ylabel(name.rpartition("/")[2].replace("_", "\n"), fontsize=7)
    axes.tick_params(labelsize=7)
    if len(paths) > 1:
        axes.legend(fontsize=6, loc="upper right", ncols=4)


def _label(path: str) -> str:
    return path.rpartition("/")[2].replace("_", " ")
