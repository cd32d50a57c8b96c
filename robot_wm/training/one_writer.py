"""A folder in which one process works at a time: the kernel lets go when it ends, however it does."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from robot_wm.errors import UserError

_LOCK = ".lock"
_MAX_HOLDER_LETTERS = 256


@contextmanager
def only_writer(run: Path, *, doing: str = "trains", flag: str = "--run-dir") -> Iterator[None]:
    """Be the only process that works in this folder, which is made; ``flag`` is what would name another one.

    Raises UserError, naming who it is, where another one does.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        lock = (run / _LOCK).open("a+")
    except OSError as error:
        raise UserError(f"{run}: cannot be written: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read(_MAX_HOLDER_LETTERS) or "another process"
            raise UserError(f"{run}: {holder} {doing} here; wait for its end, or name another {flag}") from None
        except OSError as error:
            raise UserError(f"{run / _LOCK}: cannot be locked: {error.strerror}") from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}")
        lock.flush()
        yield
