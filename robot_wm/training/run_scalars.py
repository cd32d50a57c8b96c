"""What a run's counters say, for its log."""

from __future__ import annotations

from robot_wm.training.checkpoint import RunState


def run_scalars(state: RunState, *, robot_minutes: float, falls: int | None) -> dict[str, float]:
    """``run/*``; ``robot_minutes`` all robots have moved together, ``falls`` are None where the task declares none."""
    config = state.config
    each = config.settings.batch_size * config.settings.batch_length * state.ranks  # steps an update
    replayed = (state.updates - state.offline_updates) * each
    values = {
        "run/updates": state.updates,
        "run/episodes": state.episodes,
        "run/robot_minutes": robot_minutes,
        "run/wall_s": state.wall_s,
        "run/replayed_per_step": replayed / max(1, state.env_steps - config.prefill_steps),
    }
    if falls is not None:
        values["run/falls"] = falls
        values["run/falls_per_robot_minute"] = falls / max(robot_minutes, 1e-9)
    return values
