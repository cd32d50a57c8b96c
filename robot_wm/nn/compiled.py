"""What an update does in many small kernels, compiled where that pays."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch

Function = TypeVar("Function", bound=Callable[..., Any])


def fused(function: Function, device: torch.device) -> Function:
    """``function``, on a GPU compiled into a few kernels (once a process and shape).

    A loop over 64 steps is bound by the number of its kernels there. On a CPU it would save a sixth of an update of
    ``nano`` and take minutes of two cores, which the 3000 updates of a quickstart do not win back.
    """
    return _compiled(function) if device.type == "cuda" else function


@functools.cache
def _compiled(function: Function) -> Function:
    return torch.compile(function, fullgraph=True, dynamic=False)  # type: ignore[return-value]
