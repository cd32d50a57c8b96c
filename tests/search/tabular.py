"""A random model in tables: every array library reads the same numbers, so that their searches must agree."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from robot_wm.search.nodes import RecurrentOutput
from robot_wm.search.tree import RootOutput


class Tables(NamedTuple):
    """A Markov decision process of S states and A actions, with a prior and a value. Embedding: the state [B]."""

    following: Any  # [S, A] int64 where an action leads
    reward: Any  # [S, A]
    discount: Any  # [S, A], some of them 0: the episode ends
    prior_logits: Any  # [S, A]
    value: Any  # [S]

    @classmethod
    def random(cls, seed: int, *, states: int, actions: int) -> Tables:
        rng = np.random.default_rng(seed)
        ends = rng.random((states, actions)) < 0.1
        return cls(
            rng.integers(0, states, (states, actions)),
            rng.normal(size=(states, actions)).astype(np.float32),
            np.where(ends, 0.0, rng.uniform(0.9, 1.0, (states, actions))).astype(np.float32),
            rng.normal(size=(states, actions)).astype(np.float32),
            rng.normal(size=states).astype(np.float32),
        )

    def root(self, state: Any) -> RootOutput:
        """Of states [B]."""
        return RootOutput(self.prior_logits[state], self.value[state], state)

    def recurrent_fn(self, action: Any, state: Any) -> tuple[RecurrentOutput, Any]:
        """Of actions [B] in states [B]."""
        after = self.following[state, action]
        output = RecurrentOutput(
            self.reward[state, action], self.discount[state, action], self.prior_logits[after], self.value[after]
        )
        return output, after
