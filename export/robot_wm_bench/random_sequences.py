"""Random sequences that updates are timed with."""

from __future__ import annotations

import torch

from robot_wm.learning.batch import TensorBatch
from robot_wm.learning.config import AgentConfig
from robot_wm.learning.learner import Learner
from robot_wm.spec import AgentSpec


def random_batch(
    learner: Learner, settings: AgentConfig, spec: AgentSpec, *, size: int | None = None, seed: int = 1
) -> TensorBatch:
    """``size`` random sequences that start with a reset, on the learner's device; by default the settings' number.

    Nobody has thought about their steps yet.
    """
    generator, place = torch.Generator().manual_seed(seed), learner.device
    windows, steps = size or settings.batch_size, settings.batch_length + 1

    def drawn(shape: tuple[int, ...], dtype: str) -> torch.Tensor:
        if dtype == "uint8":
            return torch.randint(0, 256, (windows, steps, *shape), generator=generator, dtype=torch.uint8)
        return torch.randn((windows, steps, *shape), generator=generator)

    never = torch.zeros((windows, steps), dtype=torch.bool)
    first = never.clone()
    first[:, 1] = True
    stored = {
        entry.name: torch.zeros(
            (windows, *(() if entry.use == "context" else (steps,)), *entry.shape),
            dtype=torch.uint8 if entry.dtype == "uint8" else torch.float32,
            device=place,
        )
        for entry in learner.agent.stored
    }
    return TensorBatch(
        obs={name: drawn(field.shape, field.dtype).to(place) for name, field in spec.model_inputs().items()},
        action=torch.rand((windows, steps, spec.action_dim), generator=generator).mul_(2).sub_(1).to(place),
        reward=torch.rand((windows, steps), generator=generator).to(place),
        reward_known=~never.to(place),
        is_first=first.to(place),
        is_last=never.to(place),
        is_terminal=never.to(place),
        stored=stored,
        window={"weight": torch.ones(windows, device=place), "age": torch.zeros(windows, device=place)},
    )
