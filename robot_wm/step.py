"""The record of a step, declared once: what carries steps takes its columns from here.

``Steps`` is what is stored and trained on; a pool's shared memory, transitions, episodes, rings and batches are kinds
of it or are laid out by it (`step_columns`). A field with `column` is a column; any other field of a kind is its own.
Shape letters: ... axes that the kind adds in front (N environments, L steps, B windows of T1 steps), A action.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, Generic, TypeVar

import numpy as np

from robot_wm.spec import AgentSpec

Array = TypeVar("Array")  # a NumPy array, or a tensor

_DECLARED, _OBS = "column", "obs/"


def column(dtype: str, *axes: str) -> dict[str, Any]:
    """Metadata of a dataclass field that is a column: its dtype, and the names of the axes that one step has."""
    return {_DECLARED: (dtype, axes)}


@dataclass(frozen=True, kw_only=True)
class Taken(Generic[Array]):
    """What is done in a step."""

    action: Array = field(metadata=column("float32", "action"))  # [..., A]


@dataclass(frozen=True, kw_only=True)
class Arrived(Generic[Array]):
    """What comes with an observation: the reward of what was done before it, and where in its episode it lies."""

    obs: Mapping[str, Array]  # name -> [..., *shape], as the AgentSpec describes it
    reward: Array = field(metadata=column("float32"))  # [...], 0 of a reset
    reward_known: Array = field(metadata=column("bool"))  # [...] False: nobody told the reward, and its number is none
    is_first: Array = field(metadata=column("bool"))  # [...] the observation of a reset
    is_last: Array = field(metadata=column("bool"))  # [...] terminated or truncated
    is_terminal: Array = field(metadata=column("bool"))  # [...] terminated


@dataclass(frozen=True, kw_only=True)
class Steps(Arrived[Array], Taken[Array]):
    """Whole steps: ``action`` is taken after ``obs``, everything else arrived with it."""

    def columns(self) -> dict[str, Array]:
        """Every column of `Steps` by its name, ``obs/<field>`` first; not those that a kind has beside them."""
        return {f"{_OBS}{name}": array for name, array in self.obs.items()} | {
            name: getattr(self, name) for name in column_names(Steps)
        }


@cache  # it is asked at every step
def column_names(kind: type[Any]) -> tuple[str, ...]:
    """Names of the columns of a kind of record, the observations apart."""
    return tuple(entry.name for entry in fields(kind) if _DECLARED in entry.metadata)


def step_columns(
    spec: AgentSpec, kind: type[Any] = Steps, **sizes: int
) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Shape of one step and dtype of every column, ``obs/<field>`` first; ``sizes`` are of a kind's own axes."""
    sizes = {"action": spec.action_dim, **sizes}
    found = {f"{_OBS}{entry.name}": (entry.shape, np.dtype(entry.dtype)) for entry in spec.observations}
    for entry in fields(kind):
        if _DECLARED in entry.metadata:
            dtype, axes = entry.metadata[_DECLARED]
            found[entry.name] = (tuple(sizes[axis] for axis in axes), np.dtype(dtype))
    return found


def as_fields(columns: Mapping[str, Array]) -> dict[str, Any]:
    """Columns by name as the arguments of a record that has them."""
    obs = {name.removeprefix(_OBS): array for name, array in columns.items() if name.startswith(_OBS)}
    return {"obs": obs} | {name: array for name, array in columns.items() if not name.startswith(_OBS)}


def each(change: Callable[[Any], Any], record: Any, kind: type[Any] | None = None) -> dict[str, Any]:
    """The fields of ``kind``, by default the record's own, with every array of the record changed.

    A field is an array or a dictionary of arrays.
    """

    def changed(value: Any) -> Any:
        return {name: change(one) for name, one in value.items()} if isinstance(value, Mapping) else change(value)

    return {entry.name: changed(getattr(record, entry.name)) for entry in fields(kind or type(record))}
