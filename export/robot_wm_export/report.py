"""Figures of a report: whether an agent learned, and keeps its deadlines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def learning_curve(rows: Sequence[Mapping[str, Any]], *, best_possible: float | None) -> Figure:
    """Return against policy steps, in training and in greedy evaluation, from the rows of `metrics.jsonl`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.5))
    draw_learning_curve(figure.subplots(), rows, best_possible=best_possible)
    return figure


def draw_learning_curve(axes: Axes, rows: Sequence[Mapping[str, Any]], *, best_possible: float | None) -> None:
    """The same on axes of another figure."""
    for key, label, style in (
        ("episode/return", "training episodes (mean of last 10)", "-"),
        ("eval/return", "greedy evaluation", "o-"),
    ):
        points = [(row["step"], row[key]) for row in rows if key in row]
        if points:
            steps, values = zip(*points, strict=True)
            axes.plot(steps, values, style, label=label)
    if best_possible is not None:
        axes.axhline(best_possible, color="grey", linestyle=":", label="best possible")
    axes.set_xlabel("policy steps")
    axes.set_ylabel("return")
    if axes.lines:
        axes.legend()
    axes.grid(alpha=0.3)


def latency_histogram(latency_us: NDArray[np.float64], period_us: float) -> Figure:
    """Histogram of the controller's tick time beside the control period; ``latency_us`` [N] µs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.5))
    axes = figure.subplots()
    low, high = float(latency_us.min()), max(float(latency_us.max()), float(latency_us.min()) * 1.5)
    axes.hist(latency_us, bins=list(np.geomspace(low, high, 60)))
    axes.set_xscale("log")
    for share, style in ((50, "-"), (99, "--")):
        value = float(np.percentile(latency_us, share))
        axes.axvline(value, color="black", linestyle=style, label=f"p{share} {value:.0f} µs")
    axes.axvline(period_us, color="red", label=f"control period {period_us:.0f} µs")
    axes.set_xlabel("controller tick, µs (observation in, command out)")
    axes.set_ylabel("ticks")
    axes.legend()
    return figure
