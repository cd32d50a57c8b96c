"""The flat planner: N action sequences side by side, K steps deep, one round.

Shape letters as in `robot_wm.search.plan`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robot_wm.nn.categorical import draw
from robot_wm.search.latent_model import StagedModel
from robot_wm.search.plan import Candidates, PlannerConfig, PlanOutput, discounted


@dataclass(frozen=True, kw_only=True)
class FlatConfig(PlannerConfig):
    """Settings of the flat planner."""

    temperature: float = 0.5  # of the weights, in advantages of the best over the actor's own; 0 takes the best alone

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.temperature) and self.temperature >= 0.0):
            raise ValueError(f"temperature must be at least 0 and finite, got {self.temperature:g}")


class FlatPlanner(nn.Module):
    """Improve the actor's action by what K imagined steps say of N sequences (DESIGN 5.3).

    Continuous: the average of the sequences, weighted by a softmax of how much each is better than the actor's own.
    What is not better has no weight, so that equal scores give the actor's action itself and not an average of draws.
    The average has not been rolled itself: ``value`` is the average of the scores, too high where good sequences lie on
    two sides of a bad one (a low temperature averages less). Discrete: the best sequence, if it is better by enough.
    """

    def __init__(self, model: StagedModel, config: FlatConfig) -> None:
        super().__init__()
        self.config, self.discrete = config, model.discrete
        self.candidates = Candidates(model, config)
        self.noise_shape = (1, config.candidates, config.depth, model.action_dim)  # [1, N, K, A]

    def forward(self, latent: Tensor, noise: Tensor) -> PlanOutput:
        """Latent [B, L] and noise [B, N, K, A], standard normal or Gumbel where discrete.

        Zero noise gives a continuous actor its own sequence; discrete candidates are distinct first actions even then,
        in the order of the policy, and the actor's mode follows each.
        """
        candidates, shape = self.candidates, noise.shape[:2]
        (actions, shown, end), start = candidates.start(latent, noise[:, :, 0])
        if draws := candidates.later(noise):
            later = candidates.roll(start, draws)
            actions, shown, end = actions + later.actions, shown + later.shown, later.latent
        value = candidates.model.value(end).view(1, -1)  # [1, M]
        scores = discounted(*candidates.outcomes(shown), value).view(shape)  # [B, N]
        advantage = scores - scores[:, :1]
        weights = self._weights(scores, advantage)  # [B, N]
        sequences = torch.cat(actions, -1).view(*shape, -1)  # [B, N, K*A]
        plan = torch.bmm(weights.unsqueeze(1), sequences).view(shape[0], *noise.shape[2:])  # [B, K, A]
        return PlanOutput(
            action=plan[:, 0],
            value=(weights * scores).sum(-1),
            scores=scores,
            plan=plan,
            gain=(weights * advantage).sum(-1),
        )

    def _weights(self, scores: Tensor, advantage: Tensor) -> Tensor:
        """Both [B, N] -> weights [B, N] that sum to 1."""
        if self.discrete or self.config.temperature == 0.0:
            own = scores[:, :1] + self.candidates.least_gain(scores)
            return draw(torch.cat([own, scores[:, 1:]], -1))
        better = advantage.clamp(min=0.0)
        # In proportion to the best one, not to the spread of all: a few very bad sequences would make all others alike.
        # Faint advantages hardly move the actor.
        best = torch.maximum(better.amax(-1, keepdim=True), self.candidates.least_gain(scores))
        better = better / (self.config.temperature * best)
        most = better.amax(-1, keepdim=True)
        none = torch.exp(-most)  # what a softmax would give to what is no better than the actor
        weights = torch.exp(better - most) - none
        weights = torch.cat([weights[:, :1] + none, weights[:, 1:]], -1)  # the actor's own keeps its share
        return weights / weights.sum(-1, keepdim=True)
