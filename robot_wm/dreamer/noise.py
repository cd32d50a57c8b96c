"""All randomness of one update, drawn before it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robot_wm.dreamer.config import DreamerConfig
from robot_wm.nn.compiled import fused


@dataclass(frozen=True)
class Noise:
    """Latents are drawn by ``categorical.sample``; ones are greedy."""

    posterior: Tensor  # [T, B, S, C] exp(Gumbel)
    prior: Tensor  # [H, T*B, S, C] exp(Gumbel)
    action: Tensor  # [H, T*B, A] standard normal, or Gumbel when discrete

    @classmethod
    def draw(
        cls, config: DreamerConfig, *, batch: int, length: int, action: int, discrete: bool, generator: torch.Generator
    ) -> Noise:
        """Draw for B = batch sequences of T = length trained steps, on the generator's device."""
        device, rows = generator.device, batch * length
        latent = (config.stoch, config.classes)
        uniform = torch.empty((rows * (config.horizon + 1), *latent), device=device).uniform_(generator=generator)
        exp_gumbel = fused(_exp_gumbel, device)(uniform)
        actions = torch.empty((config.horizon, rows, action), device=device)
        if discrete:
            actions.exponential_(generator=generator).log_().neg_()
        else:
            actions.normal_(generator=generator)
        return cls(
            posterior=exp_gumbel[:rows].view(length, batch, *latent),
            prior=exp_gumbel[rows:].view(config.horizon, rows, *latent),
            action=actions,
        )


def _exp_gumbel(uniform: Tensor) -> Tensor:
    """exp(Gumbel) = -1 / log(uniform), in place; several times faster on a CPU than drawing exponentials."""
    return uniform.log_().neg_().reciprocal_()
