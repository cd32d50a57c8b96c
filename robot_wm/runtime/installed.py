"""The bundles installed on a robot: a folder each, a link to the one that runs, and the way back.

::

    ROOT/<SHA-256 of the manifest>/   a bundle, verified when it came in and never changed
    ROOT/current                      link to one of them: what the agent's ``bundle`` parameter names
    ROOT/history.json                 in which order they became current, for a roll back

Every change is one rename: killed at any point, ``current`` names the bundle before or the bundle after. Who installs
holds a lock on the root; who runs a bundle holds one on its folder (``Bundle``), and such a folder is never removed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from robot_wm.atomic import atomic_directory, atomic_file
from robot_wm.errors import UserError
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.manifest import MANIFEST, SIGNATURE, Manifest

SYSTEM_ROOT = Path("/var/lib/robot_wm")
MIN_KEEP = 2  # the current one, and the one that it replaced: the robot may be running it until its next start
_CURRENT, _HISTORY, _LOCK = "current", "history.json", ".lock"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MIN_PREFIX = 4
_MAX_HISTORY_BYTES = 2**20


def default_root() -> Path:
    """``/var/lib/robot_wm/bundles`` where an administrator made ``/var/lib/robot_wm``, else below the home folder."""
    base = SYSTEM_ROOT if SYSTEM_ROOT.is_dir() else Path.home() / ".local/share/robot_wm"
    return base / "bundles"


@dataclass(frozen=True)
class Installed:
    """One bundle of the store; ``manifest`` is None, and ``problem`` says why, where it cannot be read."""

    path: Path
    sha256: str  # of the manifest
    is_current: bool
    installed_s: float  # Unix time
    size_bytes: int
    is_signed: bool  # there is a signature; whose, only a public key tells
    manifest: Manifest | None
    problem: str = ""


class InstalledBundles:
    """The store at ``root``, which the first installation makes. Raises UserError for whatever cannot be done."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def install(
        self,
        source: Path,
        *,
        public_key: Path | None = None,
        keep: int = 5,
        min_version: int = 0,
        allow_other_agent: bool = False,
    ) -> Installed:
        """Verify the bundle ``source`` (folder or zip), copy it in and make it current.

        Nothing is changed unless every check has passed, also on the copy: a bundle older than ``min_version`` is
        refused, and so is one for another robot or task than the current one's, unless ``allow_other_agent``.
        ``keep`` bundles stay: this one, the one before, those that a roll back leads to, then the newest, among them
        what was rolled back from. The others go, except those that some process has open.
        """
        if keep < MIN_KEEP:
            raise UserError(f"keep must be at least {MIN_KEEP} (the current bundle and the one before), got {keep}")
        with self._locked(), Bundle.open(source, public_key) as bundle:
            bundle.manifest.require_version(min_version, origin=str(source))
            self._require_same_agent(bundle.manifest, str(source), allow_other_agent)
            sha256 = bundle.manifest_sha256
            target = self.root / sha256
            if self._problem(target, public_key):  # not there, or damaged since
                with atomic_directory(target) as fresh:
                    _copy(bundle, fresh)
                    Bundle.open(fresh, public_key).close()
            before = self.current_sha256()
            if sha256 != before:
                history = self._history()
                cut = history.index(before) + 1 if before in history else len(history)
                self._write_history([*(name for name in history[:cut] if name != sha256), sha256])
                self._switch(sha256)
            self._prune(keep, also=before)
            return self._look(sha256)

    def rollback(
        self,
        to: str | None = None,
        *,
        public_key: Path | None = None,
        min_version: int = 0,
        allow_other_agent: bool = False,
    ) -> Installed:
        """Make the bundle current that was so before this one, or the one whose SHA-256 begins with ``to``.

        Going back twice goes two back. The bundle is verified again first, and refused as ``install`` would.
        """
        with self._locked():
            history, before = self._history(), self.current_sha256()
            if to is None:
                index = history.index(before) if before in history else 0
                if index == 0:
                    raise UserError(f"{self.root}: no bundle was current before this one; choose one with --to")
                sha256 = history[index - 1]
            else:
                sha256 = self._named(to)
            if problem := self._problem(self.root / sha256, public_key):
                raise UserError(problem)
            found = self._look(sha256)
            assert found.manifest is not None  # it was opened a moment ago
            found.manifest.require_version(min_version, origin=str(found.path))
            self._require_same_agent(found.manifest, str(found.path), allow_other_agent)
            if sha256 not in history:
                cut = history.index(before) + 1 if before in history else len(history)
                self._write_history([*history[:cut], sha256])
            self._switch(sha256)
            return self._look(sha256)

    def all(self) -> tuple[Installed, ...]:
        """Every installed bundle, the newest first. Manifests are read, not every byte hashed."""
        found = [self._look(sha256) for sha256 in self._names()]
        return tuple(sorted(found, key=lambda bundle: -bundle.installed_s))

    def current(self) -> Installed:
        """The bundle that the link names; UserError if there is none."""
        sha256 = self.current_sha256()
        if sha256 is None:
            raise UserError(f"{self.root}: no bundle is installed; robot-wm bundle install BUNDLE")
        return self._look(sha256)

    def current_sha256(self) -> str | None:
        """Name of the current bundle; None if there is none."""
        try:
            name = os.readlink(self.root / _CURRENT)
        except OSError:
            return None
        return name if _SHA256.fullmatch(name) else None

    def _names(self) -> list[str]:
        try:
            return [name for name in os.listdir(self.root) if _SHA256.fullmatch(name)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UserError(f"{self.root}: cannot read: {error.strerror}") from None

    def _named(self, prefix: str) -> str:
        found = [name for name in self._names() if name.startswith(prefix.lower())]
        if len(prefix) < _MIN_PREFIX or len(found) != 1:
            how_many = f"{len(found)} bundles begin" if len(prefix) >= _MIN_PREFIX else "too short: no bundle begins"
            raise UserError(f"--to {prefix[:80]!r}: {how_many} so; robot-wm bundle list shows them")
        return found[0]

    def _require_same_agent(self, manifest: Manifest, origin: str, allow_other: bool) -> None:
        """Refuse what drives another robot, or does another task, than the current bundle: a slip of the hand."""
        before = self.current_sha256()
        current = self._look(before).manifest if before else None
        if allow_other or current is None:
            return
        new, old = ((found.spec.task, found.spec.robot) for found in (manifest, current))
        if new != old:
            raise UserError(
                f"{origin}: does {new[0]} on {new[1]}, the current bundle of {self.root} {old[0]} on {old[1]};"
                " if that is meant: --allow-other-agent, or another --root"
            )

    def _problem(self, path: Path, public_key: Path | None) -> str:
        try:
            with Bundle.open(path, public_key) as bundle:
                return "" if bundle.manifest_sha256 == path.name else f"{path}: holds {bundle.manifest_sha256}"
        except UserError as error:
            return str(error)

    def _look(self, sha256: str) -> Installed:
        path, is_current = self.root / sha256, sha256 == self.current_sha256()
        try:
            files = [entry.stat() for entry in os.scandir(path)]
            raw = (path / MANIFEST).read_bytes()
            installed_s, size_bytes = path.stat().st_mtime, sum(file.st_size for file in files)
        except OSError as error:
            return Installed(path, sha256, is_current, 0.0, 0, False, None, f"{path}: {error.strerror}")
        try:
            manifest, problem = Manifest.from_json(raw, origin=str(path / MANIFEST)), ""
            if hashlib.sha256(raw).hexdigest() != sha256:
                raise UserError(f"{path / MANIFEST}: was changed")
        except UserError as error:
            manifest, problem = None, str(error)
        is_signed = (path / SIGNATURE).exists()
        return Installed(path, sha256, is_current, installed_s, size_bytes, is_signed, manifest, problem)

    def _history(self) -> list[str]:
        """Names in the order in which they became current; what cannot be read is as if it had never been."""
        try:
            with (self.root / _HISTORY).open("rb") as file:
                names = json.loads(file.read(_MAX_HISTORY_BYTES))["activated"]
            names = [name for name in names if isinstance(name, str) and _SHA256.fullmatch(name)]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            names = []
        there, current = set(self._names()), self.current_sha256()
        history = list(dict.fromkeys(name for name in names if name in there))
        return history if current is None or current in history else [*history, current]

    def _write_history(self, names: list[str]) -> None:
        with atomic_file(self.root / _HISTORY) as temporary:
            temporary.write_text(json.dumps({"schema_version": 1, "activated": names}, indent=1) + "\n")
            temporary.chmod(0o644)

    def _switch(self, sha256: str) -> None:
        # A link cannot be written anew in place; a new one takes its name in one step.
        fresh = Path(tempfile.mkdtemp(prefix=".current.", suffix=".tmp", dir=self.root))
        (fresh / _CURRENT).symlink_to(sha256)
        (fresh / _CURRENT).replace(self.root / _CURRENT)
        fresh.rmdir()
        descriptor = os.open(self.root, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _prune(self, keep: int, *, also: str | None) -> None:
        # What a roll back led away from is in no history any more, and stays for as long as there is room.
        newest = sorted(self._names(), key=lambda name: -self._look(name).installed_s)
        order = dict.fromkeys([self.current_sha256(), also, *reversed(self._history()), *newest])
        for name in [name for name in order if name is not None][keep:]:
            with _alone(self.root / name) as alone:
                if alone:  # renamed first: a folder half removed must not look like a bundle
                    retired = self.root / f".{name}.old"
                    (self.root / name).replace(retired)
                    shutil.rmtree(retired)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone in the store, with what a killed process left behind tidied up."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with (self.root / _LOCK).open("ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                for pattern in (".*.tmp", ".*.old"):
                    for left in self.root.glob(pattern):
                        shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
                yield
        except OSError as error:
            raise UserError(f"{error.filename or self.root}: {error.strerror or error}") from None


def _copy(bundle: Bundle, folder: Path) -> None:
    for name in sorted({*bundle.manifest.files, MANIFEST, SIGNATURE}):
        if name == SIGNATURE and not (bundle.path / name).exists():
            continue
        shutil.copyfile(bundle.path / name, folder / name)
        (folder / name).chmod(0o644)  # the robot's service may run as another user than the one who installs


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Whether no process has the bundle open; if so, none can open it before the block ends."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
