"""Reward terms in the manner of dm_control: smooth, in [0, 1], flat where the robot does well.

Each takes a number, of the step that is simulated, or an array of any shape, of steps that were recorded.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", float, NDArray[np.float64])


def positive(value: Number) -> Number:
    """What is above 0, else 0: exactly ``max(value, 0)`` of anything finite, and about as quick on a number."""
    return (value + abs(value)) / 2


def tolerance(value: Number, *, bound: float = 0.0, margin: float, at_margin: float = 0.1) -> Number:
    """1 while |value| ≤ bound, then a Gaussian fall that reaches ``at_margin`` at ``margin`` beyond the bound."""
    beyond = positive(abs(value) - bound) / margin
    return at_margin ** (beyond * beyond)


def halved(distance: Number, *, bound: float, every: float) -> Number:
    """1 while distance ≤ bound, half of it at ``every`` beyond, a quarter at twice that, and so on."""
    return 0.5 ** (positive(distance - bound) / every)


def parabola(value: Number, *, margin: float) -> Number:
    """1 at zero, falling as a parabola to 0 at ``margin`` and 0 beyond."""
    return positive(1.0 - (value / margin) ** 2)
