"""A random LatentModel of a few numbers: linear maps and a tanh, continuous or discrete."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robot_wm.nn.heads import Policy
from robot_wm.search.latent_model import Prediction, Transition


class TinyModel(nn.Module):
    def __init__(self, seed: int, *, latent: int = 6, action_dim: int = 3, discrete: bool = False) -> None:
        super().__init__()
        self.action_dim, self.discrete = action_dim, discrete
        draw = torch.Generator().manual_seed(seed)
        for name, shape in (
            ("dynamics", (latent + action_dim, latent)),
            ("first", (latent, action_dim)),
            ("spread", (latent, action_dim)),
            ("value", (latent, 1)),
            ("reward", (latent + action_dim, 1)),
            ("end", (latent, 1)),
        ):
            self.register_buffer(f"{name}_weight", torch.randn(shape, generator=draw))

    def predict(self, latent: Tensor) -> Prediction:
        first = latent @ self.first_weight
        policy = (
            Policy(first, None)
            if self.discrete
            else Policy(first.tanh(), 0.1 + (latent @ self.spread_weight).sigmoid())
        )
        return Prediction(policy, (latent @ self.value_weight)[:, 0])

    def step(self, latent: Tensor, action: Tensor) -> Transition:
        both = torch.cat([latent, action], -1)
        after = (both @ self.dynamics_weight).tanh()
        discount = 0.99 * (2 + after @ self.end_weight).sigmoid()[:, 0]
        return Transition(after, (both @ self.reward_weight)[:, 0], discount, self.predict(after))
