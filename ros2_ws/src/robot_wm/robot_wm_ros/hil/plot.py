"""The distributions as a picture: counts over latency, both logarithmic, with the deadline and each 99th percentile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robot_wm.atomic import atomic_file
from robot_wm.errors import UserError
from robot_wm_ros.hil.pairing import Int64
from robot_wm_ros.hil.report import NS_PER_MS

_BINS = 120
_SHORTEST_MS = 1e-3  # a logarithmic axis has no zero


def plot_histograms(
    path: Path, distributions: Mapping[str, Int64], *, title: str, deadline_ms: float, missed: str, conditions: str
) -> None:
    """Write a PNG of durations in ns by name, with the deadline as a line; empty ones are left out.

    ``missed`` says how often it was missed, ``conditions`` under what load all this was measured. Raises UserError
    without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("--out needs matplotlib for its picture: pip install 'robot-wm[train]'") from None

    shown = {name: np.maximum(d / NS_PER_MS, _SHORTEST_MS) for name, d in distributions.items() if d.size}
    figure = Figure(figsize=(9, 5.5), layout="constrained")  # needs no display and leaves no global state
    figure.suptitle(title)
    axes = figure.add_subplot()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    if shown:
        low, high = min(v.min() for v in shown.values()), max(v.max() for v in shown.values())
        edges = np.geomspace(low, max(high, low * 1.01), _BINS).tolist()
        for number, (name, values) in enumerate(shown.items()):
            axes.hist(values, bins=edges, histtype="step", color=f"C{number}", label=f"{name}: {_percentiles(values)}")
            axes.axvline(float(np.percentile(values, 99)), color=f"C{number}", linestyle="--", linewidth=1)
        axes.set_yscale("log")
    axes.axvline(deadline_ms, color="black", linewidth=2, label=f"deadline: {deadline_ms:.3g} ms, {missed}")
    figure.legend(loc="outside lower center", fontsize="small")
    axes.set(xlabel="latency, ms (dashed: 99th percentile)", ylabel="samples")
    axes.set_title(conditions, fontsize="small")
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _percentiles(values: NDArray[np.float64]) -> str:
    p50, p99, p999, largest = np.percentile(values, (50, 99, 99.9, 100)).tolist()
    return f"p50 {p50:.3g}, p99 {p99:.3g}, p99.9 {p999:.3g}, max {largest:.3g} ms"
