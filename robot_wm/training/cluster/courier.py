"""Recordings of a robot on their way into a run, and its bundles on their way out: the robot's side."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from robot_wm.errors import UserError
from robot_wm.runtime.installed import InstalledBundles
from robot_wm.training.cluster.ingest import Offered, Taken
from robot_wm.training.cluster.orders import Failed

_ANSWER_S = 300.0  # a long recording takes its time to be read


@dataclass
class Tally:
    """What was done since the start."""

    recordings: int = 0  # that the run has now and lacked before
    episodes: int = 0  # of those, the ones that were new to it
    refused: int = 0  # recordings and bundles
    bundle: str = ""  # SHA-256 of the one that is installed; empty: none came


@dataclass
class Courier:
    """Sends what is in ``recordings`` and installs what comes into ``bundles``, each once; ``tell`` hears one line of
    everything.

    Recordings are ``*.mcap``: what still grows is ``*.mcap.part`` and waits.
    """

    robot: str
    recordings: Path
    bundles: Path | None
    public_key: Path | None
    tell: Any
    tally: Tally = field(default_factory=Tally)
    _sums: dict[tuple[Path, int, int], str] = field(default_factory=dict)  # by file, size and time of its change
    _refused: set[str] = field(default_factory=set)  # SHA-256 of recordings, names of bundles
    _offered: str = ""  # name of the bundle that came last

    def greet(self, ray: Any, ingest: Any) -> None:
        """Raise UserError where the run is of another version."""
        there, ours = ray.get(ingest.place.remote(), timeout=_ANSWER_S), version("robot-wm")
        if there.version != ours:
            raise UserError(f"the run ({there}) has robot_wm {there.version}, this robot {ours}; both need the same")

    def round(self, ray: Any, ingest: Any) -> None:
        """Send what is new, and take a bundle that is; what Ray raises leaves everything for the next time."""
        files = {self._sum(file): file for file in sorted(self.recordings.glob("*.mcap"))}
        wanted = [sha256 for sha256 in files if sha256 not in self._refused]
        lacking = ray.get(ingest.lacks.remote(wanted), timeout=_ANSWER_S) if wanted else []
        for sha256 in lacking:
            file = files[sha256]
            told = ray.get(ingest.take.remote(self.robot, file.name, sha256, file.read_bytes()), timeout=_ANSWER_S)
            self._count(sha256, told)
        if self.bundles is not None:
            offered = ray.get(ingest.bundle.remote(self._offered), timeout=_ANSWER_S)
            if offered is not None:
                self._install(offered)

    def _count(self, sha256: str, told: Taken | Failed) -> None:
        if isinstance(told, Failed):
            self._refused.add(sha256)
            self.tally.refused += 1
            self.tell(f"refused: {told.text}")
            return
        self.tally.recordings += 1
        self.tally.episodes += told.added
        self.tell(told.line)

    def _install(self, offered: Offered) -> None:
        assert self.bundles is not None
        self._offered = offered.name
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / Path(offered.name).name
            file.write_bytes(offered.data)
            try:
                installed = InstalledBundles(self.bundles).install(file, public_key=self.public_key)
            except UserError as error:
                self.tally.refused += 1
                self.tell(f"refused: {str(error).replace(f'{folder}/', '')}")
                return
        self.tally.bundle = installed.sha256
        self.tell(f"{offered.name}: installed as {installed.path}; the robot runs it from its next start on")

    def _sum(self, file: Path) -> str:
        stat = file.stat()
        key = (file, stat.st_size, stat.st_mtime_ns)
        if key not in self._sums:
            self._sums[key] = hashlib.sha256(file.read_bytes()).hexdigest()
        return self._sums[key]
