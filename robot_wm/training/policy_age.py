"""How old the weights are that actors act by, when their steps arrive."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from robot_wm.training.experience import Experience, Finished
from robot_wm.training.transition import Transition


class PolicyAge:
    """Hears of every transition and tells how many updates had been made since its weights, over a log's interval."""

    def __init__(self, experience: Experience, updates: Callable[[], int]) -> None:
        """``updates`` tells how many have been made."""
        self._updates, self._ages = updates, list[int]()
        experience.listeners.append(self._hear)

    def _hear(self, transition: Transition, finished: Sequence[Finished]) -> None:
        if transition.policy.isdecimal():  # not where nobody's weights acted
            self._ages.append(self._updates() - int(transition.policy))

    def scalars(self) -> dict[str, float]:
        """``actor/age_updates`` and the oldest, since the last call; none where no policy has acted."""
        ages, self._ages = self._ages, []
        return {"actor/age_updates": float(np.mean(ages)), "actor/age_updates_max": float(max(ages))} if ages else {}
