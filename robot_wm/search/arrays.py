"""The dozen array operations in which NumPy and torch differ, so that a search is written once for both.

array-api-compat would not do: its standard has no write at given indices, which is half of a tree search, its torch
functions promote types in Python at every call, and the robot's light core would get one dependency more. What NumPy
and torch spell alike (``x + y``, ``x.reshape``, ``x < y``) is not here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

Array = Any  # np.ndarray or torch.Tensor


class Arrays(Protocol):
    """One array library. ``take`` and ``put`` work on rows: indices of any shape into the first axis."""

    def sizes(self, x: Array) -> tuple[int, ...]:
        """The shape in plain numbers, in an exported graph, too."""

    def take(self, x: Array, index: Array) -> Array:
        """Rows [*index.shape, ...] of ``x`` [M, ...]."""

    def put(self, x: Array, index: Array, rows: Array) -> Array:
        """``x`` with ``rows`` [*index.shape, ...] at ``index``, which name a row twice only to write the same twice.

        The result is to be used in place of ``x``, whose memory it may be.
        """

    def where(self, condition: Array, x: Array, y: Array) -> Array:
        """Choose element by element; one of x and y may be a number."""

    def at_least(self, x: Array, floor: float) -> Array:
        """The larger of an element and a number."""

    def at_most(self, x: Array, ceiling: float) -> Array:
        """The smaller of an element and a number."""

    def larger(self, x: Array, y: Array) -> Array:
        """The larger of two elements."""

    def smaller(self, x: Array, y: Array) -> Array:
        """The smaller of two elements."""

    def sum(self, x: Array) -> Array:
        """Over the last axis of a matrix, which stays with length 1, as max and min do."""

    def max(self, x: Array) -> Array:
        """Over the last axis of a matrix."""

    def extremes(self, x: Array) -> tuple[Array, Array]:
        """The least and the greatest, as min and max."""

    def argmax(self, x: Array) -> Array:
        """Over the last axis, which goes; the first of equals."""

    def best_first(self, x: Array, count: int) -> Array:
        """Places [B, count] of the greatest of ``x`` [B, R] in order, the first of equals before the others."""

    def exp(self, x: Array) -> Array:
        """Element by element, as log and sqrt."""

    def log(self, x: Array) -> Array:
        """Natural."""

    def sqrt(self, x: Array) -> Array:
        """Of a number >= 0."""

    def concat(self, parts: Sequence[Array]) -> Array:
        """Along the first axis."""

    def stack(self, parts: Sequence[Array]) -> Array:
        """Along a new first axis."""

    def full(self, shape: tuple[int, ...], value: float, like: Array) -> Array:
        """Of the type, and on the device, of ``like``."""

    def full_index(self, shape: tuple[int, ...], value: int, like: Array) -> Array:
        """Whole numbers of 64 bits, on the device of ``like``."""

    def index_range(self, count: int, like: Array) -> Array:
        """0, 1, … [count] of 64 bits, on the device of ``like``."""

    def as_type(self, x: Array, like: Array) -> Array:
        """``x`` in the type of ``like``."""

    def as_count(self, x: Array) -> Array:
        """Whole numbers of 32 bits."""

    def surely_all(self, x: Array) -> bool:
        """Whether all are true; False where the program may not depend on values (a captured or exported graph)."""

    def surely_none(self, x: Array) -> bool:
        """Whether none is true; False likewise."""
