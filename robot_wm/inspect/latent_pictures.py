"""Latents, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from robot_wm.inspect.latents import Encoded, Latents
from robot_wm.inspect.maps import LatentMap

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TRAJECTORIES = 6  # episodes that are drawn as lines
_WAY_STEPS = 60  # of each, or its lines hide the map
_COLUMNS = 3
_DIVERGING = {"falling"}


def map_figure(made: LatentMap, latents: Latents, new: NDArray[np.float32] | None = None) -> Figure:
    """One map, coloured by each quantity in turn, and the way of some episodes through it.

    ``new`` [M, 2] are points that were placed in it later.
    """
    from matplotlib.figure import Figure

    colours = {name: values for name, values in latents.colours.items() if np.nanstd(values) > 0}
    panels = len(colours) + 1
    rows = -(-panels // _COLUMNS)
    figure = Figure(figsize=(4 * _COLUMNS, 3.3 * rows), layout="constrained")
    axes = figure.subplots(rows, _COLUMNS, squeeze=False).flatten()
    x, y = made.points.T
    for place, (name, values) in zip(axes, colours.items(), strict=False):
        low, high = np.nanpercentile(values, [2, 98]) if name not in _DIVERGING else (0.0, 1.0)
        order = np.argsort(values)  # what is rare and high lies on top
        dots = place.scatter(
            x[order], y[order], c=values[order], s=3, vmin=low, vmax=max(high, low + 1e-9), cmap="viridis", linewidths=0
        )
        figure.colorbar(dots, ax=place)
        place.set_title(name, fontsize=9)
    ways = axes[len(colours)]
    ways.scatter(x, y, s=2, color="0.85", linewidths=0)
    for number in _spread(np.unique(latents.episode)):
        here = np.flatnonzero(latents.episode == number)
        here = here[np.argsort(latents.step[here])][:_WAY_STEPS]
        (line,) = ways.plot(x[here], y[here], linewidth=0.8, alpha=0.8)
        ways.plot(x[here[:1]], y[here[:1]], "o", markersize=5, color=line.get_color())
    if new is not None:
        ways.scatter(*new.T, s=3, color="black", alpha=0.4, linewidths=0)
    title = f"ways of some episodes, {_WAY_STEPS} steps from the reset (dot)"
    ways.set_title(title + ("\nblack: placed later" if new is not None else ""), fontsize=9)
    for place in axes:
        place.set_xticks([])
        place.set_yticks([])
    for place in axes[panels:]:
        place.axis("off")
    return figure


def encoding_figure(found: Encoded) -> Figure:
    """R² of every field by every group of the latent."""
    from matplotlib.figure import Figure

    figure = Figure(
        figsize=(min(14, 2.5 + 0.24 * len(found.groups)), 0.9 + 0.22 * len(found.fields)), layout="constrained"
    )
    axes = figure.subplots()
    image = axes.imshow(np.clip(found.by_group, 0, 1), vmin=0, vmax=1, aspect="auto", cmap="viridis")
    axes.set_yticks(range(len(found.fields)), found.fields, fontsize=7)
    axes.set_xticks(range(len(found.groups)), found.groups, fontsize=6, rotation=90)
    figure.colorbar(image, ax=axes, label="R², other episodes")
    return figure


def _spread(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return values[np.unique(np.linspace(0, len(values) - 1, _TRAJECTORIES).round().astype(int))]
