"""Open an agent's bundle and believe nothing that it says until it has been checked.

A bundle is a folder ``agent.rwm`` of plain files, or ``agent.rwm.zip``, its transport form with the same files at
the top level. The order of checks is the order of trust: bounds, signature (where a public key is configured),
manifest, list of files, hashes. Nothing here parses a graph; that is the engine's, after this has passed.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import shutil
import stat
import tempfile
import weakref
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from robot_wm.atomic import atomic_directory
from robot_wm.errors import UserError
from robot_wm.runtime.archive import open_archive
from robot_wm.runtime.manifest import (
    MANIFEST,
    MAX_FILES,
    MAX_MANIFEST_BYTES,
    PARITY,
    POLICY_OP17,
    SIGNATURE,
    FileEntry,
    Manifest,
)
from robot_wm.runtime.parity_recording import Recording, check_recording, read_recording
from robot_wm.runtime.planner_section import NO_PLANNER
from robot_wm.runtime.planning.plan_recording import PlanRecording, check_plans, read_plans
from robot_wm.runtime.signature import SIGNATURE_BYTES, load_public_key, require_signature
from robot_wm.spec import AgentSpec

_CHUNK_BYTES = 2**20
_Read = Callable[[str, int], bytes]  # (file name, largest size in bytes) -> content


class Bundle:
    """A verified bundle: every file is listed, has its size and hash, and nothing else lies beside it.

    ``path`` is the folder with the files, links resolved: what is opened stays what it is when a link is switched.
    A folder is held by a shared lock while it is open, so that the store of installed bundles leaves it alone.
    The lock, and a zip's temporary folder, go with ``close()`` (or the ``with`` block).
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        manifest_sha256: str,
        *,
        signature_checked: bool,
        lock: int | None = None,
        temporary: tempfile.TemporaryDirectory[str] | None = None,
    ):
        """Use ``Bundle.open``, which checks; this only holds what was checked."""
        self.path = path
        self.manifest = manifest
        self.manifest_sha256 = manifest_sha256
        self.signature_checked = signature_checked
        self._temporary = temporary
        self._unlock = None if lock is None else weakref.finalize(self, os.close, lock)

    @classmethod
    def open(cls, path: str | Path, public_key: str | Path | None = None, *, cache: Path | None = None) -> Bundle:
        """Verify the bundle at ``path``: a folder, or a zip of one.

        With ``public_key`` (PEM, Ed25519) anything but a bundle signed with its private half is refused. A zip is
        unpacked into ``cache/<SHA-256 of its manifest>`` and found there again the next time, or without ``cache``
        into a temporary folder. Raises UserError, one line that names the file and the field.
        """
        path = Path(path)
        try:
            if path.is_dir():
                return _open_folder(path.resolve(), public_key)
            if path.is_file():
                return _open_zip(path, public_key, cache)
        except OSError as error:
            raise UserError(f"{path}: cannot read the bundle: {error.strerror or error}") from None
        raise UserError(f"{path}: no such bundle; expected a folder agent.rwm or a file agent.rwm.zip")

    @property
    def spec(self) -> AgentSpec:
        """The agent's contract."""
        return self.manifest.spec

    def file(self, name: str = POLICY_OP17) -> Path:
        """Path of a listed file, by default the opset-17 policy graph; raises UserError if there is none."""
        if name not in self.manifest.files:
            raise UserError(f"{self.path}: has no {name}; it holds {', '.join(sorted(self.manifest.files))}")
        return self.path / name

    def read(self, name: str = POLICY_OP17) -> bytes:
        """Content of a listed file, hashed again: what an engine is given is what was verified."""
        self.file(name)
        entry = self.manifest.files[name]
        with _open_plain(self.path / name) as source:
            content = source.read(entry.size_bytes + 1)
        _require_hash(name, entry, len(content), hashlib.sha256(content).hexdigest(), origin=str(self.path))
        return content

    def recording(self) -> Recording:
        """The ticks of ``parity.npz``, hashed again, with every tensor in the shape that the manifest gives it."""
        return read_recording(io.BytesIO(self.read(PARITY)), self.manifest, origin=str(self.path / PARITY))

    def plans(self, recording: Recording | None = None) -> PlanRecording:
        """The recorded plans, hashed again, whose roots are in ``recording``: the bundle's, where it was read already.

        Raises UserError where the bundle has no planner.
        """
        planner = self.manifest.planner
        if planner is None:
            raise UserError(f"{self.path}: {NO_PLANNER}")
        name = planner.parity.file
        return read_plans(
            io.BytesIO(self.read(name)), planner, recording or self.recording(), origin=str(self.path / name)
        )

    def close(self) -> None:
        """Give up the folder, and remove it if it is a zip's temporary one; harmless when done twice."""
        if self._unlock is not None:
            self._unlock()
        if self._temporary is not None:
            self._temporary.cleanup()

    def __enter__(self) -> Bundle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _open_folder(path: Path, public_key: str | Path | None) -> Bundle:
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # there are file systems without locks
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return _open_listed(path, public_key, lock)
    except BaseException:
        os.close(lock)
        raise


def _open_listed(path: Path, public_key: str | Path | None, lock: int) -> Bundle:
    names = []
    with os.scandir(path) as entries:
        for entry in entries:
            if not entry.is_file(follow_symlinks=False):
                raise UserError(f"{path}: {entry.name[:80]!r} is a link, a folder or a special file")
            names.append(entry.name)
            if len(names) > MAX_FILES + 2:
                raise UserError(f"{path}: more than {MAX_FILES + 2} files")

    def read(name: str, limit: int) -> bytes:
        with _open_plain(path / name) as file:
            return file.read(limit)

    raw, manifest = _checked_manifest(read, names, public_key, origin=str(path))
    for name, expected in manifest.files.items():
        with _open_plain(path / name) as source:
            _copy_checked(source, None, name, expected, origin=str(path))
    return _checked_bundle(path, raw, manifest, public_key, lock=lock)


