"""Figures of an episode so far, as numbers that are kept at every step and worked out when somebody looks.

A step must be able to tell its figures, but most of them are never looked at before an episode's end, and working them
out at every step took a twentieth of the A1's whole step.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Values = Mapping[str, float | None]


class StepRows:
    """A row of numbers for every step of an episode, in one array that grows: as lists they would be many objects."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._numbers = array("d")

    def add(self, row: list[float]) -> None:
        """Keep one step's row [width]."""
        self._numbers.fromlist(row)

    def between(self, first: int, end: int) -> NDArray[np.float64]:
        """Rows ``first`` to before ``end``, [steps, width]; a copy."""
        return np.array(self._numbers[first * self._width : end * self._width]).reshape(-1, self._width)

    def means(self, steps: int) -> list[float]:
        """Mean of each column [width] over the first ``steps`` ≥ 1 rows, added up in their order."""
        sums: list[float] = np.cumsum(self.between(0, steps), axis=0)[-1].tolist()
        return [total / steps for total in sums]


class FiguresSoFar(Mapping[str, float | None]):
    """Values of an episode's figures as of one step; ``work_out`` is asked once, when somebody looks.

    It must answer alike whatever happened since that step. A copy, also one that goes to another process, is a dict.
    """

    def __init__(self, work_out: Callable[[], Values]) -> None:
        self._work_out = work_out

    @cached_property
    def _values(self) -> Values:
        return self._work_out()

    def __getitem__(self, name: str) -> float | None:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> tuple[type[dict[str, float | None]], tuple[dict[str, float | None]]]:
        return dict, (dict(self),)
