"""Does a planner pay? Returns with it and without, from the same starts, by what runs on the robot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robot_wm.evaluation.bounds import LONGEST_EPISODE_STEPS
from robot_wm.evaluation.closed_loop import run_closed_loop
from robot_wm.evaluation.driven import driven
from robot_wm.evaluation.paired import paired_interval
from robot_wm.runtime.planner_section import CONFIDENCE, PlannerGate
from robot_wm.runtime.safety import SafetyConfig

GATE_SEED = 5_000_011  # starts that neither training nor evaluation nor a monitor's calibration see


def measure_gate(bundle: Path, *, episodes: int, seed: int = GATE_SEED, forced: bool = False) -> PlannerGate:
    """Drive the bundle's task by its controller, ``episodes`` starts each with the planner and by the actor alone.

    The actor is greedy, every plan is waited for. ``forced``: also where the bundle says that it does not pay. Raises
    UserError for a bundle or a task that cannot be driven.
    """
    reactive, planned = (_returns(bundle, planner, forced, episodes, seed) for planner in (False, True))  # [E] each
    return PlannerGate(
        episodes=episodes,
        seed=seed,
        planned=float(planned.mean()),
        reactive=float(reactive.mean()),
        interval=paired_interval(planned - reactive, CONFIDENCE),
        confidence=CONFIDENCE,
    )


def _returns(bundle: Path, planner: bool, forced: bool, episodes: int, seed: int) -> NDArray[np.float64]:
    robot = driven(bundle, config=SafetyConfig(soft_start_s=0.0), seed=seed, planner=planner, force_planner=forced)
    with robot as it:
        longest_s = LONGEST_EPISODE_STEPS * it.controller.spec.control_period_s
        result = run_closed_loop(
            it.controller, it.env, episodes=episodes, realtime=False, max_episode_s=longest_s, seed=seed
        )
    return result.returns
