"""From the actor's action to the planner's and back without a jump. Shape letter: A actions, in model units."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


class Blend:
    """Adds a correction to the actor's action: what the planner wants to change of it, or nothing.

    Upon each change from one to the other the correction moves from where it was in ``ticks`` + 1 equal shares:

        correction = (1 - s) * before + s * wanted,    s = 1/(ticks + 1), 2/(ticks + 1), ..., 1
    """

    def __init__(self, action_dim: int, ticks: int) -> None:
        self._steps = ticks + 1
        self._step = self._steps  # of the blend; the last one: there is none
        self._planned = False
        self.correction = np.zeros(action_dim, dtype=np.float32)  # [A]
        self._before = np.zeros(action_dim, dtype=np.float32)  # [A]
        self._ones = np.ones(action_dim, dtype=np.float32)  # [A]
        self._minus_ones = -self._ones  # [A]

    def forget(self) -> None:
        """The next action is the first: no correction, and none to come from."""
        self.correction.fill(0.0)
        self._step, self._planned = self._steps, False

    def into(self, actor: Float32, planned: Float32 | None, out: Float32) -> None:
        """Write this tick's action to ``out`` [A], which may be ``actor``; ``planned`` None: the planner has none.

        Both are within [-1, 1], and so is what is written.
        """
        if (planned is not None) != self._planned:
            self._planned, self._step = not self._planned, 0
            self._before[:] = self.correction
        elif planned is None and self._step == self._steps:
            np.copyto(out, actor)  # as most ticks are
            return
        self._step = min(self._steps, self._step + 1)
        share = np.float32(self._step / self._steps)
        if planned is None:
            np.multiply(self._before, 1 - share, out=self.correction)
        else:
            np.subtract(planned, actor, out=self.correction)
            if share < 1:
                self.correction *= share
                self.correction += (1 - share) * self._before
        np.add(actor, self.correction, out=out)
        np.minimum(out, self._ones, out=out)
        np.maximum(out, self._minus_ones, out=out)
