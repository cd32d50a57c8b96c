"""Engines that were built on this machine, kept by all that they depend on.

::

    FOLDER/<digest>.plan      the engine; the digest is that of its key
    FOLDER/<digest>.json      the key in full, the plan's SHA-256 and size: written last, it makes the plan count
    FOLDER/timing-*.cache     how fast kernels were, by TensorRT and GPU: makes the next build shorter
    FOLDER/.lock              held by whoever builds

A plan runs only on the TensorRT, GPU and driver that it was built with; elsewhere it fails, or worse, computes
something else. So nothing is run but a plan whose key is the one wanted and whose content is what was built.
Every file is written whole or not at all. A plan is a program, and a sidecar only says what its writer wants: folder
and files count only if nobody but root and this user can have written them.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from robot_wm.atomic import atomic_file
from robot_wm.errors import UserError
from robot_wm.runtime import installed
from robot_wm.runtime.manifest import Sha256
from robot_wm.runtime.parity_section import Precision
from robot_wm.runtime.trt.build import BuiltPlan
from robot_wm.runtime.trt.options import BuildOptions

_PLAN, _SIDECAR, _LOCK = ".plan", ".json", ".lock"
_MAX_SIDECAR_BYTES, _MAX_TIMING_BYTES = 2**20, 2**28
_ELSEWHERE = "choose another folder for engines"
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH

Build = Callable[[bytes | None], BuiltPlan]  # timing cache of earlier builds -> a plan


def default_folder() -> Path:
    """``/var/lib/robot_wm/engines`` where an administrator made ``/var/lib/robot_wm``, else in the user's cache."""
    if installed.SYSTEM_ROOT.is_dir():
        return installed.SYSTEM_ROOT / "engines"
    base = os.environ.get("XDG_CACHE_HOME", "")  # to be ignored unless absolute, says its specification
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "robot_wm" / "engines"


class EngineKey(BaseModel):
    """All that an engine depends on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    graph_sha256: Sha256
    shapes: dict[str, tuple[int, ...]]  # of the graph's inputs
    precision: Precision
    tensorrt: str  # version
    gpu: str  # name
    compute_capability: str
    driver: str  # version, or a Jetson's L4T release
    flags: tuple[str, ...]  # names of the builder's
    strongly_typed: bool
    options: BuildOptions
    recipe: int  # of ``build_plan``

    @property
    def digest(self) -> str:
        """64 hexadecimal digits that differ when anything in the key does."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()

    def machine(self) -> dict[str, str]:
        """What a timing cache depends on."""
        return {name: getattr(self, name) for name in ("tensorrt", "gpu", "compute_capability", "driver")}

    def serves(self, wanted: EngineKey, *, other_versions: bool) -> bool:
        """Whether an engine of this key runs where ``wanted`` is asked for, though built with other options.

        ``other_versions``: also one that an older TensorRT built to be version-compatible. Such a plan brings host
        code of its own: elsewhere it serves nobody who did not ask for it.
        """
        if self.options.version_compatible and not (wanted.options.version_compatible or other_versions):
            return False
        chosen = {"options": wanted.options, "flags": wanted.flags}
        is_older = _numbers(self.tensorrt) <= _numbers(wanted.tensorrt)
        if other_versions and self.options.version_compatible and is_older:
            chosen |= {"tensorrt": wanted.tensorrt, "strongly_typed": wanted.strongly_typed}
        return self.model_copy(update=chosen) == wanted


