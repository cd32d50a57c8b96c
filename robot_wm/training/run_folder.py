"""A run's folder: what is in it, and from which checkpoint that is whole a run goes on."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from robot_wm.errors import UserError
from robot_wm.replay.saved import SavedReplay
from robot_wm.replay.store import EpisodeStore
from robot_wm.replay.upkeep import Upkeep
from robot_wm.spec import AgentSpec
from robot_wm.training import checkpoint
from robot_wm.training.checkpoint import DamagedError, RunState
from robot_wm.training.config import TrainConfig, run_store
from robot_wm.training.sources import Sources

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """A whole checkpoint to go on from."""

    path: Path
    state: RunState
    learner: dict[str, Tensor]
    damaged: tuple[Path, ...]  # newer ones, which are not whole

    def set_aside_damaged(self) -> None:
        """Give the damaged ones names that are no checkpoint's: else they stayed the newest for ever."""
        for path in self.damaged:
            number, aside = 1, path.with_name(f"damaged_{path.name}")
            while aside.exists():
                number += 1
                aside = path.with_name(f"damaged_{path.name}_{number}")
            path.replace(aside)
            _log.warning("%s: moved to %s", path, aside.name)


def find_start(run: Path, *, resume: bool) -> Start | None:
    """With ``resume`` the newest checkpoint whose learner is whole; warns of each damaged one that is newer.

    Only for the holder of the run's lock. Raises UserError where there is none, and for one that is not damaged but
    that cannot be read, or is another version's; without ``resume`` where there is any.
    """
    checkpoint.tidy_up(run)
    if not resume:
        if checkpoint.paths(run):
            raise UserError(f"{run}: holds a run already; continue it with --resume or name another --run-dir")
        return None
    damaged: list[tuple[Path, DamagedError]] = []
    for path in reversed(checkpoint.paths(run)):
        try:
            state, learner = checkpoint.read_state(path), checkpoint.read_learner(path)
        except DamagedError as error:
            damaged.append((path, error))
            continue
        for _, damage in damaged:
            _log.warning("%s; going on from %s instead", damage, path)
        return Start(path, state, learner, tuple(newer for newer, _ in damaged))
    if not damaged:
        raise UserError(f"{run}: no checkpoint to resume from")
    raise UserError(
        f"{damaged[0][1]}; no checkpoint of this run is whole: start anew with another --run-dir"
        " (what it experienced is in its replay store, untouched)"
    )


def open_store(config: TrainConfig, spec: AgentSpec) -> EpisodeStore:
    """The run's episodes, kept; made where there are none; UserError where they are of another ``spec``."""
    quota = config.replay_quota_mib
    options = Upkeep(commit_episodes=config.episodes_per_commit, quota_bytes=None if quota is None else quota * 2**20)
    return EpisodeStore.open_or_create(run_store(config.folder, config), spec, options=options)


def fill(replay: SavedReplay | Sources, start: Start) -> None:
    """Bring the replay in memory to where the checkpoint left it.

    Where it kept none, as older ones do not, or a damaged one, it is filled with the newest episodes of the store, to
    be drawn without the latents that were stored with them. A warning tells so. UserError where the store has lost
    episodes that the checkpoint relies on.
    """
    try:
        state = checkpoint.read_replay(start.path)
    except DamagedError as error:
        replay.fill_anew()
        _log.warning("%s; filled anew from %s: %d steps", error, replay.store.location, len(replay.sampler))
    else:
        replay.load_state_dict(state, version=start.state.replay_version, origin=start.path / checkpoint.REPLAY)
