"""A replay buffer half of whose batches are the source's: symmetric sampling, as in RLPD (Ball et al. 2023)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples

from robot_wm_bench.rescue.experience import Experience


class HalfBuffer(ReplayBuffer):
    """The library's buffer for what is new, beside ``prior``, which is never overwritten.

    Half of a batch is drawn from each, mixed, since the learner cuts it into smaller batches; all of it from ``prior``
    while nothing is new.
    """

    def __init__(self, *given: Any, prior: Experience, seed: int, **named: Any) -> None:
        super().__init__(*given, **named)
        self._rng = np.random.default_rng(seed)
        columns = (prior.seen, prior.action, prior.then_seen, prior.terminal[:, None], prior.reward[:, None])
        self._prior = [torch.from_numpy(column) for column in columns]

    def sample(self, batch_size: int, env: Any = None) -> ReplayBufferSamples:
        """``batch_size`` transitions."""
        fresh = batch_size // 2 if self.size() else 0
        drawn = torch.from_numpy(self._rng.integers(len(self._prior[0]), size=batch_size - fresh))
        batch = [column[drawn] for column in self._prior]
        if fresh:
            mixed = torch.from_numpy(self._rng.permutation(batch_size))
            new = super().sample(fresh, env)
            columns = (new.observations, new.actions, new.next_observations, new.dones, new.rewards)
            batch = [torch.cat([old, one])[mixed] for old, one in zip(batch, columns, strict=True)]
        return ReplayBufferSamples(*batch)
