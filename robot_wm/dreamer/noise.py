"""All randomness of one update, drawn before it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robot_wm.dreamer.config import DreamerConfig
from robot_wm.nn.compiled import cell


@dataclass(frozen=True)
class Noise:
    """Latents are drawn as ``argmax(probs * odds)`` with ``odds = exp(Gumbel)``; ones are greedy."""

    posterior: Tensor  # [T, B, S, C] odds
    prior: Tensor  # [H, T*B, S, C] odds
    action: Tensor  # [H, T*B, A] standard normal, or Gumbel when discrete

    @classmethod
    def draw(
        cls, config: DreamerConfig, *, batch: int, length: int, action: int, discrete: bool, generator: torch.Generator
    ) -> Noise:
        """Draw for B = batch sequences of T = length trained steps, on the generator's device."""
        device, rows = generator.device, batch * length
        latent = (config.stoch, config.classes)
        odds = torch.empty((rows * (config.horizon + 1), *latent), device=device)
        odds = cell(_odds, device)(odds.uniform_(generator=generator))
        actions = torch.empty((config.horizon, rows, action), device=device)
        if discrete:
            actions.exponential_(generator=generator).log_().neg_()
        else:
            actions.normal_(generator=generator)
        return cls(
            posterior=odds[:rows].view(length, batch, *latent),
            prior=odds[rows:].view(config.horizon, rows, *latent),
            action=actions,
        )


def _odds(uniform: Tensor) -> Tensor:
    """exp(Gumbel) = -1 / log(uniform), in place; several times faster on a CPU than drawing exponentials."""
    return uniform.log_().neg_().reciprocal_()
