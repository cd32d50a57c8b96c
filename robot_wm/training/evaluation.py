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

SIDE_BY_SIDE = 16  # environments: a simulated A1 takes 30 MB, and a larger batch of acting gains little


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
    """Run ``episodes`` greedy episodes, up to `SIDE_BY_SIDE` of them at a time, each in an environment of its own.

    Episode i is seeded with ``seed + i``, as those that the controller drives (`run_closed_loop`).
    An episode of more than ``longest`` control steps counts as it stands then.

    Returns ``return_mean``, ``return_std``, ``success_rate`` (None where the task knows no success), ``episodes``,
    ``cut_off`` (how many of them were longer), ``backend``, ``length_mean`` (control steps), ``returns`` and what
    `robot_wm.figures.summary` tells of them. ``on_episode`` hears how many have ended, at the start that none has.
    Raises StoppedError once ``go_on``, which is asked before each step, says no.
    """
    width = min(episodes, SIDE_BY_SIDE)
    pool = EnvPool(task, dict(options), envs=width, processes=0, seed=seed)
    try:
        actor = Actor(agent, pool.agent_spec, envs=width, seed=seed, greedy=True)
        returns, lengths = np.zeros(episodes), np.zeros(episodes, dtype=int)
        figures = np.full((episodes, len(pool.figure_names)), np.nan)
        success, done = np.full(episodes, np.nan), np.zeros(episodes, dtype=bool)
        cut_off = 0
        if on_episode is not None:
            on_episode(0)
        for first in range(0, episodes, width):
            step = pool.reset([seed + first + number for number in range(width)])
            these = slice(first, first + width)
            here = done[these].size  # fewer than there are environments in a last group
            while True:
                returns[these] += np.where(done[these], 0.0, step.reward[:here])
                ended = (step.is_last[:here] | (lengths[these] >= longest)) & ~done[these]
                cut_off += int((ended & ~step.is_last[:here]).sum())
                success[these][ended], figures[these][ended] = step.success[:here][ended], step.figures[:here][ended]
                done[these] |= ended
                if on_episode is not None and ended.any():
                    on_episode(int(done.sum()))
                if done[these].all():
                    break
                if not go_on():
                    raise StoppedError
                lengths[these] += ~done[these]
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
