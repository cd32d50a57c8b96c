"""The dozen array operations in which NumPy and torch differ, so that a search is written once for both.

array-api-compat would not do: its standard has no write at given indices, which is half of a tree search, its torch
functions promote types in Python at every call, and the robot's light core would get one dependency more. What NumPy
and torch spell alike (``x + y``, ``x.reshape``, ``x < y``) is not here.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, Protocol

import numpy as np

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


@cache
def _number(value: float, dtype: np.dtype[Any]) -> Array:
    return np.array(value, dtype)


@cache
def _ones(count: int, dtype: np.dtype[Any]) -> Array:
    return np.ones((count, 1), dtype)


@lru_cache(1024)
def _row_starts(rows: int, width: int) -> Array:
    return np.arange(0, rows * width, width)[:, None]


class _NumpyArrays:
    """NumPy, in place: for one root on a robot's CPU, where a call's overhead is what counts."""

    larger = staticmethod(np.maximum)
    smaller = staticmethod(np.minimum)
    at_least = staticmethod(np.maximum)
    at_most = staticmethod(np.minimum)
    exp = staticmethod(np.exp)
    log = staticmethod(np.log)
    sqrt = staticmethod(np.sqrt)
    concat = staticmethod(np.concatenate)

    @staticmethod
    def sizes(x: Array) -> tuple[int, ...]:
        return x.shape

    @staticmethod
    def take(x: Array, index: Array) -> Array:
        return x.take(index, 0)

    @staticmethod
    def put(x: Array, index: Array, rows: Array) -> Array:
        x[index] = rows
        return x

    @staticmethod
    def where(condition: Array, x: Array, y: Array) -> Array:
        # NumPy takes longer to make an array of a number than to choose.
        if not isinstance(x, np.ndarray):
            x = _number(x, y.dtype)
        elif not isinstance(y, np.ndarray):
            y = _number(y, x.dtype)
        return np.where(condition, x, y)

    @staticmethod
    def stack(parts: Sequence[Array]) -> Array:
        return np.array(parts)  # half the time of np.stack

    @staticmethod
    def sum(x: Array) -> Array:
        return np.dot(x, _ones(x.shape[-1], x.dtype))  # a third of the time of np.add.reduce

    @staticmethod
    def max(x: Array) -> Array:
        # Finding the place of the greatest takes NumPy a tenth of the time that finding the greatest does.
        return x.take(x.argmax(-1)[:, None] + _row_starts(*x.shape))

    @staticmethod
    def extremes(x: Array) -> tuple[Array, Array]:
        ordered = x.copy()
        ordered.sort(-1)
        return ordered[:, :1], ordered[:, -1:]

    @staticmethod
    def argmax(x: Array) -> Array:
        return x.argmax(-1)

    @staticmethod
    def best_first(x: Array, count: int) -> Array:
        return np.argsort(-x, -1, kind="stable")[:, :count]

    @staticmethod
    def full(shape: tuple[int, ...], value: float, like: Array) -> Array:
        return np.full(shape, value, like.dtype)

    @staticmethod
    def full_index(shape: tuple[int, ...], value: int, like: Array) -> Array:
        return np.full(shape, value, np.int64)

    @staticmethod
    def index_range(count: int, like: Array) -> Array:
        return np.arange(count)

    @staticmethod
    def as_type(x: Array, like: Array) -> Array:
        return x.astype(like.dtype)

    @staticmethod
    def as_count(x: Array) -> Array:
        return x.astype(np.int32)

    @staticmethod
    def surely_all(x: Array) -> bool:
        return bool(np.count_nonzero(x) == x.size)

    @staticmethod
    def surely_none(x: Array) -> bool:
        return not np.count_nonzero(x)


_NUMPY = _NumpyArrays()


def arrays_of(x: Array) -> Arrays:
    """The library that ``x`` is of."""
    if isinstance(x, np.ndarray):
        return _NUMPY
    # By name: whoever has a tensor has torch, and who has not must be able to import this (a robot).
    arrays: Arrays = importlib.import_module("robot_wm.search.torch_arrays").TORCH
    return arrays


def softmax(x: Array) -> Array:
    """Over the last axis."""
    xp = arrays_of(x)
    raised = xp.exp(x - xp.max(x))
    return raised / xp.sum(raised)