class _Sidecar(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    key: EngineKey
    plan_sha256: Sha256
    size_bytes: int
    build_seconds: float
    matrices: int  # see ``BuildOptions``; what was chosen where the key leaves it open
    created: datetime


@dataclass(frozen=True)
class CachedEngine:
    """One engine of the cache, as its sidecar tells; the plan is not read."""

    path: Path  # of the plan
    key: EngineKey
    size_bytes: int
    build_seconds: float
    matrices: int  # see ``BuildOptions``; what was chosen where the key leaves it open
    created: datetime


class EngineCache:
    """The engines in ``folder``, which the first build makes."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or default_folder()

    def get(self, key: EngineKey) -> bytes | None:
        """The plan of exactly this key; None if there is none, or anything about it is not as it was written.

        Raises UserError for a folder that others may write.
        """
        sidecar = self._sidecar(key.digest)
        if sidecar is None or sidecar.key != key:
            return None
        plan = self._read(key.digest + _PLAN, sidecar.size_bytes + 1)
        return plan if plan is not None and hashlib.sha256(plan).hexdigest() == sidecar.plan_sha256 else None

    def get_or_build(self, key: EngineKey, build: Build) -> tuple[bytes, bool]:
        """The plan of this key and whether it was built for it now.

        Whoever comes while another process builds waits for it, whatever it builds: two builds at a time would
        disturb each other's timings. Raises UserError where the folder cannot be written.
        """
        plan = self.get(key)
        if plan is not None:
            return plan, False
        with self._locked():
            plan = self.get(key)  # another process may have built it meanwhile
            if plan is not None:
                return plan, False
            timings = self.folder / f"timing-{_digest(key.machine())[:16]}.cache"
            built = build(self._read(timings.name, _MAX_TIMING_BYTES))
            if built.timing_cache:
                _write(timings, built.timing_cache)
            sidecar = _Sidecar(
                key=key,
                plan_sha256=hashlib.sha256(built.plan).hexdigest(),
                size_bytes=len(built.plan),
                build_seconds=built.seconds,
                matrices=built.matrices,
                created=datetime.now(timezone.utc),
            )
            _write(self._path(key.digest, _PLAN), built.plan)
            _write(self._path(key.digest, _SIDECAR), (sidecar.model_dump_json(indent=1) + "\n").encode())
            return built.plan, True

    def serving(self, wanted: EngineKey, *, other_versions: bool) -> tuple[EngineKey, bytes] | None:
        """Key and plan of the newest engine that ``EngineKey.serves``; None if there is none."""
        for engine in self.all():
            if engine.key.serves(wanted, other_versions=other_versions):
                plan = self.get(engine.key)
                if plan is not None:
                    return engine.key, plan
        return None

    def remove(self, key: EngineKey) -> None:
        """Remove an engine that is no good; harmless if it is not there."""
        with self._locked():
            for suffix in (_SIDECAR, _PLAN):  # in this order: what a kill leaves behind does not count
                self._path(key.digest, suffix).unlink(missing_ok=True)

    def all(self) -> tuple[CachedEngine, ...]:
        """Every engine, the newest first; plans are not read."""
        try:
            names = [name.removesuffix(_SIDECAR) for name in os.listdir(self.folder) if name.endswith(_SIDECAR)]
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise UserError(f"{self.folder}: cannot read: {error.strerror}") from None
        found = []
        for name in names:
            sidecar = self._sidecar(name)
            if sidecar is not None and sidecar.key.digest == name:
                found.append(
                    CachedEngine(
                        path=self._path(name, _PLAN),
                        key=sidecar.key,
                        size_bytes=sidecar.size_bytes,
                        build_seconds=sidecar.build_seconds,
                        matrices=sidecar.matrices,
                        created=sidecar.created,
                    )
                )
        return tuple(sorted(found, key=lambda engine: engine.created, reverse=True))

    def _path(self, digest: str, suffix: str) -> Path:
        return self.folder / f"{digest}{suffix}"

    def _sidecar(self, digest: str) -> _Sidecar | None:
        content = self._read(digest + _SIDECAR, _MAX_SIDECAR_BYTES)
        try:
            return None if content is None else _Sidecar.model_validate_json(content)
        except ValidationError:
            return None

    def _read(self, name: str, limit: int) -> bytes | None:
        """At most ``limit`` bytes of a file that only root or this user can have written; None if there is none."""
        try:
            folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return None
        try:
            _require_ours(folder, self.folder)
            # By the open folder, not its path: what was checked cannot be exchanged.
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
            with os.fdopen(descriptor, "rb") as file:
                found = os.fstat(descriptor)
                return file.read(limit) if stat.S_ISREG(found.st_mode) and _is_ours(found) else None
        except OSError:
            return None
        finally:
            os.close(folder)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone in the folder, with what a killed process left behind tidied up."""
        try:
            self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)  # whatever the umask lets others write
            folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                _require_ours(folder, self.folder)
            finally:
                os.close(folder)
            with (self.folder / _LOCK).open("ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                for left in self.folder.glob(".*.tmp"):
                    left.unlink()
                yield
        except OSError as error:
            where = error.filename or self.folder
            raise UserError(f"{where}: {error.strerror or error}; {_ELSEWHERE}") from None


def _is_ours(found: os.stat_result) -> bool:
    """Whether nobody but root and this user may have written it."""
    return found.st_uid in (0, os.geteuid()) and not found.st_mode & _OTHERS_WRITE


def _require_ours(folder: int, path: Path) -> None:
    found = os.fstat(folder)
    if not _is_ours(found):
        raise UserError(
            f"{path}: owner {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o}: engines are programs, and only root"
            f" and the user who runs them ({os.geteuid()}) may write theirs: chown and chmod go-w, or"
            f" {_ELSEWHERE}"
        )


def _write(path: Path, content: bytes) -> None:
    try:
        with atomic_file(path) as temporary:
            temporary.write_bytes(content)
            temporary.chmod(0o644)  # the robot's service may run as another user than the one who builds
    except UserError as error:
        raise UserError(f"{error}; {_ELSEWHERE}") from None


def _digest(values: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
