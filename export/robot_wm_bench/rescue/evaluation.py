"""Greedy episodes of any learner's policy in one world, from the same starts every time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_wm.baselines.trial import Policy
from robot_wm.evaluation.bounds import LONGEST_EPISODE_STEPS
from robot_wm.evaluation.seeds import EVALUATION_SEED
from robot_wm.figures import FALL
from robot_wm.spec import AgentSpec
from robot_wm.training.env_pool import EnvPool


class Evaluated(NamedTuple):
    """Episodes that were played side by side."""

    returns: NDArray[np.float64]  # [E] undiscounted
    falls: float  # NaN where the task tells of none


class Evaluation:
    """E environments of one world, kept between looks; a context manager.

    Episode i is seeded with `EVALUATION_SEED` + i, so that two looks differ by the policy alone, and none of them is
    counted as robot time: it is the experimenter's measurement.
    """

    def __init__(self, task: str, options: Mapping[str, Any], *, episodes: int, processes: int) -> None:
        self.episodes = episodes
        self._pool = EnvPool(task, dict(options), envs=episodes, processes=processes, seed=EVALUATION_SEED)

    @property
    def spec(self) -> AgentSpec:
        """The contract that the world's environments carry."""
        return self._pool.agent_spec

    def run(self, policy: Policy) -> Evaluated:
        """One whole episode in each environment; ``policy`` is fresh, and acts for all E of them at once."""
        step = self._pool.reset([EVALUATION_SEED + number for number in range(self.episodes)])
        returns, falls = np.zeros(self.episodes), np.full(self.episodes, np.nan)
        done = np.zeros(self.episodes, dtype=np.bool_)
        for _ in range(LONGEST_EPISODE_STEPS):
            step = self._pool.step(policy(dict(step.obs), step.is_first))
            returns += np.where(done, 0.0, step.reward)
            ended = step.is_last & ~done
            if FALL in self._pool.figure_names:
                falls[ended] = step.figures[ended, self._pool.figure_names.index(FALL)]
            done |= ended
            if done.all():
                break
        return Evaluated(returns, float(falls.sum()))

    def __enter__(self) -> Evaluation:
        return self

    def __exit__(self, *ignored: object) -> None:
        self._pool.close()
