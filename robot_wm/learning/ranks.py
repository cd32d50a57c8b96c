"""The processes that learn one agent together, as a learner and a run ask for them.

Each of them is a *rank*: it has its own environments, replay, noise and share of every batch, and the same agent. This
module has the one process that learns alone, which exchanges nothing; `robot_wm.learning.process_group` has several.
Shape letters: R ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from robot_wm.errors import UserError

Action = Callable[[], None]


class RankLostError(UserError, RuntimeError):
    """Another rank has ended, or does not answer; the message says which and why, as far as it can be known."""


class Ranks:
    """A process that is the only one. With several, what exchanges anything is
    called by all of them, in one order.

    ``rank`` counts from 0, whose process writes what there is one of; ``size`` is R; ``on_host`` of them share this
    machine's memory.
    """

    rank = 0
    size = 1
    on_host = 1

    def mean(self, gradients: Sequence[Tensor]) -> Callable[[], Sequence[Tensor]]:
        """Begin to average tensors over the ranks; what is returned waits for the averages, and has float32 ones.

        Work that is launched in between runs beside it. To be called in the same order everywhere.
        """
        return lambda: gradients

    def gather(self, values: Tensor) -> Tensor:
        """Every rank's values: [...] float32 of one shape everywhere -> [R, ...], or as they are where R is 1."""
        return values

    def spread(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors by those of rank 0."""

    def rows(self, row: Sequence[float]) -> NDArray[np.float64]:
        """Every rank's numbers: n here -> [R, n] on the host."""
        return np.array([row], np.float64)

    def texts(self, text: str) -> list[str]:
        """Every rank's text, by rank."""
        return [text]

    def told(self, find: Callable[[], Any]) -> Any:
        """What ``find`` returns on rank 0, where alone it is called: anything that JSON takes."""
        return find()

    def wait(self) -> None:
        """Return once every rank has come here."""

    def check(self) -> None:
        """Raise RankLostError where another rank is known to be gone; waits for nobody."""

    def at_end(self, action: Action) -> None:
        """Have ``action`` done before the ranks part: what was recorded of their exchanges must go first."""

    def seed(self, seed: int) -> int:
        """What this rank draws its environments, noise and windows by; rank 0's is the run's own."""
        if self.rank == 0:
            return seed
        # Half the range: a run adds its steps to it, and simulators take 32 bits.
        return int(np.random.SeedSequence([seed, self.rank]).generate_state(1)[0]) >> 1

    @contextmanager
    def apart(self, cut: Callable[[Action], None]) -> Iterator[None]:
        """Within it hand each exchange between devices to ``cut``, which sees to it that it is no part of a graph.

        Only where exchanges are to stay out of graphs; else nothing changes.
        """
        yield


ALONE = Ranks()
