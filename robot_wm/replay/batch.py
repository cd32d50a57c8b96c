"""The batch of sequences that the sampler hands to a learner, in numpy.

Shape letters: B batch, T trained steps, T1 = T + 1 (one context step first), A action.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.step import Steps


@dataclass(frozen=True, kw_only=True)
class SequenceBatch(Steps[NDArray[Any]]):
    """B windows of T1 consecutive steps, each out of one stream.

    ``action[:, t]`` was taken *after* ``obs[:, t]``; ``reward[:, t]`` and the flags arrived *with* ``obs[:, t]``
    (the reward of a reset is 0). A window may contain the end of one episode and the start of the next, marked by
    ``is_first``. Step 0 is context only: what is stored there starts the sequence. ``obs`` is what the model reads,
    scaled or uint8, and ``action`` in [-1, 1] or one-hot, zeros on the last row of an episode.
    """

    # name -> [B, *shape] at step 0 or [B, T1, *shape], as the agent's declaration asks; float16 comes as float32
    stored: dict[str, NDArray[Any]]
    index: NDArray[np.int64]  # [B, T1] names each step for SequenceSampler.write_back, never used twice
    # What the sampler tells of each window, [B] float32: "weight", by which an update counts it (1 where windows are
    # drawn uniformly), and "age", the steps of all streams since its step 1.
    window: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def batch_size(self) -> int:
        """B."""
        return int(self.reward.shape[0])

    @property
    def length(self) -> int:
        """T: trained steps, without the context step."""
        return int(self.reward.shape[1]) - 1
