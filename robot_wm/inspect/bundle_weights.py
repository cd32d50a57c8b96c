"""The weights behind a bundle: it holds the tick's graph alone, and who asks its model has to find its checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from robot_wm.errors import UserError
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.manifest import MANIFEST
from robot_wm.spec import require_same
from robot_wm.training import checkpoint
from robot_wm.training.checkpoint import LoadedAgent, load_agent
from robot_wm.zoo.catalog import locate_weights

_STATE = "state.json"
_SAME = 1e-3  # policy units: what two engines make of one tick, but for near ties of a draw
_LEAST_SAME = 0.9  # of the recorded ticks


def is_bundle(path: Path) -> bool:
    """Whether that is a bundle, a folder or a zip of one, and no run or checkpoint."""
    return path.suffix == ".zip" or (path / MANIFEST).is_file()


def weights_of(bundle: Bundle, path: Path, named: str | None = None) -> LoadedAgent | None:
    """The agent that ``bundle``, opened at ``path``, was exported from; None where nobody knows its checkpoint.

    It is the one that is ``named`` (a run, a checkpoint or zoo:NAME), else one that lies beside the bundle: a
    checkpoint as in the zoo, or that of the lineage's name in a run's folder. UserError for a named one that is not the
    bundle's: its actions on the recorded ticks tell.
    """
    if named is not None:
        loaded = load_agent(locate_weights(named))
        require_same(bundle.spec, loaded.spec, origin=named)
        if not is_twin(loaded, bundle):
            raise UserError(f"{named}: not the weights that {path} was exported from: it acts otherwise")
        return loaded
    extra = bundle.manifest.lineage.model_extra or {}
    own = checkpoint.folder(path.parent) / str(extra.get("checkpoint", ""))
    for folder in (path.parent, own):
        if (folder / _STATE).is_file():
            loaded = load_agent(folder)
            if loaded.spec.content_hash() == bundle.manifest.spec_sha256 and is_twin(loaded, bundle):
                return loaded
    return None


@torch.inference_mode()
def is_twin(loaded: LoadedAgent, bundle: Bundle) -> bool:
    """Whether an agent acts as the bundle did on its recorded ticks, each from its recorded state."""
    agent, recording = loaded.agent, bundle.recording()
    if agent.kind != bundle.manifest.kind:
        return False
    # Recorded one by one, with a batch axis of 1 each; here all N at once.
    tensors = {name: torch.from_numpy(array[:, 0].copy()) for name, array in recording.inputs.items()}
    noise = {name: tensors[name] for name in (entry.name for entry in agent.noise)}

    def under(prefix: str) -> dict[str, torch.Tensor]:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    acted = agent.tick(under("obs/"), tensors["is_first"], under("state/"), noise).outputs["action"].float().numpy()
    off = np.abs(acted - recording.outputs["action"][:, 0]).max(1)
    return bool((off <= _SAME).mean() >= _LEAST_SAME)
