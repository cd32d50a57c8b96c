"""Figures of episodes: what a task tells of one beside its return, and how those of several become one.

An environment that has figures names them in ``figure_names``; ``info["figures"]`` of every step then holds their
values for the episode so far, None where one is not defined (NaN, too; but Gymnasium's checker compares two runs' info,
and NaN never equals NaN). The names belong to the task, but for one: where ``fall``
is declared, it is 1 for an episode that has ended in a fall, else 0, and falls are counted instead of averaged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import gymnasium

FALL = "fall"


def figure_names(env: gymnasium.Env[Any, Any]) -> tuple[str, ...]:
    """Names of the figures that a task's environment tells; none where it declares none."""
    return tuple(getattr(env.unwrapped, "figure_names", ()))


def number(value: Any) -> float | None:
    """A number, or the only one of an array; None for anything else.

    It reads what others' code gave, so whatever that raises when it is read, and a whole number that no float holds,
    is no number.
    """
    try:
        if isinstance(value, (bool, int, float)):
            return float(value)
        array = np.asarray(value)
    except Exception:
        return None
    return float(array.reshape(())) if array.size == 1 and array.dtype.kind in "biuf" else None


def success(info: Mapping[str, Any]) -> float:
    """1 or 0 as the ``info`` of a step tells it, under ``success`` or ``is_success``; NaN where it does not.

    What is no truth value counts as not told: a statistic is no reason to end a run.
    """
    value = info.get("success")
    told = number(info.get("is_success") if value is None else value)
    return math.nan if told is None or math.isnan(told) else float(bool(told))


def episode_figures(names: Sequence[str], info: Mapping[str, Any]) -> dict[str, float]:
    """The figures ``names`` of an episode, from the ``info`` of its last step; NaN where one is not told or defined."""
    return numbers(names, info.get("figures"))


def numbers(names: Sequence[str], told: Any) -> dict[str, float]:
    """The values of ``names`` in the mapping ``told``; NaN where it is none, or one is missing or no number."""
    values = told if isinstance(told, Mapping) else {}
    found = {name: number(values.get(name)) for name in names}
    return {name: math.nan if value is None else value for name, value in found.items()}


def weighted_means(lengths: Sequence[int], figures: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    """Mean of each figure but the fall over episodes of these ``lengths`` in steps, which are the weights.

    A fall after 14 steps must not weigh as much as 1000 steps of walking. An episode in which a figure is not finite
    is left out of that figure's mean, which is None where no episode remains.
    """
    means: dict[str, float | None] = {}
    for name in figures[0] if figures else ():
        if name != FALL:
            told = [
                (length, one[name]) for length, one in zip(lengths, figures, strict=True) if math.isfinite(one[name])
            ]
            steps = sum(length for length, _ in told)
            means[name] = sum(length * value for length, value in told) / steps if steps else None
    return means


def falls(figures: Sequence[Mapping[str, float]]) -> int | None:
    """Episodes that ended in a fall; None where the task declares none."""
    if not figures or FALL not in figures[0]:
        return None
    return sum(one[FALL] > 0 for one in figures)


def robot_minutes(steps: int, control_rate_hz: float) -> float:
    """How long robots have moved, all of them together, in ``steps`` control steps."""
    return steps / control_rate_hz / 60


def summary(
    lengths: Sequence[int], figures: Sequence[Mapping[str, float]], *, control_rate_hz: float
) -> dict[str, Any]:
    """What one or more episodes of these ``lengths`` in control steps showed, as it is printed and logged.

    ``figures`` holds the means (see `weighted_means`); ``falls``, ``falls_per_episode`` and ``falls_per_robot_minute``
    are None where the task declares no fall; ``robot_minutes`` and ``lengths`` say what all of it is measured on.
    """
    fallen, minutes = falls(figures), robot_minutes(sum(lengths), control_rate_hz)
    return {
        "figures": weighted_means(lengths, figures),
        "falls": fallen,
        "falls_per_episode": None if fallen is None else fallen / len(lengths),
        "falls_per_robot_minute": None if fallen is None else fallen / minutes,
        "robot_minutes": minutes,
        "lengths": list(lengths),
    }


def scalars(group: str, told: Mapping[str, Any]) -> dict[str, float]:
    """The figures and fall rates of a `summary` that are known, as ``<group>/<name>`` for a log."""
    rates = {name: told[name] for name in ("falls_per_episode", "falls_per_robot_minute")}
    known = {**told["figures"], **rates}
    return {f"{group}/{name}": value for name, value in known.items() if value is not None}
