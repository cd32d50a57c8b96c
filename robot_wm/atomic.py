"""Files that are there whole or not at all: written beside their place, synced, then renamed.

What cannot be written is told in one line (UserError): no room, no permission, no such place. Who may read a file is
the umask's to say, whatever made it: some libraries write files that only their owner can read.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from robot_wm.errors import UserError

_READ, _ENTER = 0o444, 0o555
# How Rust's libraries, and so safetensors, tell what the system said; theirs is no OSError.
_RUST_OS_ERROR = re.compile(r"([\w ]+) \(os error \d+\)")
_SHORT_OF_BYTES = 2**20
_LEFT_BEHIND = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.(?P<kind>tmp|old)")


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it replaces ``path``, on any error it vanishes."""
    temporary = _beside(path)
    with _told(path, temporary):
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        try:
            allowed = stat.S_IMODE(temporary.stat().st_mode)  # 0o666 but for the umask
            yield temporary
            _let_read(temporary, allowed)
            _sync(temporary)
            temporary.replace(path)
            _sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; on success it takes its place.

    An older folder of that name stays until the new one is complete. A rename cannot replace a filled folder, so the
    old one is moved aside first: a crash in between leaves both, whole, under hidden names beside ``path`` (`tidy`
    gives the old one its name back). Without ``replace`` what came there meanwhile stays, and this raises UserError.
    """
    temporary = _beside(path)
    retired = temporary.with_suffix(".old")
    with _told(path, temporary):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        try:
            allowed = stat.S_IMODE(temporary.stat().st_mode)  # 0o777 but for the umask
            yield temporary
            for file in temporary.rglob("*"):
                _let_read(file, allowed)
                _sync(file)
            _sync(temporary)
            if replace and path.exists():
                path.replace(retired)
            try:
                temporary.replace(path)
            except OSError as error:
                if path.exists():
                    raise UserError(f"{path}: has come into being meanwhile, and stays as it is") from error
                raise
            _sync(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(retired, ignore_errors=True)


def require_writable(path: Path) -> None:
    """Raise UserError unless ``path`` could be written: its folder is made, and a file in it made and removed.

    For work that takes long: to be asked before it.
    """
    temporary = _beside(path)
    with _told(path, temporary):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
        temporary.unlink()


def tidy(folder: Path) -> None:
    """Take up what killed writers left in ``folder``, where nobody may be writing now.

    A folder that was moved aside gets its name back, unless another has it; what is half written goes.
    """
    for left in folder.iterdir():
        if not (found := _LEFT_BEHIND.fullmatch(left.name)):
            continue
        if found["kind"] == "old" and not (folder / found["name"]).exists():
            left.replace(folder / found["name"])
        elif left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def _let_read(path: Path, allowed: int) -> None:
    """Let those read a file, and enter a folder, whom ``allowed`` lets."""
    mode = stat.S_IMODE(path.stat().st_mode)
    path.chmod(mode | (allowed & (_ENTER if path.is_dir() else _READ)))


@contextmanager
def _told(path: Path, temporary: Path) -> Iterator[None]:
    """Tell an error of what is written here in one line; another file's, or another kind, goes on as it is."""
    try:
        yield
    except (UserError, BrokenPipeError):
        raise
    except OSError as error:
        name = error.filename2 or error.filename  # a copy that fails names both, its target last
        named = None if name is None else Path(os.fsdecode(name))
        if named is not None and not (path.is_relative_to(named) or named.is_relative_to(temporary)):
            raise
        raise UserError(f"{path}: cannot be written: {_reason(error, path)}") from error
    except Exception as error:
        if found := _RUST_OS_ERROR.search(str(error)):
            raise UserError(f"{path}: cannot be written: {found[1].strip()}") from error
        raise


def _reason(error: OSError, path: Path) -> str:
    if error.strerror:
        return error.strerror
    # NumPy counts items that were not written and does not say why.
    is_full = path.parent.is_dir() and shutil.disk_usage(path.parent).free < _SHORT_OF_BYTES
    return f"{error} (no space left on device)" if is_full else str(error)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
