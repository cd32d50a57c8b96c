"""One self-contained page of figures and pictures: whether an agent learned, imagines well and keeps its deadlines."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from robot_wm.atomic import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = 64  # of an animation, which is large enough as it is


@dataclass(frozen=True)
class Picture:
    """One picture of the page, or a text alone."""

    title: str
    text: str
    content: str = ""  # base64
    kind: Literal["png", "gif"] = "png"


def picture(title: str, text: str, figure: Figure) -> Picture:
    """Render a matplotlib figure for the page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    return Picture(title, text, base64.b64encode(buffer.getvalue()).decode())


def saved_picture(path: Path, title: str, text: str, figure: Figure) -> Picture:
    """The same, written as a PNG to ``path``, too."""
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=90)
    return picture(title, text, figure)


def animation(title: str, text: str, frames: Sequence[NDArray[np.uint8]], *, period_s: float) -> Picture:
    """Pictures [H, W, 3] shown in turn, ``period_s`` each (a GIF knows hundredths of a second)."""
    from PIL import Image

    images = [Image.fromarray(frame).quantize(_COLOURS) for frame in frames]
    buffer = io.BytesIO()
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:], duration=round(1000 * period_s), loop=0)
    return Picture(title, text, base64.b64encode(buffer.getvalue()).decode(), "gif")


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


def write_report(
    path: Path,
    *,
    title: str,
    subtitle: str,
    headline: Sequence[tuple[str, str]],
    pictures: Sequence[Picture],
    rows: Mapping[str, Any],
) -> None:
    """Write the page to ``path``."""
    import jinja2

    environment = jinja2.Environment(loader=jinja2.PackageLoader("robot_wm_export"), autoescape=True)
    page = environment.get_template("report.html.j2").render(
        title=title, subtitle=subtitle, headline=headline, pictures=pictures, rows=list(rows.items())
    )
    with atomic_file(path) as temporary:
        temporary.write_text(page)
