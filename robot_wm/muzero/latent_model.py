"""MuZero as a search sees it: see `robot_wm.search.latent_model.LatentModel`.

Shape letters: N states side by side, L numbers of a latent, A action dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robot_wm.muzero.networks import Networks
from robot_wm.search.latent_model import Prediction, Transition


class MuZeroLatentModel(nn.Module):
    """g and f on ``networks``, the agent's own or those of its target; ``discount`` is a control step's."""

    def __init__(self, networks: Networks, *, discount: float, action_dim: int, discrete: bool) -> None:
        super().__init__()
        self.networks, self.discount = networks, discount
        self.action_dim, self.discrete = action_dim, discrete

    def predict(self, latent: Tensor) -> Prediction:
        """Policy and value at latents [N, L]."""
        return Prediction(self.networks.policy(latent), self.networks.value(latent))

    def step(self, latent: Tensor, action: Tensor) -> Transition:
        """Answer actions [N, A] at latents [N, L]."""
        dynamics = self.networks.dynamics
        trunk = dynamics.trunk(latent, action)
        led = dynamics.lead(trunk)
        return Transition(
            latent=led,
            reward=dynamics.reward.mean(trunk),
            discount=self.discount * torch.sigmoid(dynamics.cont(trunk)),
            prediction=self.predict(led),
        )
