"""Episodes as a robot's recording gives them, with random observations and actions, and stores of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from robot_wm.replay.episode import Episode, EpisodeSource
from robot_wm.replay.store import EpisodeStore
from robot_wm.replay.upkeep import Upkeep
from robot_wm.spec import AgentSpec


def recorded(spec: AgentSpec, length: int, seed: int, *, mark: float | None = None) -> Episode:
    """One of ``length`` steps; with ``mark`` every number of its first field is that one."""
    rng, step = np.random.default_rng(seed), np.arange(length)
    command = rng.uniform(-1, 1, (length, spec.action_dim)).astype(np.float32)
    command[-1] = 0
    obs = {field.name: rng.normal(0, 1, (length, *field.shape)).astype(np.float32) for field in spec.observations}
    if mark is not None:
        obs[spec.observations[0].name][:] = mark
    return Episode(
        obs=obs,
        action=command,
        reward=np.zeros(length, np.float32),
        reward_known=step == 0,
        is_first=step == 0,
        is_last=step == length - 1,
        is_terminal=np.zeros(length, np.bool_),
        source=EpisodeSource(kind="robot", task=spec.task, robot=spec.robot),
    )


def robot_store(path: Path, spec: AgentSpec, lengths: list[int], *, mark: float | None = None) -> EpisodeStore:
    """A store with an episode of each length, in one commit."""
    options = Upkeep(commit_episodes=len(lengths))
    store = (EpisodeStore.open if path.exists() else EpisodeStore.create)(path, spec, options=options)
    first = store.next_number()
    store.append([recorded(spec, length, first + k, mark=mark) for k, length in enumerate(lengths)])
    return store
