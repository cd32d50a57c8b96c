"""Reward terms in the manner of dm_control: smooth, in [0, 1], flat where the robot does well."""

from __future__ import annotations


def tolerance(value: float, *, bound: float = 0.0, margin: float, at_margin: float = 0.1) -> float:
    """1 while |value| ≤ bound, then a Gaussian fall that reaches ``at_margin`` at ``margin`` beyond the bound."""
    beyond = max(abs(value) - bound, 0.0) / margin
    return at_margin ** (beyond * beyond)


def parabola(value: float, *, margin: float) -> float:
    """1 at zero, falling as a parabola to 0 at ``margin`` and 0 beyond."""
    return max(1.0 - (value / margin) ** 2, 0.0)
