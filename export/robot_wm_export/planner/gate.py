"""Does a planner pay? Returns with it and without, from the same starts, by what runs on the robot.

Shape letter: E starts.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robot_wm.evaluation.paired import paired_interval
from robot_wm.evaluation.playing import play
from robot_wm.runtime.planner_section import CONFIDENCE, PlannerGate

GATE_SEED = 5_000_011  # starts that neither training nor evaluation nor a monitor's calibration see


def measure_gate(bundle: Path, *, episodes: int, seed: int = GATE_SEED, forced: bool = False) -> PlannerGate:
    """Drive the bundle's task by its controller, ``episodes`` starts each with the planner and by the actor alone.

    The actor is greedy, every plan is waited for. ``forced``: also where the bundle says that it does not pay. Raises
    UserError for a bundle or a task that cannot be driven.
    """
    reactive = play(bundle, episodes=episodes, seed=seed)
    planned = play(bundle, episodes=episodes, seed=seed, planner=True, force_planner=forced)
    return gate_of(planned.returns, reactive.returns, seed)


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
