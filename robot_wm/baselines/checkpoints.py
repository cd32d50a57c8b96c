"""The walking trials with a trained Dreamer's checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robot_wm.baselines.curve import known, mean_walk
from robot_wm.baselines.dreamer import greedy
from robot_wm.baselines.trial import WalkingTrials, can_walk
from robot_wm.errors import UserError
from robot_wm.figures import robot_minutes
from robot_wm.training import checkpoint, scalars

_FALLS = "run/falls"  # in a run's log: since its first step


def try_checkpoints(path: Path) -> list[dict[str, Any]]:
    """A row for every checkpoint kept of the run ``path`` (or for the checkpoint ``path`` alone), oldest first.

    ``falls`` is what the run's log says of training until then, None where it says nothing; ``walked`` is how many of
    the starts walked, and the speeds are their means.
    Raises UserError where there is no checkpoint, and for a task that takes no velocity command.
    """
    kept = checkpoint.paths(path) or [checkpoint.find(path)]
    logged = [row for row in scalars.read(kept[0].parent.parent) if _FALLS in row]
    first = checkpoint.read_state(kept[0])
    if not can_walk(first.agent_spec):
        raise UserError(f"{path}: task {first.config.task} takes no velocity command")
    trials = WalkingTrials(first.config.task, first.config.task_options)
    try:
        rows = []
        for one in kept:
            loaded = checkpoint.load_agent(one)
            step = loaded.state.env_steps
            falls = [row[_FALLS] for row in logged if row["step"] <= step]
            walks = trials.run(greedy(loaded.agent, loaded.spec))
            rows.append(
                {
                    "step": step,
                    "robot_minutes": round(robot_minutes(step, loaded.spec.control_rate_hz), 3),
                    "falls": falls[-1] if falls else None,
                    "walked": f"{sum(walk.walks for walk in walks)}/{len(walks)}",
                    **{name: known(value) for name, value in mean_walk(walks).items()},
                }
            )
    finally:
        trials.close()
    return rows
