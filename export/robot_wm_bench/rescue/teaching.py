"""Source experience with a teacher: a trained agent names its action wherever it or its pupil has come to.

Round 0 is driven by the teacher, every later one by the pupil, both with Gaussian noise on their actions: a pupil that
learns only from a teacher's own course never sees how to come back to it (Ross, Gordon, Bagnell 2011, "A Reduction of
Imitation Learning and Structured Prediction to No-Regret Online Learning"; Laskey et al. 2017, "DART").
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from robot_wm.baselines.view import ModelView
from robot_wm.runtime.transform import to_policy
from robot_wm.training.actor import Actor
from robot_wm.training.env_pool import EnvPool
from robot_wm_bench.rescue.experience import Experience

Float32 = NDArray[np.float32]
Pupil = Callable[[Float32], Float32]
"""Observations [N, D] to greedy actions [N, A] in [-1, 1]."""


def gather(
    pool: EnvPool, teacher: Actor, pupil: Pupil | None, *, history: int, steps: int, noise: float, seed: int
) -> tuple[Experience, float]:
    """``steps`` of every environment of ``pool``, driven by ``pupil`` or, where it is None, by the greedy ``teacher``.

    ``noise`` is the standard deviation of what is added to actions, in their own unit. Returns the transitions and how
    many episodes ended for good: the robot's falls, in the simulator of its source.
    """
    spec = pool.agent_spec
    view, rng = ModelView(spec, history=history, envs=pool.envs), np.random.default_rng(seed)
    step = pool.reset([seed + number for number in range(pool.envs)])
    seen = view.see(step.obs, step.is_first)  # [N, D]
    rows: list[tuple[NDArray[np.bool_], tuple[NDArray[np.float32], ...]]] = []
    falls = 0.0
    for _ in range(steps):
        label = to_policy(spec.action, teacher.act(step.obs, step.is_first).command)  # [N, A]
        wanted = label if pupil is None else pupil(seen)
        action = np.clip(wanted + noise * rng.standard_normal(wanted.shape), -1.0, 1.0).astype(np.float32)
        teacher.executed(action)
        goes_on = ~step.is_last  # where it does not, the pool starts an episode instead of acting
        step = pool.step(view.command(action))
        then_seen = view.see(step.obs, step.is_first)
        terminal = step.is_terminal.astype(np.float32)
        falls += float(step.is_terminal.sum())
        rows.append((goes_on, (seen, action, label, step.reward.astype(np.float32), then_seen, terminal)))
        seen = then_seen
    kept = np.concatenate([goes_on for goes_on, _ in rows])
    columns = (np.concatenate(column)[kept] for column in zip(*(row for _, row in rows), strict=True))
    return Experience(*columns), falls
