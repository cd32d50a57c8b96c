"""Heat maps and curves of a grid of worlds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from robot_wm_export.robustness.measure import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STYLE = {True: "o-", False: "s--"}  # the first engine, and others


def plain_return(outcomes: Sequence[Outcome], backend: str) -> float:
    """Mean return in the world as it is built."""
    (value,) = (one.return_mean for one in outcomes if one.cell.kind == "plain" and one.cell.backend == backend)
    assert value is not None  # every engine has that world
    return value


def singles(outcomes: Sequence[Outcome]) -> Figure:
    """A small picture a quantity: return over its values in every engine, a cross where an episode fell."""
    from matplotlib.figure import Figure

    quantities = list(dict.fromkeys(one.cell.quantities[0] for one in outcomes if one.cell.kind == "single"))
    backends = list(dict.fromkeys(one.cell.backend for one in outcomes))
    rows = max(1, -(-len(quantities) // 4))
    figure = Figure(figsize=(13, 2.4 * rows), layout="constrained")
    axes = figure.subplots(rows, 4, squeeze=False).flat
    for axis in axes[len(quantities) :]:
        axis.set_visible(False)
    for axis, quantity in zip(axes, quantities, strict=False):
        for number, backend in enumerate(backends):
            cells = [one for one in outcomes if one.cell.backend == backend and one.cell.quantities == (quantity,)]
            told = sorted((one.cell.values[0], one) for one in cells if one.return_mean is not None)
            axis.plot(
                [x for x, _ in told], [one.return_mean for _, one in told], _STYLE[number == 0], ms=3, label=backend
            )
            fell = [(x, one.return_mean) for x, one in told if one.falls]
            axis.plot([x for x, _ in fell], [y for _, y in fell], "x", color="crimson", ms=8)
            axis.axhline(plain_return(outcomes, backend), color="grey", lw=0.6, ls=":")
        axis.set_title(quantity, fontsize=9)
        axis.tick_params(labelsize=7)
    if quantities:
        axes[0].legend(fontsize=7)
    return figure


def overview(outcomes: Sequence[Outcome]) -> Figure:
    """A heat map an engine: share of the plain world's return by quantity (rows) and by place in its range."""
    from matplotlib.figure import Figure

    backends = list(dict.fromkeys(one.cell.backend for one in outcomes))
    quantities = list(dict.fromkeys(one.cell.quantities[0] for one in outcomes if one.cell.kind == "single"))
    figure = Figure(figsize=(5.5 * len(backends), 1.2 + 0.3 * len(quantities)), layout="constrained")
    for axis, backend in zip(figure.subplots(1, len(backends), squeeze=False).flat, backends, strict=True):
        plain = plain_return(outcomes, backend)
        rows = []
        for quantity in quantities:
            cells = [one for one in outcomes if one.cell.backend == backend and one.cell.quantities == (quantity,)]
            cells.sort(key=lambda one: one.cell.values)
            rows.append([np.nan if one.return_mean is None else one.return_mean / plain for one in cells])
        width = max((len(row) for row in rows), default=1)
        grid = np.array([row + [np.nan] * (width - len(row)) for row in rows]).reshape(-1, width)
        _heat(axis, grid, rows=quantities, columns=[str(k + 1) for k in range(width)])
        axis.set_title(f"{backend}: return as a share of the plain world's {plain:.0f}", fontsize=9)
        axis.set_xlabel("value, from the range's low end to its high end", fontsize=8)
    return figure


def pair(outcomes: Sequence[Outcome], quantities: tuple[str, ...]) -> Figure:
    """A heat map an engine of two quantities that are moved at once."""
    from matplotlib.figure import Figure

    backends = list(dict.fromkeys(one.cell.backend for one in outcomes))
    figure = Figure(figsize=(5 * len(backends), 4), layout="constrained")
    for axis, backend in zip(figure.subplots(1, len(backends), squeeze=False).flat, backends, strict=True):
        cells = [one for one in outcomes if one.cell.kind == "pair" and one.cell.backend == backend]
        found = {one.cell.values: one.return_mean for one in cells if one.cell.quantities == quantities}
        first, second = (sorted({values[k] for values in found}) for k in (0, 1))
        plain = plain_return(outcomes, backend)
        grid = np.array([[found[a, b] for b in second] for a in first], dtype=np.float64) / plain
        _heat(axis, grid, rows=[f"{value:.3g}" for value in first], columns=[f"{value:.3g}" for value in second])
        axis.set_ylabel(quantities[0], fontsize=8)
        axis.set_xlabel(quantities[1], fontsize=8)
        axis.set_title(f"{backend}: return as a share of the plain world's", fontsize=9)
    return figure


def _heat(axis: Axes, grid: NDArray[np.float64], *, rows: Sequence[str], columns: Sequence[str]) -> None:
    """``grid`` [rows, columns], NaN where there is no such world."""
    axis.imshow(grid, cmap="RdYlGn", vmin=0.0, vmax=1.0, aspect="auto")
    axis.set_yticks(range(len(rows)), rows, fontsize=7)
    axis.set_xticks(range(len(columns)), columns, fontsize=7)
    for (row, column), value in np.ndenumerate(grid):
        axis.text(column, row, "–" if np.isnan(value) else f"{value:.2f}", ha="center", va="center", fontsize=7)