def _open_zip(path: Path, public_key: str | Path | None, cache: Path | None) -> Bundle:
    with path.open("rb") as file, open_archive(file, origin=str(path), max_entries=MAX_FILES + 2) as archive:

        def read(name: str, limit: int) -> bytes:
            with archive.open(name) as source:
                return source.read(limit)

        names = archive.namelist()
        raw, manifest = _checked_manifest(read, names, public_key, origin=str(path))
        for name, entry in manifest.files.items():
            if archive.getinfo(name).file_size != entry.size_bytes:
                raise UserError(
                    f"{path}: {name} has {archive.getinfo(name).file_size} bytes, listed {entry.size_bytes}"
                )

        def unpack(folder: Path) -> None:
            needed = sum(entry.size_bytes for entry in manifest.files.values())
            if needed > shutil.disk_usage(folder).free:
                raise UserError(f"{path}: needs {needed} bytes in {folder}, which has too little room")
            for name, entry in manifest.files.items():
                # The name is one of the manifest's, all of them plain file names: it cannot leave the folder.
                with archive.open(name) as source, (folder / name).open("xb") as target:
                    _copy_checked(source, target, name, entry, origin=str(path))
            for name in sorted({MANIFEST, SIGNATURE} & set(names)):
                (folder / name).write_bytes(read(name, MAX_MANIFEST_BYTES))

        if cache is None:
            temporary = tempfile.TemporaryDirectory(prefix="robot_wm_bundle_")
            try:
                unpack(Path(temporary.name))
                return _checked_bundle(Path(temporary.name), raw, manifest, public_key, temporary=temporary)
            except BaseException:
                temporary.cleanup()
                raise
        target = cache / hashlib.sha256(raw).hexdigest()
        try:
            return _open_folder(target, public_key)
        except (UserError, OSError):
            # Not unpacked yet, or damaged since: the zip has what is right.
            with atomic_directory(target) as fresh:
                unpack(fresh)
            return _open_folder(target, public_key)


def _checked_manifest(
    read: _Read, names: Iterable[str], public_key: str | Path | None, *, origin: str
) -> tuple[bytes, Manifest]:
    present = set(names)
    if MANIFEST not in present:
        raise UserError(f"{origin}: has no {MANIFEST}")
    raw = read(MANIFEST, MAX_MANIFEST_BYTES + 1)
    signature = read(SIGNATURE, SIGNATURE_BYTES + 1) if SIGNATURE in present else None
    if signature is not None and len(signature) != SIGNATURE_BYTES:
        raise UserError(f"{origin}: {SIGNATURE} is not {SIGNATURE_BYTES} bytes long")
    if public_key is not None:
        require_signature(raw, signature, load_public_key(Path(public_key)), origin=f"{origin}: {SIGNATURE}")
    manifest = Manifest.from_json(raw, origin=f"{origin}: {MANIFEST}")
    listed = {*manifest.files, MANIFEST}
    if missing := sorted(listed - present):
        raise UserError(f"{origin}: {missing[0]} is listed in the manifest but not there")
    if extra := sorted(present - listed - {SIGNATURE}):
        raise UserError(f"{origin}: {extra[0][:80]!r} is not listed in the manifest")
    return raw, manifest


def _checked_bundle(
    path: Path,
    raw: bytes,
    manifest: Manifest,
    public_key: str | Path | None,
    *,
    lock: int | None = None,
    temporary: tempfile.TemporaryDirectory[str] | None = None,
) -> Bundle:
    with _open_plain(path / PARITY) as file:
        check_recording(file, manifest, origin=str(path / PARITY))
    if manifest.planner is not None:
        plans = path / manifest.planner.parity.file
        with _open_plain(plans) as file:
            check_plans(file, manifest.planner, origin=str(plans))
    return Bundle(
        path,
        manifest,
        hashlib.sha256(raw).hexdigest(),
        signature_checked=public_key is not None,
        lock=lock,
        temporary=temporary,
    )


def _open_plain(path: Path) -> AbstractContextManager[IO[bytes]]:
    # O_NOFOLLOW and the check on the open file: no link or pipe can take the file's place after the listing.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UserError(f"{path}: not a plain file")
    return os.fdopen(descriptor, "rb")


def _copy_checked(source: IO[bytes], target: IO[bytes] | None, name: str, expected: FileEntry, *, origin: str) -> None:
    digest = hashlib.sha256()
    size = 0
    # One byte past the listed size is enough to know: a bomb is not read to its end.
    while chunk := source.read(min(_CHUNK_BYTES, expected.size_bytes + 1 - size)):
        size += len(chunk)
        digest.update(chunk)
        if target is not None:
            target.write(chunk)
    _require_hash(name, expected, size, digest.hexdigest(), origin=origin)


def _require_hash(name: str, expected: FileEntry, size: int, sha256: str, *, origin: str) -> None:
    if size != expected.size_bytes:
        more = "more" if size > expected.size_bytes else f"{size}"
        raise UserError(f"{origin}: {name} has {more} bytes, listed {expected.size_bytes}")
    if sha256 != expected.sha256:
        raise UserError(f"{origin}: {name} was changed: its SHA-256 is {sha256}, listed {expected.sha256}")
