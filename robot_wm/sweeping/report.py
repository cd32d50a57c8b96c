"""What a sweep has found: tables for programs, pictures for people, and the best settings as a file for `train`."""

from __future__ import annotations

import csv
import io
import json
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState

from robot_wm.atomic import atomic_file
from robot_wm.sweeping.job import Job
from robot_wm.sweeping.running import Confirmed, Sweeping
from robot_wm.sweeping.space import FloatRange, IntRange
from robot_wm.yaml_file import write_yaml

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from robot_wm.sweeping.plan import Plan, Sweep
    from robot_wm.sweeping.trials import Trials

_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "given up",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "to go on",
}
_DPI = 110


def write(
    folder: Path, sweep: Sweep, trials: Trials, sweeping: Sweeping, confirmed: Confirmed, stopped_by: str
) -> dict[str, Any]:
    """Write ``sweep.json``, ``sweep.csv``, the pictures and ``best.yaml``; returns what the first of them says."""
    from robot_wm.sweeping.trials import BASE, REASON

    plan, best = sweep.plan, trials.best()
    rows = []
    for trial in trials.all():
        job = Job(sweeping.folder_of(trial.number), {}, plan.objective)
        rows.append(
            {
                "trial": trial.number,
                "state": _STATES[trial.state],
                "value": trial.value,
                "steps": trial.last_step,
                "wall_s": job.wall_s(),
                **trial.params,
                "note": "base" if trial.user_attrs.get(BASE) else str(trial.user_attrs.get(REASON, "")),
            }
        )
    objective = plan.objective
    result: dict[str, Any] = {
        "folder": str(folder),
        "objective": objective.eval or f"{objective.over} {objective.scalar}",
        "direction": objective.direction,
        "stopped_by": stopped_by,
        "trials": len(rows),
        **{state.replace(" ", "_"): sum(row["state"] == state for row in rows) for state in _STATES.values()},
        "base_value": next((row["value"] for row in rows if row["note"] == "base"), None),
        "best_value": None if best is None else best.value,
        "best_trial": None if best is None else best.number,
        "importance": {name: round(share, 3) for name, share in trials.importances().items()},
    }
    result |= _of_confirmation(confirmed)
    if best is not None:
        _write_best(folder / "best.yaml", sweep, best, sweeping)
        result["best"] = str(folder / "best.yaml")
    result["rows"] = rows
    with atomic_file(folder / "sweep.json") as temporary:
        temporary.write_text(json.dumps(result, indent=2))
    with atomic_file(folder / "sweep.csv") as temporary:
        temporary.write_text(_csv(rows))
    for name, figure in pictures(plan, trials, result["base_value"]).items():
        with atomic_file(folder / f"{name}.png") as temporary:
            figure.savefig(temporary, format="png", dpi=_DPI)
    return result


def by_worth(rows: list[dict[str, Any]], *, maximize: bool) -> list[dict[str, Any]]:
    """Rows for people: the best of those that came to their end first, then those given up, then the rest."""
    order = list(_STATES.values())

    def key(row: dict[str, Any]) -> tuple[int, float]:
        worth = row["value"] if row["value"] is not None else 0.0
        return order.index(row["state"]), -worth if maximize else worth

    return sorted(rows, key=key)


def _of_confirmation(confirmed: Confirmed) -> dict[str, Any]:
    if not confirmed.best:
        return {}
    means = {"confirmed_best": confirmed.best, "confirmed_base": confirmed.base}
    told: dict[str, Any] = {"confirmed_seeds": confirmed.seeds}
    for name, values in means.items():
        told |= {name: values, f"{name}_mean": statistics.mean(values)}
    return told


def _write_best(path: Path, sweep: Sweep, best: FrozenTrial, sweeping: Sweeping) -> None:
    settings = sweep.whole_run(sweeping.settings_of(best.number, best.params))
    text = f"# The best of a sweep by {sweep.plan.objective.scalar} after {sweep.plan.budget.steps} steps.\n"
    with atomic_file(path) as temporary:
        temporary.write_text(text + write_yaml(settings))


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def pictures(plan: Plan, trials: Trials, base_value: float | None) -> dict[str, Figure]:
    """``history`` (values and curves), ``parameters`` (values by each setting), ``importance``, where there are any."""
    from matplotlib.figure import Figure

    done = [trial for trial in trials.all() if trial.value is not None]
    if not done:
        return {}
    figures = {}
    figure = figures["history"] = Figure(figsize=(11, 4), layout="constrained")
    values, curves = figure.subplots(1, 2)
    _draw_values(values, done, plan, base_value)
    _draw_curves(curves, done, trials.best(), plan)

    figure = figures["parameters"] = Figure(figsize=(3.2 * len(plan.space), 3.2), layout="constrained")
    for axes, (name, dimension) in zip(
        figure.subplots(1, len(plan.space), squeeze=False)[0], plan.space.items(), strict=True
    ):
        numeric = isinstance(dimension, FloatRange | IntRange)
        for state, colour in ((TrialState.PRUNED, "0.7"), (TrialState.COMPLETE, "C0")):
            chosen = [trial for trial in done if trial.state == state and name in trial.params]
            places = [trial.params[name] if numeric else str(trial.params[name]) for trial in chosen]
            axes.plot(places, [trial.value or 0.0 for trial in chosen], "o", color=colour, markersize=4)
        if isinstance(dimension, FloatRange | IntRange) and dimension.log:
            axes.set_xscale("log")
        axes.set(xlabel=name)
    figure.axes[0].set_ylabel(plan.objective.scalar)

    if shares := trials.importances():
        figure = figures["importance"] = Figure(figsize=(6, 1 + 0.4 * len(shares)), layout="constrained")
        axes = figure.subplots()
        names = list(shares)[::-1]
        axes.barh(names, [shares[name] for name in names])
        axes.set(xlabel="importance (PED-ANOVA)", xlim=(0, 1))
    return figures


def _draw_values(axes: Axes, done: list[FrozenTrial], plan: Plan, base_value: float | None) -> None:
    for state, colour, label in ((TrialState.COMPLETE, "C0", "complete"), (TrialState.PRUNED, "0.7", "given up")):
        chosen = [trial for trial in done if trial.state == state]
        axes.plot(
            [t.number for t in chosen], [t.value or 0.0 for t in chosen], "o", color=colour, label=label, markersize=4
        )
    better = max if plan.objective.direction == "maximize" else min
    whole = [trial for trial in done if trial.state == TrialState.COMPLETE]
    best_so_far = [better(t.value or 0.0 for t in whole[: k + 1]) for k in range(len(whole))]
    axes.step([trial.number for trial in whole], best_so_far, where="post", color="C1", label="best so far")
    if base_value is not None:
        axes.axhline(base_value, color="0.4", linestyle=":", label="base")
    axes.set(xlabel="trial", ylabel=plan.objective.eval or plan.objective.scalar)
    axes.legend(fontsize=8)


def _draw_curves(axes: Axes, done: list[FrozenTrial], best: FrozenTrial | None, plan: Plan) -> None:
    for trial in done:
        steps = sorted(trial.intermediate_values)
        is_best = best is not None and trial.number == best.number
        colour = "C1" if is_best else "0.8" if trial.state == TrialState.PRUNED else "C0"
        axes.plot(
            steps,
            [trial.intermediate_values[step] for step in steps],
            color=colour,
            linewidth=2 if is_best else 0.8,
            zorder=3 if is_best else 2,
        )
    axes.set(xlabel="policy steps", ylabel=f"{plan.objective.over} {plan.objective.scalar}")
