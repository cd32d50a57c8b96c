"""MuZero as a search sees it: see `robot_wm.search.latent_model.LatentModel`.

Shape letters: N states side by side, L numbers of a latent, A action dimensions, U units.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robot_wm.muzero.networks import Networks
from robot_wm.nn.heads import Policy
from robot_wm.search.latent_model import Outcome, StagedModel


class MuZeroLatentModel(StagedModel):
    """g and f on ``networks``, the agent's own or those of its target; ``discount`` is a control step's."""

    def __init__(self, networks: Networks, *, discount: float, action_dim: int, discrete: bool) -> None:
        super().__init__()
        self.networks, self.discount = networks, discount
        self.action_dim, self.discrete = action_dim, discrete

    def lead(self, latent: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """See StagedModel; a step shows the dynamics' trunk [N, U]."""
        dynamics = self.networks.dynamics
        trunk = dynamics.trunk(latent.expand(len(action), -1), action)
        return dynamics.lead(trunk), trunk

    def outcome(self, shown: Tensor) -> Outcome:
        """See StagedModel."""
        dynamics = self.networks.dynamics
        return Outcome(dynamics.reward.mean(shown), self.discount * torch.sigmoid(dynamics.cont(shown)))

    def policy(self, latent: Tensor) -> Policy:
        """See StagedModel."""
        return self.networks.policy(latent)

    def value(self, latent: Tensor) -> Tensor:
        """See StagedModel."""
        return self.networks.value(latent)
