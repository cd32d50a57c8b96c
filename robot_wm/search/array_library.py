"""Which array library a search computes with: that of the arrays it is given."""

from __future__ import annotations

import importlib

import numpy as np

from robot_wm.search.arrays import Array, Arrays
from robot_wm.search.numpy_arrays import NUMPY


def arrays_of(x: Array) -> Arrays:
    """The library that ``x`` is of."""
    if isinstance(x, np.ndarray):
        return NUMPY
    # By name: whoever has a tensor has torch, and who has not must be able to import this (a robot).
    arrays: Arrays = importlib.import_module("robot_wm.search.torch_arrays").TORCH
    return arrays


def softmax(x: Array) -> Array:
    """Over the last axis."""
    xp = arrays_of(x)
    raised = xp.exp(x - xp.max(x))
    return raised / xp.sum(raised)
