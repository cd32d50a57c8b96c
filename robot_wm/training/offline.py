"""A run without a step of the environment: it learns from stores alone, and its updates count as steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from robot_wm.learning.agent import Agent
from robot_wm.training.config import TrainConfig
from robot_wm.training.transition import Transition


class NoCollector:
    """Collects nothing, and keeps the actor's noise for a run that goes on with steps."""

    def __init__(self, rng_states: Sequence[torch.Tensor]) -> None:
        self._rng_states = rng_states

    def poll(self) -> list[Transition]:
        """None."""
        return []

    def publish(self, agent: Agent, *, policy: str, random: bool, steps_permitted: int) -> None:
        """Nobody acts."""

    def rng_states(self) -> Sequence[torch.Tensor]:
        """As they were; none where nobody has acted yet."""
        return self._rng_states

    def drain(self) -> list[Transition]:
        """None."""
        return []

    def close(self) -> None:
        """Nothing runs."""


def updates_to_next_mark(config: TrainConfig, progress: int) -> int:
    """Updates from ``progress`` to where the next of what is done every so often, or the end, is due."""
    every = (
        *(config.log_every_steps, config.eval_every_steps, config.predict_every_steps),
        *(config.audit_every_steps, config.checkpoint_every_steps),
    )
    return min(config.steps - progress, *(each - progress % each for each in every if each))
