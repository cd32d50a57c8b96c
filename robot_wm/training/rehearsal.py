"""What an adapting agent must not forget: steps of its old world, played again where nobody has kept them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from robot_wm.atomic import atomic_directory
from robot_wm.replay.store import EpisodeStore
from robot_wm.training.checkpoint import LoadedAgent
from robot_wm.training.config import OptionValue
from robot_wm.training.playing import play

_MOST_ENVS = 16


def rehearse(
    source: LoadedAgent, folder: Path, *, steps: int, seed: int, options: Mapping[str, OptionValue] | None = None
) -> EpisodeStore:
    """The store ``folder`` with ``steps`` control steps of the source in its own task; made where there is none.

    It acts as it did while it learned, with its noise, in the world of ``options`` [its own]. The store is there whole
    or not at all, and one that is there is taken as it is, so that a command that was broken off can be given again.
    """
    if not folder.exists():
        config = source.state.config
        with atomic_directory(folder, replace=False) as temporary, EpisodeStore.create(temporary, source.spec) as store:
            # Whole episodes where they are as many as environments: the first steps of each tell of its start only.
            play(
                source.agent,
                config.task,
                config.task_options if options is None else options,
                store,
                steps=steps,
                seed=seed,
                envs=max(1, min(_MOST_ENVS, steps // 1000)),
                policy=source.path.name,
            )
    return EpisodeStore.open(folder, source.spec)
