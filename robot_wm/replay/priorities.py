"""Windows drawn the more often, the more an update has to learn from them: Schaul et al. 2016, for sequences.

A window has the priority of its context step's row in the rings: how wrong the learner's prediction was when it was
last trained on, to the power of ``exponent``, and the largest of all while it has not been. Updates make up for it by
the weight ``(windows * probability) ** -correction``, over the batch's mean: over its largest, as in that paper, one
rare window would shrink the whole update.
Shape letters: N leaves, B windows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_wm.replay.rings import Ints, StreamRings

Floats = NDArray[np.float64]

# Children of a node. Of 8 to 128 the quickest: 64 draws of a million leaves take 0.1 ms where one cumulative sum of
# them all takes 3.4 ms.
_FAN = 32
_LEAST = 1e-6  # of a priority, or a window that is predicted well would never be drawn again
_FIRST = 1.0  # the priority of what is new before any has been told


class SumTree:
    """Numbers >= 0 with their sum and their maximum kept; what a node holds follows from its children alone."""

    def __init__(self, leaves: int) -> None:
        size = -(-leaves // _FAN) * _FAN
        self._sums: list[Floats] = [np.zeros(size)]  # leaves first
        while size > _FAN:
            size = -(-(size // _FAN) // _FAN) * _FAN
            self._sums.append(np.zeros(size))
        self._most = [self._sums[0], *(np.zeros_like(level) for level in self._sums[1:])]

    @property
    def leaves(self) -> Floats:
        """[N], and zeros behind them; change them by `put`."""
        return self._sums[0]

    @property
    def total(self) -> float:
        """Sum of all leaves."""
        return float(self._sums[-1].sum())

    @property
    def largest(self) -> float:
        """The largest leaf."""
        return float(self._most[-1].max())

    def put(self, at: Ints, values: Floats | float) -> None:
        """Set leaves; of one that is named twice the later value counts."""
        self.leaves[at] = values
        for level in range(1, len(self._sums)):
            at = at // _FAN
            self._sums[level][at] = self._sums[level - 1].reshape(-1, _FAN)[at].sum(1)
            self._most[level][at] = self._most[level - 1].reshape(-1, _FAN)[at].max(1)

    def find(self, targets: Floats) -> Ints:
        """[B] leaves in which the running sum passes targets [B] in [0, total); never one that is 0."""
        node, left = np.zeros(len(targets), np.int64), targets
        for level in reversed(self._sums):
            reach = np.cumsum(level.reshape(-1, _FAN)[node], axis=1)  # [B, _FAN]
            # Rounding may carry a target past the last child: then it is the last one that holds anything.
            left = np.minimum(left, np.nextafter(reach[:, -1], 0.0))
            child = (reach <= left[:, None]).sum(axis=1)
            before = np.take_along_axis(reach, np.maximum(child - 1, 0)[:, None], axis=1)[:, 0]
            left = left - np.where(child > 0, before, 0.0)
            node = node * _FAN + child
        return node


class Drawn(NamedTuple):
    """Windows that were drawn."""

    names: Ints  # [B] position * streams + stream of the context step
    weights: NDArray[np.float32]  # [B] importance weights, whose mean is 1


class WindowPriorities:
    """The priorities of all windows of ``length`` + 1 steps that ``rings`` hold; `follow` what is written to them."""

    def __init__(self, rings: StreamRings, *, length: int, exponent: float, correction: float) -> None:
        self.exponent, self.correction = exponent, correction
        self._rings, self._length = rings, length
        self._tree = SumTree(rings.streams * rings.size)
        self._seen = rings.count.copy()  # [streams] steps that were there at the last look

    def follow(self) -> None:
        """Take in the windows that have become whole since the last call, and forget those that were overwritten."""
        rings, newest = self._rings, self._tree.largest or _FIRST
        for stream in np.flatnonzero(rings.count > self._seen).tolist():
            before, now, low = int(self._seen[stream]), int(rings.count[stream]), int(rings.low[stream])
            gone = np.arange(max(before - rings.capacity, low - rings.size, 0), low, dtype=np.int64)
            self._tree.put(rings.slots(stream, gone), 0.0)
            whole = np.arange(max(before - self._length, low), now - self._length, dtype=np.int64)
            self._tree.put(rings.slots(stream, whole), newest)
        self._seen[:] = rings.count

    def draw(self, count: int, windows: int, rng: np.random.Generator) -> Drawn:
        """``count`` of the ``windows`` there are, with replacement."""
        total = self._tree.total
        rows = self._tree.find(rng.random(count) * total)
        chance = self._tree.leaves[rows] / total
        weights = (windows * chance) ** -self.correction
        return Drawn(self._rings.names(rows), (weights / weights.mean()).astype(np.float32))

    def put(self, names: Ints, errors: NDArray[np.float32]) -> int:
        """Set the priorities of windows [B] by the sizes of their errors [B]; returns how many are still there.

        One that is not finite is left as it was: whoever trains finds out by its own means.
        """
        stream, position = names % self._rings.streams, names // self._rings.streams
        count, low = self._rings.count[stream], self._rings.low[stream]
        there = (position >= low) & (position < count - self._length) & np.isfinite(errors)
        value = np.maximum(np.abs(errors[there].astype(np.float64)), _LEAST) ** self.exponent
        self._tree.put(self._rings.slots(stream, position)[there], value.astype(np.float32))
        return int(there.sum())

    def state(self) -> NDArray[np.float32]:
        """Priorities of the live rows."""
        return self._tree.leaves[self._rings.live()].astype(np.float32)

    def load_state(self, state: NDArray[np.float32] | None) -> None:
        """Continue from `state`, once the rings have their counters; None: every window is as a new one."""
        self._tree = SumTree(self._rings.streams * self._rings.size)
        if state is None:
            self._seen[:] = 0
            self.follow()
        else:
            self._tree.put(self._rings.live(), state.astype(np.float64))
            self._seen[:] = self._rings.count
