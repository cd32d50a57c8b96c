"""The distributions as a picture: counts over latency, both logarithmic, with a line at each 99th percentile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from robot_wm.atomic import atomic_file
from robot_wm.errors import UserError
from robot_wm_ros.hil.pairing import Int64
from robot_wm_ros.hil.report import NS_PER_MS

_BINS = 120
_SHORTEST_MS = 1e-3  # a logarithmic axis has no zero


def plot_histograms(path: Path, distributions: Mapping[str, Int64], *, title: str) -> None:
    """Write a PNG of durations in ns by name; empty ones are left out. Raises UserError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("--out needs matplotlib for its picture: pip install 'robot-wm[train]'") from None

    shown = {name: np.maximum(d / NS_PER_MS, _SHORTEST_MS) for name, d in distributions.items() if d.size}
    figure = Figure(figsize=(9, 5), layout="constrained")  # needs no display and leaves no global state
    axes = figure.add_subplot()
    if shown:
        low, high = min(v.min() for v in shown.values()), max(v.max() for v in shown.values())
        edges = np.geomspace(low, max(high, low * 1.01), _BINS).tolist()
        for number, (name, values) in enumerate(shown.items()):
            p99 = float(np.percentile(values, 99))
            axes.hist(values, bins=edges, histtype="step", color=f"C{number}", label=f"{name}: p99 {p99:.3g} ms")
            axes.axvline(p99, color=f"C{number}", linestyle="--", linewidth=1)
        axes.legend()
        axes.set_xscale("log")
        axes.set_yscale("log")
    axes.set(xlabel="latency, ms", ylabel="samples", title=title)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
