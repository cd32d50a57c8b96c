"""Recordings of robots on their way into a run, and its bundles on their way out: the run's side.

The run has an actor of its name on the learner's machine. Robots ask it what it lacks, send whole recordings, and get
bundles; what came of a recording is in the store before it is answered. Asked again after any of the three was killed,
nothing is lost, and nothing is stored twice: a recording's own id says which of its ticks are there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robot_wm.atomic import atomic_file
from robot_wm.errors import UserError
from robot_wm.learning.ranks import ALONE, Ranks
from robot_wm.replay.location import Location
from robot_wm.training.cluster.connection import NAMESPACE, joined
from robot_wm.training.cluster.orders import Failed, Place
from robot_wm.training.cluster.seat import cpus_each
from robot_wm.training.config import TrainConfig, run_store

_PREFIX = "ingest:"
_TAKEN = "ingested.json"  # of a run: SHA-256 of what has come, and what came of it
BUNDLES = "bundles"  # of a run: what it offers, SIGNED.rwm.zip each

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Taken:
    """What came of a recording."""

    added: int  # episodes
    already_there: int  # episodes, of this recording's ticks
    line: str


@dataclass(frozen=True)
class Offered:
    """A bundle, as it is carried."""

    name: str
    data: bytes


class Ingest:
    """Takes recordings into the run in a folder; an actor of Ray's, which does one thing at a time."""

    def __init__(self, run: str, store: Location) -> None:
        """``run`` is its folder, ``store`` where it keeps its own episodes."""
        self._run, self._store = Path(run), store

    def place(self) -> Place:
        """Where it is, and of which version."""
        return Place.here()

    def lacks(self, sums: Sequence[str]) -> list[str]:
        """Those of these recordings' SHA-256 that have not come."""
        taken = self._taken()
        return [sha256 for sha256 in sums if sha256 not in taken]

    def take(self, robot: str, name: str, sha256: str, data: bytes) -> Taken | Failed:
        """Store the episodes of a recording, its file's bytes; those that are there already are left as they are."""
        from robot_wm.replay.mcap_import import import_recording  # a run that no robot feeds needs no MCAP library

        if hashlib.sha256(data).hexdigest() != sha256:
            return Failed("refused", f"{name}: was changed on its way")
        with tempfile.TemporaryDirectory(prefix=".ingest.", suffix=".tmp", dir=self._run) as folder:
            file = Path(folder) / Path(name).name
            file.write_bytes(data)
            try:
                result = import_recording(file, self._store)
            except UserError as error:
                return Failed("refused", str(error).replace(f"{folder}/", ""))
        told = Taken(result.added, result.already_there, result.line().removeprefix(f"{folder}/"))
        # Behind the store: killed in between, the recording comes again, and its ticks are found there.
        taken = self._taken() | {sha256: {"robot": robot, "recording": name, "added": told.added}}
        with atomic_file(self._run / _TAKEN) as temporary:
            temporary.write_text(json.dumps(taken, indent=1))
        return told

    def bundle(self, known: str) -> Offered | None:
        """The newest bundle; None where there is none, or it is the one called ``known``."""
        files = sorted((self._run / BUNDLES).glob("*.rwm.zip"))
        if not files or files[-1].name == known:
            return None
        return Offered(files[-1].name, files[-1].read_bytes())

    def _taken(self) -> dict[str, Any]:
        try:
            taken: dict[str, Any] = json.loads((self._run / _TAKEN).read_text())
        except (OSError, ValueError):  # nothing has come; or a disk lost it, and what comes again is found in the store
            return {}
        return taken


@contextmanager
def taking_in(config: TrainConfig, ranks: Ranks = ALONE) -> Iterator[None]:
    """Let robots send to the run of ``config`` for as long as it is trained, where it has a cluster and its store.

    Raises UserError where the cluster cannot be joined, or has a run of that name.
    """
    if config.ray_address is None or ranks.rank:  # rank 0's store is the run's
        yield
        return
    with joined(config.ray_address, cpus=cpus_each(config) * config.collectors) as ray:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        run = config.folder.resolve()
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        options = {"name": _PREFIX + run.name, "namespace": NAMESPACE, "num_cpus": 0, "max_restarts": -1}
        try:
            actor = ray.remote(scheduling_strategy=here, **options)(Ingest).remote(
                str(run), run_store(run, config).absolute()
            )
        except ValueError:
            raise UserError(
                f"{run}: another run called {run.name} is trained on this cluster; name another --run-dir"
            ) from None
        try:
            yield
        finally:
            ray.kill(actor)


def find(ray: Any, run: str | None) -> Any:
    """The actor that takes recordings for ``run``, or for the only one; UserError naming those that there are."""
    told = ray.util.list_named_actors(all_namespaces=True)
    names = [one["name"] for one in told if one["namespace"] == NAMESPACE and one["name"].startswith(_PREFIX)]
    wanted = names[0] if run is None and len(names) == 1 else f"{_PREFIX}{run}"
    if wanted not in names:
        known = ", ".join(sorted(name.removeprefix(_PREFIX) for name in names)) or "none"
        asked = "--run" if run is None else f"--run {run}"
        raise UserError(f"{asked}: no such run is trained on this cluster; runs there: {known}")
    return ray.get_actor(wanted, namespace=NAMESPACE)
