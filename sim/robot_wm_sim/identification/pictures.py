"""What an identification found, drawn: fits over data, and parameters with how sure they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from robot_wm_sim.identification.identify import Identified

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN_S = 6.0  # of the held-out stretch
_COLUMNS = 3


def fits(found: Identified) -> Figure:
    """Each joint on the first held-out stretch: what it did, what it does in the fitted simulator and in the old."""
    from matplotlib.figure import Figure

    stretch, (now, _), (before, _) = found.log.held_out[0], found.held_out[0], found.before[0]
    own = stretch.counted & (stretch.time_s >= stretch.duration_s - SHOWN_S)
    joints = found.log.joints
    rows = -(-len(joints) // _COLUMNS)
    figure = Figure(figsize=(13, 2.1 * rows), layout="constrained")
    axes = figure.subplots(rows, _COLUMNS, squeeze=False, sharex=True).flat
    for axis in axes[len(joints) :]:
        axis.set_visible(False)
    for index, (axis, error) in enumerate(zip(axes, found.errors, strict=False)):
        axis.plot(stretch.time_s[own], before[own, index], color="0.65", lw=1.0, label="simulator as built")
        axis.plot(stretch.time_s[own], stretch.position[own, index], ".", color="C0", ms=3.5, label="log")
        axis.plot(stretch.time_s[own], now[own, index], color="C1", lw=1.2, label="identified")
        axis.set_title(
            f"{error.joint}: {1e3 * error.error_before:.1f} → {1e3 * error.error:.2f} mrad or mm rms",
            fontsize=8,
            color="crimson" if error.is_large else "black",
        )
        axis.tick_params(labelsize=7)
    axes[0].legend(fontsize=7, loc="upper right")
    figure.supxlabel("time, s; held out", fontsize=8)
    figure.supylabel("position, rad or m", fontsize=8)
    return figure


def estimates(found: Identified) -> Figure:
    """Each kind of parameter over the joints, with three standard deviations; hollow where the log tells nothing."""
    from matplotlib.figure import Figure

    kinds = list(dict.fromkeys(one.parameter.kind for one in found.estimates if one.parameter.joint))
    figure = Figure(figsize=(13, 3.2), layout="constrained")
    axes = figure.subplots(1, len(kinds), squeeze=False).flat
    for axis, kind in zip(axes, kinds, strict=True):
        own = [one for one in found.estimates if one.parameter.kind == kind]
        for row, one in enumerate(own):
            spread = 3.0 * one.deviation if one.is_informed else 0.0
            fill = "C1" if one.is_informed else "none"
            axis.errorbar(one.value, row, xerr=spread, fmt="o", ms=5, color="C1", mfc=fill)
        axis.set_yticks(np.arange(len(own)), [one.parameter.joint for one in own], fontsize=6)
        axis.set_title(f"{kind}, {own[0].parameter.unit}", fontsize=9)
        axis.tick_params(axis="x", labelsize=7)
        axis.grid(alpha=0.3)
        axis.invert_yaxis()
    return figure
