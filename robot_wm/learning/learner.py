"""What learns: a learner as the training loop sees it.

Shape letters: B batch, T trained steps, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robot_wm.learning.agent import Agent
from robot_wm.learning.batch import TensorBatch
from robot_wm.learning.ranks import Ranks
from robot_wm.spec import AgentSpec


class UpdateResult(NamedTuple):
    """What one update gives back; everything stays on the device, and is valid until the next update."""

    metrics: dict[str, Tensor]  # 0-d float32 each
    # For the replay, by the names of ``agent.stored``: [B, T, *shape] of steps 1..T, or of the first of those of the
    # last windows alone (what is drawn for the first time comes first).
    write_back: dict[str, Tensor]
    priority: Tensor | None = None  # [B] how wrong a prediction was in each window, for a sampler with priorities


@dataclass(frozen=True)
class Pictures:
    """What a learner shows of its model, by name."""

    stills: dict[str, NDArray[np.uint8]] = field(default_factory=dict)  # [H, W, 3]
    films: dict[str, NDArray[np.uint8]] = field(default_factory=dict)  # [frames, H, W, 3]


class Learner(Protocol):
    """Trains an agent in place; everything random comes from its seed."""

    compiles: bool  # updates on a CPU, from the next one on; on a GPU they are

    @property
    def agent(self) -> Agent:
        """The agent that is trained."""

    @property
    def device(self) -> torch.device:
        """Where it is trained."""

    def join(self, ranks: Ranks) -> None:
        """Learn with others from the next update on, each from a batch of its own of one size.

        Takes over everything of rank 0 but the source of noise. An update is then that of one learner on all their
        batches together, and every rank's agent stays the same bit for bit.
        """

    def update(self, batch: TensorBatch) -> UpdateResult:
        """One step of the optimiser on B sequences of T trained steps."""

    def recompute_stored(self, batch: TensorBatch) -> dict[str, Tensor]:
        """What the agent keeps beside steps 1..T, [B, T, *shape] by the names of ``agent.stored``, without training.

        Filtered from what is stored at step 0, with the recorded actions, and greedily where the agent draws.
        """

    def report(self, batch: TensorBatch, spec: AgentSpec) -> Pictures:
        """Pictures of what the model makes of these sequences."""

    def first_nonfinite(self) -> str | None:
        """Name what first was NaN or infinite, None where nothing was; waits for the device."""

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that the next update depends on, by name; the agent's tensors begin with ``agent/``."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken; UserError names a tensor that does not fit."""
