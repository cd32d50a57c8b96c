"""A MuZero model as a planner in an engine asks it: many rows, fewer and larger products.

Shape letters: N rows, L numbers of a latent, A action dimensions, U units.
"""

from __future__ import annotations

from torch import Tensor

from robot_wm.muzero.latent_model import MuZeroLatentModel
from robot_wm.muzero.networks import simplex
from robot_wm.nn.heads import Policy
from robot_wm.search.latent_model import Outcome, StagedModel
from robot_wm_export.deployed.rows import FlagRows, PolicyRows, ScalarRows
from robot_wm_export.muzero.deployed_tick import DeployedDynamics


class DeployedMuZeroModel(StagedModel):
    """The numbers of ``MuZeroLatentModel``, on copies of its weights as they are now (float32)."""

    def __init__(self, model: MuZeroLatentModel) -> None:
        super().__init__()
        self.action_dim, self.discrete, self.discount = model.action_dim, model.discrete, model.discount
        networks = model.networks
        self.group = networks.dynamics.group
        self.dynamics = DeployedDynamics(networks.dynamics)
        self.reward, self.cont = ScalarRows(networks.dynamics.reward), FlagRows(networks.dynamics.cont)
        self.actor, self.critic = PolicyRows(networks.actor), ScalarRows(networks.critic)

    def lead(self, latent: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """See StagedModel; a step shows the dynamics' trunk [N, U]."""
        trunk = self.dynamics.trunk(latent, action)
        return simplex(self.dynamics.out(trunk), self.group), trunk

    def outcome(self, shown: Tensor) -> Outcome:
        """See StagedModel."""
        return Outcome(self.reward(shown), self.discount * self.cont(shown))

    def policy(self, latent: Tensor) -> Policy:
        """See StagedModel."""
        return self.actor(latent)  # type: ignore[no-any-return]

    def value(self, latent: Tensor) -> Tensor:
        """See StagedModel."""
        return self.critic(latent)  # type: ignore[no-any-return]
