"""A trained Dreamer as a model that searches and planners ask: nothing of it is trained for that.

Shape letters: N states, D deter, S stoch groups, C classes, L = D + S*C, A action dimensions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.dreamer.pessimism import Ensemble, disagreement
from robot_wm.nn.heads import Policy
from robot_wm.search.latent_model import Outcome, StagedModel


class DreamerLatentModel(StagedModel):
    """A `robot_wm.search.latent_model.LatentModel`; a latent is deter and the one-hot stoch side by side [N, L].

    A step is the GRU and the prior's most likely classes. Its reward and its discount are the heads' at the latent it
    leads to, as in imagination, and the discount is the continue head's probability alone: that head learns
    ``(1 - terminal) * (1 - 1 / discount_horizon)``, so the discount of a step is in it.

    What the model has not seen must not look good: with an ``ensemble`` (`robot_wm.dreamer.pessimism`) each reward is
    less ``penalty`` times what its members disagree about, in nats. ``penalty`` in reward units a nat, by default what
    the agent was trained with; raises ValueError for one that is negative, or not 0 without an ensemble.

    With ``generator`` the prior's classes are drawn from it, which is no longer pure: for who asks what the model
    expects, and not what it holds most likely.
    """

    def __init__(
        self,
        agent: DreamerAgent,
        ensemble: Ensemble | None = None,
        penalty: float | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.agent, self.ensemble, self._generator = agent, ensemble, generator
        self.action_dim, self.discrete = agent.action_dim, agent.discrete
        self.penalty = penalty if penalty is not None else agent.config.pessimism if ensemble else 0.0
        if not (math.isfinite(self.penalty) and self.penalty >= 0.0):
            raise ValueError(f"penalty must be at least 0 reward units a nat and finite, got {self.penalty:g}")
        if self.penalty and ensemble is None:
            raise ValueError(f"penalty is {self.penalty:g} reward units a nat, but there is no ensemble to disagree")

    def lead(self, latent: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """See StagedModel; a step shows the latent it leads to, and what the ensemble disagreed about on the way."""
        agent, config = self.agent, self.agent.config
        latent = latent.expand(len(action), -1)
        deter, stoch = latent.split([config.deter, config.stoch * config.classes], -1)
        after = torch.cat(agent.advance(deter, stoch, action, self._exp_gumbel(latent)), -1)  # [N, L]
        if self.ensemble is None or not self.penalty:
            return after, after
        doubt = disagreement(self.ensemble(latent.to(agent.dtype), action))  # [N]
        return after, torch.cat([after, doubt.unsqueeze(-1)], -1)

    def _exp_gumbel(self, latent: Tensor) -> Tensor:
        """exp(Gumbel) that the prior's classes are drawn by: ones, which are greedy, without a generator."""
        if self._generator is None:
            return torch.ones((), device=latent.device)
        config = self.agent.config
        drawn = torch.empty((len(latent), config.stoch, config.classes), device=latent.device)
        return drawn.exponential_(generator=self._generator).reciprocal_()  # [N, S, C]

    def outcome(self, shown: Tensor) -> Outcome:
        """See StagedModel."""
        agent = self.agent
        feature = shown[:, : agent.config.deter + agent.config.stoch * agent.config.classes].to(agent.dtype)
        reward = agent.reward.mean(feature)  # [N]
        if self.ensemble is not None and self.penalty:
            reward = reward - self.penalty * shown[:, -1]
        return Outcome(reward, torch.sigmoid(agent.cont(feature)))

    def policy(self, latent: Tensor) -> Policy:
        """See StagedModel."""
        return self.agent.actor(latent.to(self.agent.dtype))  # type: ignore[no-any-return]

    def value(self, latent: Tensor) -> Tensor:
        """See StagedModel."""
        return self.agent.critic.mean(latent.to(self.agent.dtype))
