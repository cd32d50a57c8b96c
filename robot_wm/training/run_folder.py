"""A run's folder: one process trains in it at a time, and goes on from its newest checkpoint that is whole."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
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
from robot_wm.training.config import TrainConfig
from robot_wm.training.sources import Sources

_LOCK, _REPLAY = ".lock", "replay"
_MAX_HOLDER_LETTERS = 256

_log = logging.getLogger(__name__)


@contextmanager
def only_writer(run: Path) -> Iterator[None]:
    """Be the only process that trains in this folder, which is made; the kernel lets go when the process ends anyhow.

    Raises UserError, naming who it is, where another one does.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        lock = (run / _LOCK).open("a+")
    except OSError as error:
        raise UserError(f"{run}: cannot be written: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read(_MAX_HOLDER_LETTERS) or "another process"
            raise UserError(f"{run}: {holder} trains here; wait for its end, or name another --run-dir") from None
        except OSError as error:
            raise UserError(f"{run / _LOCK}: cannot be locked: {error.strerror}") from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}")
        lock.flush()
        yield


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
        f" (what it experienced is in {run / _REPLAY}, untouched)"
    )


def store_path(run: Path) -> Path:
    """Where a run, or a rank's share of it, has its episodes."""
    return run / _REPLAY


def open_store(config: TrainConfig, spec: AgentSpec) -> EpisodeStore:
    """The run's episodes on disk, made where there are none; UserError where they are of another ``spec``."""
    quota = config.replay_quota_mib
    options = Upkeep(commit_episodes=config.episodes_per_commit, quota_bytes=None if quota is None else quota * 2**20)
    path = store_path(config.folder)
    return (EpisodeStore.open if path.exists() else EpisodeStore.create)(path, spec, options=options)


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
        _log.warning("%s; filled anew from %s: %d steps", error, replay.store.path, len(replay.sampler))
    else:
        replay.load_state_dict(state, version=start.state.replay_version, origin=start.path / checkpoint.REPLAY)
