"""The worlds that a planner is tried in: the task's own, and those that the agent's model is wrong about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from robot_wm.errors import UserError
from robot_wm.tasks import GYM_PREFIX

MASS_SCALE = 1.2  # of all links, inertia too
LATE_S = 0.02  # that the agent is told of the world later than the task has it


@dataclass(frozen=True)
class ModelError:
    """What of the world is not as the model has learned it."""

    mass_scale: float = 1.0
    late_s: float = 0.0


WORLDS: Mapping[str, ModelError] = {
    "none": ModelError(),
    "mass": ModelError(mass_scale=MASS_SCALE),
    "latency": ModelError(late_s=LATE_S),
    "both": ModelError(mass_scale=MASS_SCALE, late_s=LATE_S),
}


def world_options(world: str, task: str, latency_s: float) -> dict[str, Any]:
    """Task options of a world of ``WORLDS``, over those that the agent was trained with: nothing else is drawn in it.

    ``latency_s`` is the task's own observation latency. Raises UserError for the wrong worlds of a task that is not
    ours.
    """
    error = WORLDS[world]
    if task.startswith(GYM_PREFIX):
        if error == ModelError():
            return {}
        raise UserError(f"--worlds {world}: its task {task} is not ours: only --worlds none can be tried")
    moved = {}
    if error.mass_scale != 1.0:
        moved["mass_scale"] = error.mass_scale
    if error.late_s:
        moved["observation_latency_s"] = latency_s + error.late_s
    return {"randomisation": moved}
