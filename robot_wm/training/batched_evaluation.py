"""How well an agent does: greedy episodes with seeds that training does not use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import StoppedError
from robot_wm.evaluation.bounds import LONGEST_EPISODE_STEPS
from robot_wm.evaluation.seeds import EVALUATION_SEED
from robot_wm.figures import summary
from robot_wm.learning.agent import Agent
from robot_wm.tasks import backend_name
from robot_wm.training.actor import Actor
from robot_wm.training.config import OptionValue
from robot_wm.training.env_pool import EnvPool

SIDE_BY_SIDE = 16  # environments: a simulated A1 takes 30 MB, and a larger batch of acting gains little


def evaluate(
    agent: Agent,
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
    done = 0

    def tell(more: int) -> None:
        nonlocal done
        done += more
        if on_episode is not None:
            on_episode(done)

    pool = EnvPool(task, dict(options), envs=width, processes=0, seed=seed)
    try:
        actor = Actor(agent, pool.agent_spec, envs=width, seed=seed, greedy=True)
        tell(0)
        groups = [
            _play(pool, actor, seed + first, min(width, episodes - first), longest, tell, go_on)
            for first in range(0, episodes, width)
        ]
    finally:
        pool.close()
    returns, lengths, cut_off, success, figures = (np.concatenate(parts) for parts in zip(*groups, strict=True))
    return {
        "return_mean": float(returns.mean()),
        "return_std": float(returns.std()),
        "success_rate": None if np.isnan(success).any() else float(success.mean()),
        "episodes": episodes,
        "cut_off": int(cut_off.sum()),
        "backend": backend_name(task, options),
        "length_mean": float(lengths.mean()),
        "returns": returns.round(3).tolist(),
        **summary(
            lengths.tolist(),
            [dict(zip(pool.figure_names, row, strict=True)) for row in figures.tolist()],
            control_rate_hz=pool.agent_spec.control_rate_hz,
        ),
    }


class _Episodes(NamedTuple):
    """What became of M episodes that were played side by side."""

    returns: NDArray[np.float64]  # [M]
    lengths: NDArray[np.int64]  # [M] control steps
    cut_off: NDArray[np.bool_]  # [M] longer than it may be
    success: NDArray[np.float64]  # [M] 1, 0, or NaN where the task told none
    figures: NDArray[np.float64]  # [M, K]


def _play(
    pool: EnvPool,
    actor: Actor,
    seed: int,
    count: int,
    longest: int,
    on_ended: Callable[[int], None],
    go_on: Callable[[], bool],
) -> _Episodes:
    """One episode in each of the first ``count`` environments; what the others do is not looked at.

    ``on_ended`` hears how many have ended at a step.
    """
    envs = pool.envs
    returns, lengths = np.zeros(envs), np.zeros(envs, dtype=np.int64)
    figures = np.full((envs, len(pool.figure_names)), np.nan)
    success, cut_off = np.full(envs, np.nan), np.zeros(envs, dtype=np.bool_)
    done = np.arange(envs) >= count
    step = pool.reset([seed + number for number in range(envs)])
    while True:
        returns += np.where(done, 0.0, step.reward)
        ended = (step.is_last | (lengths >= longest)) & ~done
        cut_off |= ended & ~step.is_last
        success[ended], figures[ended] = step.success[ended], step.figures[ended]
        done |= ended
        if ended.any():
            on_ended(int(ended.sum()))
        if done.all():
            return _Episodes(returns[:count], lengths[:count], cut_off[:count], success[:count], figures[:count])
        if not go_on():
            raise StoppedError
        lengths += ~done
        step = pool.step(actor.act(step.obs, step.is_first).command)
