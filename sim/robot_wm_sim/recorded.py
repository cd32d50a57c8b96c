"""Rewards of recorded steps, from what a task pays for one step: which step a reward belongs to is said here only.

Shape letters: L steps of a recording, A action.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.spec import AgentSpec

Fields = Mapping[str, NDArray[np.float64]]  # by name, [steps, O]
# Observations before a step, the command [steps, A] that was taken then, and the observations after: rewards [steps].
Paid = Callable[[Fields, NDArray[np.float64], Fields], NDArray[np.float64]]
Over = Callable[[Fields], NDArray[np.bool_]]  # whether an episode ends for good with these observations, [steps]


def never(obs: Fields) -> NDArray[np.bool_]:
    """Of a task that only time ends, [steps]."""
    return np.zeros(len(next(iter(obs.values()))), np.bool_)


@dataclass(frozen=True)
class StepRewards:
    """`robot_wm.tasks.RewardFrom` of a task whose reward depends on one step: ``paid`` and ``over`` with its `Task`'s.

    Nothing is remembered for longer than a step, so of a recording that begins in the middle of an episode only the
    first reward is not what the environment gave. A reward is not known where the step before had ended the episode:
    there the environment would have been reset.
    """

    names: tuple[str, ...]  # of the fields that ``paid`` and ``over`` read
    paid: Paid
    over: Over = never

    def __call__(
        self, obs: Mapping[str, NDArray[Any]], action: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Rewards [L] of steps from a reset on, and whether each is known [L]; 0 where it is not."""
        reward, known = np.zeros(len(action)), np.ones(len(action), np.bool_)  # the reset's is 0
        known[1:] = ~self.terminal(obs)[:-1]
        before, now = self._fields(obs, slice(None, -1)), self._fields(obs, slice(1, None))
        reward[1:] = self.paid(before, action[:-1].astype(np.float64), now)
        return np.where(known, reward, 0.0).astype(np.float32), known

    def terminal(self, obs: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
        """Whether the task ends for good with each observation [L]."""
        return self.over(self._fields(obs, slice(None)))

    def _fields(self, obs: Mapping[str, NDArray[Any]], steps: slice) -> Fields:
        return {name: obs[name][steps].astype(np.float64) for name in self.names}


def step_rewards(spec: AgentSpec, names: tuple[str, ...], paid: Paid, over: Over = never) -> StepRewards | None:
    """`StepRewards` from these fields; None where ``spec`` does not have them all, as with pictures alone."""
    observed = {field.name for field in spec.observations}
    return StepRewards(names, paid, over) if observed.issuperset(names) else None
