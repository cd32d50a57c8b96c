"""What an update does in many small kernels, compiled where that pays."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch

Function = TypeVar("Function", bound=Callable[..., Any])

_on_cpu = ContextVar("compiled on a CPU, too", default=False)


def fused(function: Function, device: torch.device) -> Function:
    """``function``, on a GPU and within `compiling` compiled into a few kernels (once a process and shape).

    A loop over 64 steps is bound by the number of its kernels on a GPU. On a CPU they save the passes over memory
    between them, a quarter of an update of ``1m``, for minutes of the compiler.
    """
    return _compiled(function) if device.type == "cuda" or _on_cpu.get() else function


@contextmanager
def compiling(on_cpu: bool) -> Iterator[None]:
    """Within it, in this thread, have what is `fused` compiled on a CPU, too, or not."""
    before = _on_cpu.set(on_cpu)
    try:
        yield
    finally:
        _on_cpu.reset(before)


@functools.cache
def _compiled(function: Function) -> Function:
    return torch.compile(function, fullgraph=True, dynamic=False)  # type: ignore[return-value]
