"""Bullet prints to the process's standard output from C; that stream belongs to a command's JSON."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def native_output_discarded() -> Iterator[None]:
    """Throw away what C code prints to standard output while the block runs."""
    with open(os.devnull, "wb") as nowhere, _native_output_to(nowhere.fileno()):
        yield


@contextlib.contextmanager
def native_output_to_stderr() -> Iterator[None]:
    """Send what C code prints to standard output to standard error instead, while the block runs."""
    with _native_output_to(2):
        yield


@contextlib.contextmanager
def _native_output_to(descriptor: int) -> Iterator[None]:
    libc = ctypes.CDLL(None)
    sys.stdout.flush()
    libc.fflush(None)
    saved = os.dup(1)
    try:
        os.dup2(descriptor, 1)
        yield
    finally:
        # C buffers its output: it must leave while the descriptor still points away.
        libc.fflush(None)
        os.dup2(saved, 1)
        os.close(saved)
