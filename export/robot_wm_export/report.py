"""`report.html`: one self-contained page that shows whether an agent learned, imagines well and keeps its deadlines."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.atomic import atomic_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """One picture of the page."""

    title: str
    text: str
    png: str  # base64


def picture(title: str, text: str, figure: Figure) -> Picture:
    """Render a matplotlib figure for the page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    return Picture(title, text, base64.b64encode(buffer.getvalue()).decode())


def learning_curve(rows: Sequence[Mapping[str, Any]], *, best_possible: float | None) -> Figure:
    """Return against policy steps, in training and in greedy evaluation, from the rows of `metrics.jsonl`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.5))
    axes = figure.subplots()
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
    axes.legend()
    axes.grid(alpha=0.3)
    return figure


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


def write_report(
    path: Path,
    *,
    task: str,
    subtitle: str,
    headline: Sequence[tuple[str, str]],
    pictures: Sequence[Picture],
    rows: Mapping[str, Any],
) -> None:
    """Write the page to ``path``."""
    import jinja2

    environment = jinja2.Environment(loader=jinja2.PackageLoader("robot_wm_export"), autoescape=True)
    page = environment.get_template("report.html.j2").render(
        task=task, subtitle=subtitle, headline=headline, pictures=pictures, rows=list(rows.items())
    )
    with atomic_file(path) as temporary:
        temporary.write_text(page)
