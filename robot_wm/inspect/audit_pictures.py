"""What an audit found, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from robot_wm.inspect.audit import Audit
from robot_wm.inspect.calibration import Mean, Reliability

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEAST_R2 = 0.3  # of a reward term, below which what is read off a latent is no more than a guess
_IMAGINED, _REAL = "tab:orange", "tab:blue"


def horizon_figure(found: Audit) -> Figure:
    """Mean returns by horizon, and the gap with two standard errors on either side."""
    from matplotlib.figure import Figure

    compared = found.compared
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = 1 + np.arange(compared.horizon)
    known = ~np.isnan(compared.real_returns)
    for name, values, colour in (
        ("imagined", compared.imagined.returns, _IMAGINED),
        ("real", compared.real_returns, _REAL),
    ):
        means = np.where(known, values, 0.0).sum(1) / np.maximum(1, known.sum(1))
        left.plot(steps, means, "o-", markersize=3, color=colour, label=name)
    left.legend(fontsize=8)
    left.set_ylabel("mean return, reward units", fontsize=8)
    gap, error = (np.array([getattr(mean, name) for mean in found.gaps]) for name in ("value", "error"))
    right.axhline(0, color="grey", linewidth=0.8)
    right.plot(steps, gap, "o-", markersize=3, color="black")
    right.fill_between(steps, gap - 2 * error, gap + 2 * error, color="black", alpha=0.15, linewidth=0)
    right.set_ylabel("imagined less real, ±2 standard errors", fontsize=8)
    for axes in (left, right):
        axes.set_xlabel("control steps imagined", fontsize=8)
    return figure


def reliability_figure(found: Audit) -> Figure:
    """Reward, continue and value: what was predicted against what came, in bins of as many predictions."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    curves = (
        ("reward, a step ahead", found.reward),
        ("chance that it goes on", found.goes_on),
        ("value", found.value),
    )
    for axes, (name, curve) in zip(figure.subplots(1, 3), curves, strict=True):
        _draw_reliability(axes, curve)
        axes.set_title(f"{name}\nbias {_told(curve.bias)}", fontsize=8)
    return figure


def states_figure(found: Audit) -> Figure:
    """Each state's imagined return over the whole horizon against its real one."""
    from matplotlib.figure import Figure

    compared = found.compared
    figure = Figure(figsize=(5, 4.2), layout="constrained")
    axes = figure.subplots()
    real, imagined = compared.real_returns[-1], compared.imagined.returns[-1]
    surprise = np.array([state.lived.surprise[state.step] for state in compared.states])
    dots = axes.scatter(real, imagined, c=surprise, s=9, cmap="viridis")
    figure.colorbar(dots, ax=axes, label="surprise at the state")
    _diagonal(axes, np.concatenate([real[~np.isnan(real)], imagined]))
    axes.set_xlabel(f"real return of {compared.horizon} steps", fontsize=8)
    axes.set_ylabel("imagined", fontsize=8)
    return figure


def terms_figure(found: Audit) -> Figure:
    """By reward term, the mean over all states and the whole horizon; a term that latents do not tell is left out."""
    from matplotlib.figure import Figure

    probe = found.compared.probe
    assert probe is not None
    rows = told_terms(found)
    figure = Figure(figsize=(9, 0.6 + 0.32 * len(rows)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(rows))
    for shift, name, colour in ((-0.2, "imagined", _IMAGINED), (0.2, "real", _REAL)):
        scale = [max(abs(float(row["imagined"])), abs(float(row["real"])), 1e-9) for row in rows]
        values = [float(row[name]) / by for row, by in zip(rows, scale, strict=True)]
        axes.barh(places + shift, values, height=0.38, color=colour, label=name)
    axes.set_yticks(places, [f"{row['term']} (R² {row['r2']})" for row in rows], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("mean discounted sum over the horizon, of the larger of both", fontsize=8)
    axes.legend(fontsize=7)
    return figure


def term_rows(found: Audit) -> list[dict[str, str | float]]:
    """By reward term: imagined and real sums over the horizon, and how well latents tell the term."""
    compared, probe = found.compared, found.compared.probe
    if probe is None:
        return []
    known = ~np.isnan(compared.real_returns[-1])
    return [
        {
            "term": name,
            "imagined": round(float(compared.imagined.terms[-1, known, p].mean()), 5),
            "real": round(float(compared.real_terms[-1, known, p].mean()), 5),
            "r2": "-" if np.isnan(probe.r2[p]) else round(float(probe.r2[p]), 2),
        }
        for p, name in enumerate(probe.names)
    ]


def told_terms(found: Audit) -> list[dict[str, str | float]]:
    """Those of `term_rows` that latents tell well enough to be drawn."""
    return [row for row in term_rows(found) if row["r2"] != "-" and float(row["r2"]) >= _LEAST_R2]


def _draw_reliability(axes: Axes, curve: Reliability) -> None:
    axes.plot(curve.predicted, curve.real, "o-", markersize=3, color="black")
    _diagonal(axes, np.concatenate([curve.predicted, curve.real]))
    axes.set_xlabel("predicted", fontsize=8)
    axes.set_ylabel("real", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.ticklabel_format(useOffset=False)
    axes.locator_params(nbins=5)


def _diagonal(axes: Axes, values: NDArray[np.float64]) -> None:
    ends = [values.min(), values.max()]
    axes.plot(ends, ends, color="grey", linewidth=0.8)


def _told(mean: Mean) -> str:
    return f"{mean.value:+.3g}" + ("" if np.isnan(mean.error) else f" ± {2 * mean.error:.2g}")
