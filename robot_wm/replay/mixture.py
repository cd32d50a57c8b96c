"""Batches out of several samplers: a run's own experience, and what comes from stores.

Shape letters: B batch, T trained steps, T1 = T + 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.replay.batch import SequenceBatch
from robot_wm.replay.rings import Ints
from robot_wm.replay.sampler import SequenceSampler
from robot_wm.replay.stored import Values

_NAME_BITS = 48  # of a step's name in its sampler; the part's number is above them
_POOL = ""


@dataclass
class Apportioned:
    """Whole numbers that are right on average: what rounding has kept from a name it gets from the next count."""

    owed: dict[str, float] = field(default_factory=dict)  # by name, of one each at most

    def split(self, count: int, weights: Mapping[str, float]) -> dict[str, int]:
        """``count`` among the names by their weights, of which one is positive."""
        if len(weights) == 1:
            return dict.fromkeys(weights, count)
        total = sum(weights.values())
        due = {name: self.owed.get(name, 0.0) + count * weight / total for name, weight in weights.items()}
        parts = {name: max(0, math.floor(value)) for name, value in due.items()}
        while sum(parts.values()) < count:
            parts[max(due, key=lambda name: due[name] - parts[name])] += 1
        while sum(parts.values()) > count:
            parts[min((n for n in due if parts[n]), key=lambda name: due[name] - parts[name])] -= 1
        self.owed |= {name: due[name] - part for name, part in parts.items()}
        return parts


@dataclass
class Part:
    """One sampler of a mixture."""

    sampler: SequenceSampler
    share: float | None = None  # of every batch; None: drawn uniformly with all others that have none
    drawn: int = 0  # windows, since the mixture was made


class Mixture:
    """Draws from ``own`` and from parts that are added; with no other part that holds a window, exactly as ``own``.

    A part with a share gives that share of the windows of every batch, right on average to less than one window. The
    rest is drawn from the pool of parts without one: fresh windows of ``own`` first, then uniformly over all windows.
    """

    def __init__(self, own: SequenceSampler) -> None:
        self.own = own
        self.parts: dict[str, Part] = {"own": Part(own)}
        self.among_shares, self.in_pool = Apportioned(), Apportioned()

    def __len__(self) -> int:
        """Steps that can be drawn."""
        return sum(len(part.sampler) for part in self.parts.values())

    @property
    def windows(self) -> int:
        """Distinct windows that can be drawn now; ``sample`` needs one."""
        return sum(part.sampler.windows for part in self.parts.values())

    def sample(self, batch: int) -> SequenceBatch:
        """Draw ``batch`` windows, as `SequenceSampler.sample` does; the parts' windows follow each other."""
        counts = self._counts(batch, self.among_shares, self.in_pool, fresh=self.own.fresh_windows)
        for name, count in counts.items():
            self.parts[name].drawn += count
        return self._joined({name: self.parts[name].sampler.sample(count) for name, count in counts.items()})

    def look(self, batch: int, rng: np.random.Generator) -> SequenceBatch:
        """``batch`` windows for what does not train: `sample` goes on as if never called."""
        among, within = Apportioned(dict(self.among_shares.owed)), Apportioned(dict(self.in_pool.owed))
        counts = self._counts(batch, among, within, fresh=0)
        return self._joined({name: self.parts[name].sampler.look(count, rng) for name, count in counts.items()})

    def write_back(self, index: Ints, values: Values) -> int:
        """As `SequenceSampler.write_back`, to where each row [T] of ``index`` [B, T] was drawn."""
        return sum(
            part.sampler.write_back(own, {name: value[rows] for name, value in values.items()})
            for part, rows, own in self._by_part(index)
        )

    def prioritise(self, index: Ints, errors: NDArray[np.float32]) -> int:
        """As `SequenceSampler.prioritise`, to where each window of ``index`` [B] was drawn."""
        return sum(part.sampler.prioritise(own, errors[rows]) for part, rows, own in self._by_part(index))

    def _by_part(self, index: Ints) -> Iterator[tuple[Part, NDArray[np.bool_] | slice, Ints]]:
        """Each part that windows are of, which rows of ``index`` [B, ...] those are, and their names in it."""
        of_part = index.reshape(len(index), -1)[:, 0] >> _NAME_BITS  # [B]
        for number, part in enumerate(self.parts.values()):
            rows = of_part == number
            if rows.all():  # the usual case, where no copy is needed
                yield part, slice(None), index - (number << _NAME_BITS)
                return
            if rows.any():
                yield part, rows, index[rows] - (number << _NAME_BITS)

    def _counts(self, batch: int, among_shares: Apportioned, in_pool: Apportioned, *, fresh: int) -> dict[str, int]:
        """Windows of a batch by part, of those that have any."""
        windows = {name: part.sampler.windows for name, part in self.parts.items()}
        shares = {name: part.share for name, part in self.parts.items() if part.share is not None and windows[name]}
        pool = {name: float(n) for name, n in windows.items() if n and self.parts[name].share is None}
        if not pool and not shares:
            return {"own": batch}  # which says what is missing
        rest = {_POOL: 1.0 - sum(shares.values())} if pool else {}
        counts = among_shares.split(batch, shares | rest)
        left = counts.pop(_POOL, 0)
        first = min(fresh, left)
        if pool:
            counts |= in_pool.split(left - first, pool)
            counts["own"] = counts.get("own", 0) + first
        return {name: count for name, count in counts.items() if count}

    def _joined(self, batches: Mapping[str, SequenceBatch]) -> SequenceBatch:
        numbers = {name: number for number, name in enumerate(self.parts)}
        for name, batch in batches.items():
            batch.index[...] += numbers[name] << _NAME_BITS
        found = list(batches.values())
        return found[0] if len(found) == 1 else _concatenated(found)


def _concatenated(batches: list[SequenceBatch]) -> SequenceBatch:
    def joined(values: list[Any]) -> Any:
        if isinstance(values[0], Mapping):
            return {name: np.concatenate([value[name] for value in values]) for name in values[0]}
        return np.concatenate(values)

    return SequenceBatch(
        **{entry.name: joined([getattr(batch, entry.name) for batch in batches]) for entry in fields(SequenceBatch)}
    )
