"""Which worlds an agent is tried in: one quantity moved at a time, two at once, and all of them drawn together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from robot_wm.errors import UserError

if TYPE_CHECKING:
    from robot_wm_sim.randomisation.ranges import Randomisation, Range

Kind = Literal["plain", "single", "pair", "joint"]
DRAWN_TOGETHER = ("mild", "sim2real", "harsh")
LATE_S = 0.04  # beside the grid: the latency that a goal of the field is stated at
_SEED = 1.0  # of pushes and terrains


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One world in one engine."""

    kind: Kind
    backend: str
    quantities: tuple[str, ...] = ()  # that are moved; of "joint" the randomisation's name
    values: tuple[float, ...] = ()  # of each quantity, in its unit
    draw: Mapping[str, float] = field(default_factory=dict)  # of every episode; see `robot_wm_sim.randomisation`
    randomisation: str = "none"  # from which every episode draws beside


def cells(
    ranges: Randomisation,
    names: Sequence[str],
    *,
    backends: Sequence[str],
    points: int,
    pairs: Sequence[tuple[str, str]],
) -> list[Cell]:
    """The grid: ``points`` values of each quantity of ``ranges``, ``points`` squared of each pair, in every engine.

    ``names`` are the numbers that an episode's draw of ``ranges`` has. A quantity of several numbers, such as the
    offset of each encoder, has them all at one value. Raises UserError for a pair of what ``ranges`` does not have.
    """
    parts = _by_quantity(names)
    found: list[Cell] = []
    for backend in backends:
        found.append(Cell(kind="plain", backend=backend))
        for quantity in parts:
            for value in _values(ranges, parts[quantity], points):
                found.append(_cell("single", backend, ranges, parts, (quantity,), (value,)))
        if "observation_latency_s" in parts:
            found.append(_cell("single", backend, ranges, parts, ("observation_latency_s",), (LATE_S,)))
        for pair in pairs:
            for name in pair:
                if name not in parts:
                    raise UserError(f"--pair {':'.join(pair)}: {name} is not moved; there are {', '.join(parts)}")
            first, second = (_values(ranges, parts[name], points) for name in pair)
            found += [_cell("pair", backend, ranges, parts, pair, (a, b)) for a in first for b in second]
        found += [
            Cell(kind="joint", backend=backend, quantities=(name,), randomisation=name) for name in DRAWN_TOGETHER
        ]
    return found


def _by_quantity(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The numbers of each quantity that can be moved by itself; noise and bias by sensor, as their units differ."""
    found: dict[str, list[str]] = {}
    for name in names:
        head, *rest = name.split("/")
        if head in ("push_interval_s", "push_seed", "terrain_seed", "terrain_level"):
            continue  # they come with push_speed_m_s and terrain_height_m
        found.setdefault(f"{head}/{rest[0]}" if head in ("noise_std", "bias") else head, []).append(name)
    return {quantity: tuple(members) for quantity, members in found.items()}


def _values(ranges: Randomisation, names: tuple[str, ...], points: int) -> list[float]:
    given: Range | None = ranges.range_of(names[0])
    assert given is not None  # names are those of a draw from these ranges
    if given.low == given.high:
        return [given.low]
    space = np.geomspace if given.log else np.linspace
    return [float(value) for value in space(given.low, given.high, points)]


def _cell(
    kind: Kind,
    backend: str,
    ranges: Randomisation,
    parts: Mapping[str, tuple[str, ...]],
    quantities: tuple[str, ...],
    values: tuple[float, ...],
) -> Cell:
    draw = {name: value for quantity, value in zip(quantities, values, strict=True) for name in parts[quantity]}
    if "push_speed_m_s" in draw and ranges.push_interval_s is not None:
        draw |= {"push_interval_s": ranges.push_interval_s.at(0.5), "push_seed": _SEED}
    if "terrain_height_m" in draw:
        draw["terrain_seed"] = _SEED
    return Cell(kind=kind, backend=backend, quantities=quantities, values=values, draw=draw)
