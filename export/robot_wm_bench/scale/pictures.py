"""Steps a second by collectors, measured and estimated; and by hosts, with the wall at each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robot_wm.atomic import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {
    "collectors": "#1b6ca8",
    "weights": "#6c3483",
    "replay": "#d68910",
    "learner": "#c0392b",
    "network": "#117a65",
    "cores": "#566573",
}


def write_picture(path: Path, rows: Sequence[Mapping[str, Any]], projected: Sequence[Mapping[str, Any]]) -> None:
    """Write both panels as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 3.8), layout="constrained")
    here, there = figure.subplots(1, 2)
    _measured(here, rows)
    _hosts(there, projected)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _measured(axis: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    counts = [row["collectors"] for row in rows]
    axis.plot(counts, [row["env_steps_per_s"] for row in rows], "ko-", label="measured")
    axis.plot(counts, [row["estimate"] for row in rows], "--", color="#1b6ca8", label="estimate")
    axis.plot(counts, [row["estimate_of_cores_got"] for row in rows], ":", color="#c0392b", label="of the cores it got")
    axis.set_xscale("log", base=2)
    axis.set_xticks(counts, [str(count) for count in counts])
    axis.set_ylim(bottom=0)
    axis.set_xlabel("collectors on one machine")
    axis.set_ylabel("policy steps/s")
    if counts:
        axis.legend(fontsize=8)


def _hosts(axis: Axes, projected: Sequence[Mapping[str, Any]]) -> None:
    runs = list(dict.fromkeys((row["train_ratio"], row["ranks"]) for row in projected))
    for number, (ratio, ranks) in enumerate(runs):
        points = [row for row in projected if (row["train_ratio"], row["ranks"]) == (ratio, ranks)]
        hosts, rates = [row["hosts"] for row in points], [row["env_steps_per_s"] for row in points]
        axis.plot(hosts, rates, color="k", lw=0.7)
        # At the end, where the curves are apart; every other one below its curve.
        side = ("bottom", "top")[number % 2]
        axis.annotate(f"ratio {ratio:g}, {ranks} GPU", (hosts[-1], rates[-1]), fontsize=7, ha="right", va=side)
    for wall in dict.fromkeys(row["wall"] for row in projected):
        points = [row for row in projected if row["wall"] == wall]
        axis.plot(
            [row["hosts"] for row in points], [row["env_steps_per_s"] for row in points], "o", color=_COLOURS[wall],
            label=wall,
        )  # fmt: skip
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("hosts that collect (estimated)")
    axis.legend(fontsize=8, title="wall", title_fontsize=8)
