"""A run's checkpoints as it writes them, and as it goes on from them: rank 0's are the run's, see `shares`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from robot_wm.learning.learner import Learner
from robot_wm.learning.ranks import Ranks
from robot_wm.spec import AgentSpec, require_same
from robot_wm.training import checkpoint
from robot_wm.training.checkpoint import RunState
from robot_wm.training.config import TrainConfig
from robot_wm.training.resumed import require_resumable
from robot_wm.training.run_folder import Start
from robot_wm.training.sources import Sources

_ACTOR_RNG = "actor_rng"  # of the first actor; of another one its number is behind it
_OWN = frozenset(("generator",))  # of a learner's tensors, those that every rank has its own of


class Saves:
    """Writes the checkpoints of the run, or of a rank's share of it, in ``run``."""

    def __init__(self, run: Path, learner: Learner, sources: Sources, ranks: Ranks, *, keep: int) -> None:
        self._run, self._learner, self._sources, self._ranks, self._keep = run, learner, sources, ranks, keep
        self.newest: Path | None = None

    def save(self, state: RunState, actor_rngs: Sequence[Tensor]) -> Path:
        """Write a checkpoint on every rank. Rank 0's, which counts, comes last, and only then do older ones go."""
        for turn in (self._ranks.rank > 0, self._ranks.rank == 0):
            if turn:
                path = self.write(state, actor_rngs)
            self._ranks.wait()
        checkpoint.drop_older(self._run, keep=self._keep)
        kept = {item.name for item in checkpoint.paths(self._run)}
        store = self._sources.store
        for name in store.tags():
            if name.startswith("step_") and name not in kept:
                store.untag(name)
        return path

    def write(self, state: RunState, actor_rngs: Sequence[Tensor]) -> Path:
        """Write a checkpoint; a tag keeps the replay version that it names for as long as the checkpoint is kept.

        The tag comes first: what a kill leaves whole can be gone on from.
        """
        store = self._sources.store
        store.flush()
        self._sources.look()
        state.replay_version = store.version
        store.tag(checkpoint.path_at(self._run, state.progress).name, store.version, move=True)
        learner = self._learner.state_dict()
        learner = {name: tensor for name, tensor in learner.items() if self._ranks.rank == 0 or name in _OWN}
        learner |= {_rng_name(number): rng for number, rng in enumerate(actor_rngs)}
        self.newest = checkpoint.write(self._run, state, learner, self._sources.state_dict())
        return self.newest


def _rng_name(number: int) -> str:
    return f"{_ACTOR_RNG}/{number}" if number else _ACTOR_RNG


def restore(start: Start, learner: Learner, config: TrainConfig, spec: AgentSpec, ranks: Ranks) -> list[Tensor]:
    """Bring the learner to where a checkpoint left it, on any rank but the first its noise alone.

    Returns the states of the actors' noise, none where nobody had acted. Raises UserError for one that does not fit.
    """
    require_same(start.state.agent_spec, spec, origin=str(start.path))
    require_resumable(start.state.config, config, origin=start.path)
    saved = dict(start.learner)
    actor_rngs: list[Tensor] = []
    while (rng := saved.pop(_rng_name(len(actor_rngs)), None)) is not None:
        actor_rngs.append(rng)
    learner.load_state_dict(saved if ranks.rank == 0 else learner.state_dict() | saved)
    return actor_rngs
