"""One step of all environments, as it travels from a collector to the learner.

Shape letters: N environments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from robot_wm.step import Steps
from robot_wm.training.pool_slots import PoolStep


@dataclass(frozen=True, kw_only=True)
class Transition(PoolStep, Steps[NDArray[Any]]):
    """A pool's step and what was done after it: the SI command or one-hot ``action``, zeros where ``is_last``."""

    stored: dict[str, NDArray[Any]]  # name -> [N, *shape] what the agent keeps beside this step
    policy: str  # who acted: 'random' or the learner's step

    @property
    def envs(self) -> int:
        """N."""
        return int(self.reward.shape[0])
