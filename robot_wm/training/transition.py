"""One step of all environments, as it travels from a collector to the learner.

Shape letters: N environments, A action, K figures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Transition:
    """Raw SI values of one step; ``action`` is taken after ``obs``, and ``reward`` and the flags arrived with it."""

    obs: dict[str, NDArray]  # name -> [N, *shape]
    action: NDArray[np.float32]  # [N, A] SI command, or one-hot; zeros where is_last
    reward: NDArray[np.float32]  # [N]
    is_first: NDArray[np.bool_]  # [N]
    is_last: NDArray[np.bool_]  # [N]
    is_terminal: NDArray[np.bool_]  # [N]
    success: NDArray[np.float32]  # [N] 1, 0, or NaN where the task told none
    seed: NDArray[np.int64]  # [N] with which the running episode was reset
    figures: NDArray[np.float64]  # [N, K] of the episode where is_last, NaN elsewhere; see `robot_wm.figures`
    stored: dict[str, NDArray]  # name -> [N, *shape] what the agent keeps beside this step
    policy: str  # who acted: 'random' or the learner's step

    @property
    def envs(self) -> int:
        """N."""
        return int(self.reward.shape[0])
