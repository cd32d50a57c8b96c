"""Does a planner pay? Returns with it and without, from the same starts, by what runs on the robot.

Shape letter: E starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.evaluation.bounds import LONGEST_EPISODE_STEPS
from robot_wm.evaluation.closed_loop import run_closed_loop
from robot_wm.evaluation.driven import driven
from robot_wm.evaluation.paired import paired_interval
from robot_wm.runtime.planner_section import CONFIDENCE, PlannerGate
from robot_wm.runtime.planning.config import ALWAYS, PlanningConfig
from robot_wm.runtime.planning.planner import Planner
from robot_wm.runtime.safety import SafetyConfig

GATE_SEED = 5_000_011  # starts that neither training nor evaluation nor a monitor's calibration see


@dataclass(frozen=True)
class Played:
    """Episodes of a bundle's task by its controller."""

    returns: NDArray[np.float64]  # [E]
    counts: Mapping[str, int]  # of `PlanningCounts`, all episodes together; none where the actor acted alone


def measure_gate(bundle: Path, *, episodes: int, seed: int = GATE_SEED, forced: bool = False) -> PlannerGate:
    """Drive the bundle's task by its controller, ``episodes`` starts each with the planner and by the actor alone.

    The actor is greedy, every plan is waited for. ``forced``: also where the bundle says that it does not pay. Raises
    UserError for a bundle or a task that cannot be driven.
    """
    reactive = play(bundle, starts=episodes, seed=seed)
    planned = play(bundle, starts=episodes, seed=seed, planner=True, forced=forced)
    return gate_of(planned.returns, reactive.returns, seed)


def play(
    bundle: Path,
    *,
    starts: int,
    seed: int,
    planner: bool | Planner = False,
    planning: PlanningConfig = ALWAYS,
    forced: bool = False,
    option: Mapping[str, Any] | None = None,
) -> Played:
    """Drive the bundle's task from the starts ``seed``, ``seed + 1``, ...; the actor is greedy.

    ``planner``, ``planning`` and ``forced`` are as for `driven`, ``option`` those of the task. Raises UserError for a
    bundle or a task that cannot be driven.
    """
    with driven(
        bundle,
        config=SafetyConfig(soft_start_s=0.0),
        seed=seed,
        planner=planner,
        force_planner=forced,
        planning=planning,
        option=option,
    ) as it:
        longest_s = LONGEST_EPISODE_STEPS * it.controller.spec.control_period_s
        result = run_closed_loop(
            it.controller, it.env, episodes=starts, realtime=False, max_episode_s=longest_s, seed=seed
        )
        thinker = it.controller.thinker
        return Played(result.returns, {} if thinker is None else thinker.report().counts)


def gate_of(planned: NDArray[np.float64], reactive: NDArray[np.float64], seed: int) -> PlannerGate:
    """What returns [E] with a planner are worth beside those of the actor alone, from the same starts."""
    return PlannerGate(
        episodes=planned.size,
        seed=seed,
        planned=float(planned.mean()),
        reactive=float(reactive.mean()),
        interval=paired_interval(planned - reactive, CONFIDENCE),
        confidence=CONFIDENCE,
    )
