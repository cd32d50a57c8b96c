"""What each of the ranks of a run has to itself: a folder, a seed, environments, and a part of the replay.

Rank 0's share is the run's own folder, with the agent, its optimiser and the logs; those of the others are folders like
it in ``<run>/ranks/<rank>``, whose checkpoints hold their noise and their part of the replay only. A checkpoint of the
run is there when rank 0's is, which is written last.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from robot_wm.errors import UserError
from robot_wm.learning.ranks import Ranks
from robot_wm.replay.store import EpisodeStore
from robot_wm.spec import AgentSpec
from robot_wm.training import checkpoint
from robot_wm.training.checkpoint import RunState
from robot_wm.training.config import TrainConfig, flag, own_folder
from robot_wm.training.git import git_commit
from robot_wm.training.run_folder import Start, fill, find_start
from robot_wm.training.sources import Sources

_REFUSED = 2  # as the command line exits where it is told something wrong

_log = logging.getLogger(__name__)


def share_folder(run: Path, rank: int) -> Path:
    """Where rank ``rank`` of the run in ``run`` keeps what is its own."""
    return run if rank == 0 else run / "ranks" / str(rank)


def own_config(config: TrainConfig, ranks: Ranks) -> TrainConfig:
    """The run as this rank has it; UserError where several ranks would have one store."""
    if ranks.size > 1 and config.replay_store is not None:
        raise UserError("--replay-store: of a run of one process; ranks keep their episodes in the run's folder")
    own = {"run_dir": share_folder(config.folder, ranks.rank), "seed": ranks.seed(config.seed)}
    return config.model_copy(update=own) if ranks.rank else config


def require_equal(config: TrainConfig, spec: AgentSpec, ranks: Ranks) -> None:
    """Raise UserError on rank 0, and leave on the others, where they were told different things."""
    if ranks.size > 1 and config.ray_address == "local":
        raise UserError(
            f"--ray-address local: of each of {ranks.size} ranks; start one cluster, and give its HOST:PORT"
        )
    own = {"robot-wm": version("robot-wm"), "spec": spec.content_hash(), "run": config.model_dump(mode="json")}
    told = [dict(_leaves(json.loads(text))) for text in ranks.texts(json.dumps(own))]
    for rank, theirs in enumerate(told):
        for name in sorted(told[0].keys() | theirs.keys()):
            first, other = told[0].get(name), theirs.get(name)
            if first == other:
                continue
            if ranks.rank:
                raise SystemExit(_REFUSED)
            setting = flag(name.removeprefix("run.")) if name.startswith("run.") else name
            raise UserError(f"{setting}: rank {rank} has {other!r}, rank 0 {first!r}; all ranks of a run need the same")


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def find_share(run: Path, ranks: Ranks, *, resume: bool) -> tuple[Start | None, RunState | None]:
    """What this rank goes on from in its folder ``run``, and the state of rank 0, which counts for all.

    Rank 0's is the newest checkpoint that is whole, see `find_start`. A newer one of another rank's was being written
    when the run was cut, and goes.
    """
    found: list[Start | None] = []

    def first() -> dict[str, Any] | None:
        found.append(find_start(run, resume=resume))
        return None if found[0] is None else found[0].state.model_dump(mode="json")

    told = ranks.told(first)
    shared = None if told is None else RunState.model_validate(told)
    if ranks.rank == 0:
        return found[0], None if found[0] is None else found[0].state
    if shared is None:
        return find_start(run, resume=False), None
    checkpoint.tidy_up(run)
    for path in checkpoint.paths(run):
        if path.name > checkpoint.path_at(run, shared.progress).name:
            shutil.rmtree(path)
    return (find_start(run, resume=True) if checkpoint.paths(run) else None), shared


def gone_on_from(shared: RunState, config: TrainConfig, ranks: Ranks) -> RunState:
    """The state of a run that goes on with ``config`` on these ranks."""
    credit = shared.update_credit
    if credit is None:
        schedule = shared.config.schedule(shared.ranks)
        credit = schedule.left_of_pretraining(shared.env_steps, shared.updates)
    update = {"config": config, "git_commit": git_commit(), "update_credit": credit, "ranks": ranks.size}
    return shared.model_copy(update=update)


def fill_share(sources: Sources, start: Start | None, shared: RunState, root: Path, ranks: Ranks) -> None:
    """Bring this rank's replay to where the run in ``root`` had come with as many ranks as ``shared`` tells.

    Where it had more, those that are left take over the newest episodes of those that are not, as far as they fit. A
    rank that is new begins with what another one has stored.
    """
    if start is not None:
        fill(sources, start)
    elif len(sources.store.index.digest):
        sources.fill_anew()
    else:
        _take(sources, share_folder(root, ranks.rank % shared.ranks))
    for gone in range(ranks.size, shared.ranks):
        if gone % ranks.size == ranks.rank:
            _take(sources, share_folder(root, gone))


def _take(sources: Sources, share: Path) -> None:
    try:
        sources.take(EpisodeStore.open(own_folder(share), sources.store.spec))
    except UserError as error:  # another host's disk, say: the run does not depend on it
        _log.warning("%s; going on without what was experienced there", error)
