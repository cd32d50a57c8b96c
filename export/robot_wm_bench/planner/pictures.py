"""What planning adds to the actor's return, by the number of candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {"none": "#1b6ca8", "mass": "#c0392b", "latency": "#d68910", "both": "#6c3483"}
_STYLES = {"always": "-", "gated": "--", "unwaited": ":"}
_FILLS = {"always": "full", "gated": "none", "unwaited": "none"}
_APART = 0.06  # of the points of two curves, in doublings of the candidates, so that no interval hides another


def planner_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """A panel for each agent (across) and planner (down), a curve for each world and way of thinking."""
    from matplotlib.figure import Figure

    agents, planners = (list(dict.fromkeys(row[name] for row in rows)) for name in ("agent", "planner"))
    figure = Figure(figsize=(1.5 + 4.2 * len(agents), 0.8 + 3.4 * len(planners)), layout="constrained")
    axes = figure.subplots(len(planners), len(agents), squeeze=False)
    for planner, across in zip(planners, axes, strict=True):
        for agent, axis in zip(agents, across, strict=True):
            _panel(axis, [row for row in rows if (row["agent"], row["planner"]) == (agent, planner)])
            axis.set_title(f"{agent}, {planner}", fontsize=10)
    axes[0][-1].legend(fontsize=7, title="world, thinking", title_fontsize=7)
    return figure


def _panel(axis: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    curves = list(dict.fromkeys((row["world"], row["thinking"]) for row in rows))
    for number, (world, thinking) in enumerate(curves):
        points = [row for row in rows if (row["world"], row["thinking"]) == (world, thinking)]
        points.sort(key=lambda row: int(row["candidates"]))
        shift = 2.0 ** (_APART * (number - (len(curves) - 1) / 2))
        middle = [row["difference"] for row in points]
        ends = [[abs(row["interval"][end] - row["difference"]) for row in points] for end in (0, 1)]
        axis.errorbar(
            [row["candidates"] * shift for row in points],
            middle,
            yerr=ends,
            marker="o",
            markersize=4,
            fillstyle=_FILLS[thinking],
            capsize=2,
            lw=1,
            linestyle=_STYLES[thinking],
            color=_COLOURS[world],
            label=f"{world}, {thinking}",
        )
    axis.axhline(0.0, color="k", lw=0.5)
    axis.set_xscale("log", base=2)
    counts = sorted({row["candidates"] for row in rows})
    axis.set_xticks(counts, [str(count) for count in counts])
    axis.set_xlim(counts[0] / 1.5, counts[-1] * 1.5)
    axis.set_xlabel("candidates")
    axis.set_ylabel("return over the actor's")
    axis.spines[["top", "right"]].set_visible(False)
