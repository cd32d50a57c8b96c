"""Alarms against falls told ahead, how long ahead, and what a reaction is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from robot_wm_bench.monitor.lead import AHEAD_MS, area, is_alarmed, lead_ms
from robot_wm_bench.monitor.reaction import CROUCH, POLICY, Alarm
from robot_wm_bench.monitor.trace import CHANGE, LOW_VALUE, READOUT, SURPRISE, Trace, highest_score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {READOUT: "#1b6ca8", LOW_VALUE: "#c0392b", SURPRISE: "#7f8c8d"}
_LIMITS = 250  # that a curve is drawn through
_LEAD_BINS_MS = np.arange(0, 1001, 40)


def monitor_figure(
    limits: Mapping[str, float],
    worlds: Mapping[str, Sequence[Trace]],
    alarms: Sequence[Alarm],
    rate_hz: float,
    *,
    title: str,
) -> Figure:
    """Falls told ahead, how long ahead, changed worlds and reactions; the latter two where there are any."""
    from matplotlib.figure import Figure

    changed = {name: traces for name, traces in worlds.items() if name not in ("clean", "pushed")}
    panels = 2 + bool(changed) + bool(alarms)
    figure = Figure(figsize=(5 * panels, 4.4), layout="constrained")
    axes = figure.subplots(1, panels)
    axes[0].set_title(title, fontsize=10)
    _curves(axes[0], [name for name in limits if name != CHANGE], worlds, rate_hz)
    _leads(axes[1], next(iter(limits)), limits, worlds["pushed"], rate_hz)
    if changed:
        _changes(axes[2], limits[CHANGE], worlds["clean"], changed)
    if alarms:
        _impacts(axes[-1], alarms)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def _curves(axis: Axes, names: Sequence[str], worlds: Mapping[str, Sequence[Trace]], rate_hz: float) -> None:
    clean, pushed = ([one for one in worlds[name] if not one.down] for name in ("clean", "pushed"))
    for name in names:
        tops = [highest_score(one, name) for one in (*worlds["clean"], *worlds["pushed"])]
        tops = [top for top in tops if np.isfinite(top)]
        if not tops:
            continue
        tried = np.quantile(tops, np.linspace(0, 1, _LIMITS))
        told = [(lead_ms(worlds["pushed"], name, limit, rate_hz) >= AHEAD_MS[0] - 1e-6).tolist() for limit in tried]
        height = [np.mean(falls) if falls else np.nan for falls in told]
        for spared, label, style in ((clean, "clean episodes", "-"), (pushed, "pushed, stays up", "--")):
            flagged = [sum(is_alarmed(one.scores[name], limit) for one in spared) for limit in tried]
            share = [count / len(spared) if spared else np.nan for count in flagged]
            axis.plot(share, height, style, color=_COLOURS[name], label=f"{name}: {label}")
    axis.axhline(0.9, color="k", lw=0.5)
    axis.axvline(0.01, color="k", lw=0.5)
    axis.set_xscale("symlog", linthresh=0.01)
    axis.set_xlim(0, 1)
    axis.set_xticks([0, 0.01, 0.1, 1], ["0", "1 %", "10 %", "100 %"])
    axis.set_xlabel("episodes without a fall that are flagged")
    axis.set_ylabel(f"falls flagged {AHEAD_MS[0]} ms ahead or more")
    axis.legend(fontsize=7, loc="lower right")


def _changes(axis: Axes, limit: float, clean: Sequence[Trace], changed: Mapping[str, Sequence[Trace]]) -> None:
    """ROC curves of each changed world against the clean one, with a dot at the frozen limit."""
    familiar = np.array([highest_score(one, CHANGE) for one in clean])
    for index, (name, traces) in enumerate(changed.items()):
        tops = np.array([highest_score(one, CHANGE) for one in traces])
        tried = np.unique(np.concatenate([familiar, tops, [-np.inf, np.inf]]))
        flagged = [((familiar > at).mean(), (tops > at).mean()) for at in tried]
        label = f"{name}: {area(traces, clean, CHANGE):.3f}"
        axis.plot(*zip(*flagged, strict=True), color=f"C{index}", label=label)
        axis.plot((familiar > limit).mean(), (tops > limit).mean(), "o", color=f"C{index}", ms=4)
    axis.set_xscale("symlog", linthresh=0.01)
    axis.set_xlim(0, 1)
    axis.set_xticks([0, 0.01, 0.1, 1], ["0", "1 %", "10 %", "100 %"])
    axis.set_xlabel("clean episodes that are flagged")
    axis.set_ylabel("episodes of the changed world that are flagged")
    axis.set_title("the world has changed: area, and the frozen limit", fontsize=10)
    axis.legend(fontsize=7, loc="lower right")


def _leads(axis: Axes, name: str, limits: Mapping[str, float], pushed: Sequence[Trace], rate_hz: float) -> None:
    leads = lead_ms(pushed, name, limits[name], rate_hz)
    axis.hist(leads, bins=_LEAD_BINS_MS.tolist(), color=_COLOURS[name])
    axis.axvline(AHEAD_MS[0], color="k", lw=0.5)
    axis.set_xlabel("ms from the first alarm to the ground")
    axis.set_ylabel(f"falls, of {len(leads)}")
    axis.set_title(f"{name}: median {np.median(leads):.0f} ms" if len(leads) else f"{name}: no fall", fontsize=10)


def _impacts(axis: Axes, alarms: Sequence[Alarm]) -> None:
    falls = [one for one in alarms if one.impacts[POLICY] is not None]
    names = (POLICY, "damp", CROUCH)
    hits = [[0.0 if (hit := one.impacts[name]) is None else hit.downwards_m_s for one in falls] for name in names]
    axis.boxplot(hits, whis=(5, 95), showfliers=False)
    axis.set_xticks([1, 2, 3], [POLICY, "damp", "crouch, then damp"])
    axis.set_ylabel("m/s downwards at the body's first contact")
    axis.set_title(f"{len(falls)} falls, the same from the alarm on", fontsize=10)
