"""One step of all environments of a collector, as it travels to the learner.

Shape letters: N environments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.step import Steps
from robot_wm.training.pool_slots import PoolStep


@dataclass(frozen=True, kw_only=True)
class Transition(PoolStep, Steps[NDArray[Any]]):
    """A pool's step and what was done after it: the SI command or one-hot ``action``, zeros where ``is_last``."""

    stored: dict[str, NDArray[Any]]  # name -> [N, *shape] what the agent keeps beside this step
    policy: str  # who acted: 'random' or the learner's step
    first_stream: int = 0  # of the first environment; the others' follow

    @property
    def envs(self) -> int:
        """N."""
        return int(self.reward.shape[0])

    @property
    def streams(self) -> NDArray[np.int64]:
        """[N] which of the run's streams of experience each row goes on with."""
        return np.arange(self.first_stream, self.first_stream + self.envs, dtype=np.int64)
