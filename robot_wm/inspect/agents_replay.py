"""Which agent is looked at, on which replay, and where the report goes: the same for every command of this room."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from robot_wm.errors import UserError
from robot_wm.options import Which

if TYPE_CHECKING:
    from robot_wm.replay.store import EpisodeStore
    from robot_wm.spec import AgentSpec
    from robot_wm.training.checkpoint import LoadedAgent

_PLAYED_STEPS = 4000  # control steps of an agent that comes without a replay


def locate(source: str, which: Which, weights: str | None = None) -> LoadedAgent:
    """The agent of a run, a checkpoint or the zoo, or the one behind a bundle: see `bundle_weights.weights_of`.

    UserError for a bundle whose checkpoint nobody knows: there is no model in it.
    """
    from robot_wm.inspect.bundle_weights import is_bundle, weights_of
    from robot_wm.runtime.bundle import Bundle
    from robot_wm.training.checkpoint import load_agent
    from robot_wm.zoo.catalog import locate_weights

    path = locate_weights(source)
    if not is_bundle(path):
        if weights is not None:
            raise UserError(f"--weights {weights}: is for a bundle, and {source} has its own")
        return load_agent(path, which)
    with Bundle.open(path) as bundle:
        found = weights_of(bundle, path, weights)
        named = (bundle.manifest.lineage.model_extra or {}).get("checkpoint", "which is not told")
    if found is None:
        told = f"a bundle holds the tick that acts, and no model that could be asked; its checkpoint ({named})"
        raise UserError(f"{path}: {told} is not beside it: name the run or checkpoint with --weights")
    return found


def report_folder(loaded: LoadedAgent, source: str, name: str) -> Path:
    """Beside a run's checkpoints; of another agent below ``runs``."""
    run = loaded.path.parent.parent
    return run / name if (run / "checkpoints").is_dir() else Path("runs") / f"{name}_{source.replace(':', '_')}"


def named_store(replay: str, spec: AgentSpec) -> EpisodeStore:
    """The store of ``--replay``: PATH[@VERSION|TAG], or a run's folder."""
    from robot_wm.replay.store import EpisodeStore
    from robot_wm.training.replay_source import ReplaySource

    try:
        source = ReplaySource.parse(replay)
    except ValueError as error:
        raise UserError(f"--replay: {error}") from None
    return EpisodeStore.open(source.store, spec, version=source.version)


def store_of(loaded: LoadedAgent, replay: str | None, folder: Path, seed: int) -> EpisodeStore:
    """The replay that was named, else the run's as the checkpoint left it, else one that the agent plays now."""
    from robot_wm.replay.store import EpisodeStore
    from robot_wm.training.config import run_store
    from robot_wm.training.rehearsal import rehearse

    if replay is not None:
        return named_store(replay, loaded.spec)
    own = run_store(loaded.path.parent.parent, loaded.state.config)
    if own.exists():
        return EpisodeStore.open(own, loaded.spec, version=loaded.state.replay_version or None)
    return rehearse(loaded, folder / "played", steps=_PLAYED_STEPS, seed=seed)
