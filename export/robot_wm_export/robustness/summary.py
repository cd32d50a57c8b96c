"""What a grid of worlds comes to: the plain and the joint ones, the worst, and the goals of the field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from robot_wm_export.robustness.grid import LATE_S
from robot_wm_export.robustness.measure import Outcome
from robot_wm_export.robustness.pictures import plain_return

# What is asked of an agent that shall leave the simulator.
MOST_FALLS = 0.02  # of the episodes in worlds of sim2real
LEAST_IN_OTHER_ENGINE = 0.8  # of the better engine's return
LEAST_LATE = 0.7  # of the return, with observations LATE_S old
_WORST = 5


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Plain values: each world that is named, the worst of the single ones, and which goals are met."""
    plain = {
        backend: plain_return(outcomes, backend) for backend in dict.fromkeys(one.cell.backend for one in outcomes)
    }
    named = {
        f"{one.cell.randomisation if one.cell.kind == 'joint' else 'plain'}, {one.cell.backend}": _figures(one)
        for one in outcomes
        if one.cell.kind in ("plain", "joint")
    }
    singles = [(one.return_mean, one) for one in outcomes if one.cell.kind == "single" and one.return_mean is not None]
    singles.sort(key=lambda pair: pair[0] / plain[pair[1].cell.backend])
    worst = [
        {"backend": one.cell.backend, one.cell.quantities[0]: one.cell.values[0], **_figures(one)}
        for _, one in singles[:_WORST]
    ]
    return {"named": named, "worst": worst, "goals": _goals(outcomes, plain)}


def _figures(one: Outcome) -> dict[str, Any]:
    return {
        "return_mean": one.return_mean,
        "falls": one.falls,
        "episodes": one.episodes,
        "success_rate": one.success_rate,
    }


def _goals(outcomes: Sequence[Outcome], plain: dict[str, float]) -> dict[str, bool]:
    goals: dict[str, bool] = {}
    for one in outcomes:
        cell = one.cell
        if cell.kind == "joint" and cell.randomisation == "sim2real" and one.falls is not None:
            name = f"falls below {MOST_FALLS:.0%} in sim2real, {cell.backend}"
            goals[name] = one.falls < MOST_FALLS * one.episodes
        if cell.draw == {"observation_latency_s": LATE_S} and one.return_mean is not None:
            name = f"{LEAST_LATE:.0%} of the return {1e3 * LATE_S:.0f} ms late, {cell.backend}"
            goals[name] = one.return_mean >= LEAST_LATE * plain[cell.backend]
    if len(plain) > 1:
        name = f"{LEAST_IN_OTHER_ENGINE:.0%} of the better engine's return in every engine"
        goals[name] = min(plain.values()) >= LEAST_IN_OTHER_ENGINE * max(plain.values())
    return goals
