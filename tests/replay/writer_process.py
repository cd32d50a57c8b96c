"""A process that fills a replay store until it is killed: for test_crashes, run as a program.

Prints ``started`` once it writes, and after each commit ``committed <highest seed>``.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import numpy as np

from robot_wm.replay.episode import Episode, EpisodeSource
from robot_wm.replay.store import EpisodeStore
from robot_wm.replay.upkeep import Upkeep


def episode(spec, seed: int, steps: int) -> Episode:
    rng = np.random.default_rng(seed)
    step = np.arange(steps)
    obs = {field.name: rng.normal(size=(steps, *field.shape)).astype(np.float32) for field in spec.observations}
    action = rng.normal(size=(steps, spec.action_dim)).astype(np.float32)
    action[-1] = 0
    return Episode(
        obs=obs,
        action=action,
        reward=np.full(steps, seed, np.float32),
        reward_known=step >= 0,
        is_first=step == 0,
        is_last=step == steps - 1,
        is_terminal=step < 0,
        source=EpisodeSource(kind="sim", task=spec.task, robot=spec.robot, seed=seed),
    )


def main(path: Path, batch: int, steps: int, file_limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))  # bytes a file; -1 for no limit
    store = EpisodeStore.open(path, options=Upkeep(commit_episodes=batch, every_commits=4, keep_versions=5))
    seed = int(store.index.number[-1]) + 1 if len(store.index.number) else 0
    print("started", flush=True)
    while True:
        store.append([episode(store.spec, seed, steps)])
        if store.pending == 0:
            print(f"committed {seed}", flush=True)
        seed += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
