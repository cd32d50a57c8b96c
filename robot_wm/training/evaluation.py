"""How well an agent does: greedy episodes with seeds that training does not use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.errors import StoppedError
from robot_wm.evaluation.bounds import LONGEST_EPISODE_STEPS
from robot_wm.evaluation.seeds import EVALUATION_SEED
from robot_wm.figures import summary
from robot_wm.tasks import backend_name
from robot_wm.training.actor import Actor
from robot_wm.training.config import OptionValue
from robot_wm.training.env_pool import EnvPool


def evaluate(
    agent: DreamerAgent,
    task: str,
    options: Mapping[str, OptionValue],
    *,
    episodes: int,
    seed: int = EVALUATION_SEED,
    longest: int = LONGEST_EPISODE_STEPS,
    on_episode: Callable[[int], None] | None = None,
    go_on: Callable[[], bool] = lambda: True,
) -> dict[str, Any]:
    """Run ``episodes`` greedy episodes side by side, one in each of as many environments.

    Episode i is seeded with ``seed + i``, as those that the controller drives (`run_closed_loop`).
    An episode of more than ``longest`` control steps counts as it stands then.

    Returns ``return_mean``, ``return_std``, ``success_rate`` (None where the task knows no success), ``episodes``,
    ``cut_off`` (how many of them were longer), ``backend``, ``length_mean`` (control steps), ``returns`` and what
    `robot_wm.figures.summary` tells of them. ``on_episode`` hears how many have ended, at the start that none has.
    Raises StoppedError once ``go_on``, which is asked before each step, says no.
    """
    pool = EnvPool(task, dict(options), envs=episodes, processes=0, seed=seed)
    try:
        actor = Actor(agent, pool.agent_spec, envs=episodes, seed=seed, greedy=True)
        returns, lengths = np.zeros(episodes), np.zeros(episodes, dtype=int)
        figures = np.full((episodes, len(pool.figure_names)), np.nan)
        success, done = np.full(episodes, np.nan), np.zeros(episodes, dtype=bool)
        cut_off = 0
        if on_episode is not None:
            on_episode(0)
        step = pool.reset([seed + number for number in range(episodes)])
        while True:
            returns += np.where(done, 0.0, step.reward)
            ended = (step.is_last | (lengths >= longest)) & ~done
            cut_off += int((ended & ~step.is_last).sum())
            success[ended], figures[ended] = step.success[ended], step.figures[ended]
            done |= ended
            if on_episode is not None and ended.any():
                on_episode(int(done.sum()))
            if done.all():
                break
            if not go_on():
                raise StoppedError
            lengths += ~done
            step = pool.step(actor.act(step.obs, step.is_first).command)
    finally:
        pool.close()
    return {
        "return_mean": float(returns.mean()),
        "return_std": float(returns.std()),
        "success_rate": None if np.isnan(success).any() else float(success.mean()),
        "episodes": episodes,
        "cut_off": cut_off,
        "backend": backend_name(task, options),
        "length_mean": float(lengths.mean()),
        "returns": returns.round(3).tolist(),
        **summary(
            lengths.tolist(),
            [dict(zip(pool.figure_names, row, strict=True)) for row in figures.tolist()],
            control_rate_hz=pool.agent_spec.control_rate_hz,
        ),
    }
