"""What an adapting agent must not forget: steps of its old world, played again where nobody has kept them."""

from __future__ import annotations

from pathlib import Path

from robot_wm.replay.store import EpisodeStore
from robot_wm.training.checkpoint import LoadedAgent
from robot_wm.training.playing import play

_MOST_ENVS = 16


def rehearse(source: LoadedAgent, folder: Path, *, steps: int, seed: int) -> EpisodeStore:
    """The store ``folder`` with ``steps`` control steps of the source in its own task; made where there is none.

    It acts as it did while it learned, with its noise. A store that is there is taken as it is, so that a command that
    was broken off can be given again.
    """
    if folder.exists():
        return EpisodeStore.open(folder, source.spec)
    config = source.state.config
    store = EpisodeStore.create(folder, source.spec)
    # Whole episodes where they are as many as environments: the first steps of each tell of its start only.
    play(
        source.agent,
        config.task,
        config.task_options,
        store,
        steps=steps,
        seed=seed,
        envs=max(1, min(_MOST_ENVS, steps // 1000)),
        policy=source.path.name,
    )
    return store
