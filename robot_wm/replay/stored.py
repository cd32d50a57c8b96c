"""What an agent keeps beside each replayed step: it declares it, and the replay, which knows no more, carries it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

Values = Mapping[str, NDArray[Any]]  # name -> [N, *shape]


@dataclass(frozen=True)
class Stored:
    """One array beside each step, such as the posterior's latent; a step that nobody computed it for has zeros."""

    name: str
    shape: tuple[int, ...]  # of one step
    dtype: Literal["float16", "float32", "uint8"]
    # What training gets of a window: the value at its context step [B, *shape], or at every step [B, T1, *shape].
    use: Literal["context", "every"]


def by_name(stored: Iterable[Stored]) -> dict[str, Stored]:
    """The declarations by their names; ValueError where two share one."""
    stored = tuple(stored)
    named = {entry.name: entry for entry in stored}
    if len(named) != len(stored):
        raise ValueError(f"stored names are not unique: {[entry.name for entry in stored]}")
    return named
