"""Which agent is looked at, on which replay, and where the report goes: the same for every command of this room."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from robot_wm.errors import UserError
from robot_wm.options import Which

if TYPE_CHECKING:
    from robot_wm.replay.store import EpisodeStore
    from robot_wm.training.checkpoint import LoadedAgent

_PLAYED_STEPS = 4000  # control steps of an agent that comes without a replay


def locate(source: str, which: Which) -> LoadedAgent:
    """The agent of a run, a checkpoint or the zoo; UserError for a bundle, which has no model in it."""
    from robot_wm.runtime.manifest import MANIFEST
    from robot_wm.training.checkpoint import load_agent
    from robot_wm.zoo.catalog import locate_weights

    path = locate_weights(source)
    if path.suffix == ".zip" or (path / MANIFEST).is_file():
        told = "a bundle holds the tick that acts, and no model that could be asked"
        raise UserError(f"{path}: {told}; name the run or checkpoint that it was exported from")
    return load_agent(path, which)


def report_folder(loaded: LoadedAgent, source: str, name: str) -> Path:
    """Beside a run's checkpoints; of another agent below ``runs``."""
    run = loaded.path.parent.parent
    return run / name if (run / "checkpoints").is_dir() else Path("runs") / f"{name}_{source.replace(':', '_')}"


def store_of(loaded: LoadedAgent, replay: str | None, folder: Path, seed: int) -> EpisodeStore:
    """The replay that was named, else the run's as the checkpoint left it, else one that the agent plays now."""
    from robot_wm.replay.store import EpisodeStore
    from robot_wm.training.config import run_store
    from robot_wm.training.rehearsal import rehearse
    from robot_wm.training.replay_source import ReplaySource

    if replay is not None:
        try:
            source = ReplaySource.parse(replay)
        except ValueError as error:
            raise UserError(f"--replay: {error}") from None
        return EpisodeStore.open(source.store, loaded.spec, version=source.version)
    own = run_store(loaded.path.parent.parent, loaded.state.config)
    if own.exists():
        return EpisodeStore.open(own, loaded.spec, version=loaded.state.replay_version or None)
    return rehearse(loaded, folder / "played", steps=_PLAYED_STEPS, seed=seed)
