"""The halving planner: sequential halving of first actions, each phase one batch.

Shape letters as in `robot_wm.search.plan`; P candidates that are left, R rolls of all phases together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from robot_wm.nn.categorical import draw
from robot_wm.search.latent_model import StagedModel
from robot_wm.search.plan import Candidates, PlannerConfig, PlanOutput, Start, discounted
from robot_wm.search.ranks import ranked


@dataclass(frozen=True, kw_only=True)
class HalvingConfig(PlannerConfig):
    """Settings of the halving planner."""

    interior: float = 0.5  # of the phases after the first

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth < 2:
            raise ValueError(f"depth must be at least 2 control steps to roll a first action again, got {self.depth}")

    @property
    def phases(self) -> tuple[int, ...]:
        """Candidates that each phase rolls: 16, 8, 4, 2."""
        counts = [self.candidates]
        while counts[-1] >= 4:
            counts.append(counts[-1] // 2)
        return tuple(counts)


class HalvingPlanner(nn.Module):
    """Find the best of N first actions, rolling those again that look good (Karnin et al. 2013; DESIGN 5.3).

    The first phase follows every first action with the actor's mode; each phase after it rolls those that are left once
    more, with fresh noise after the first action, and the better half by the mean of all rolls goes on. What a first
    action leads to is the same each time and is asked for once. The plan is the winner's first action and the modes
    after it, unless the actor's own sequence scores about as much; ``value`` is the return of just that sequence,
    since the robot's actor is its mode, too. ``scores`` are the means of each candidate's rolls.
    """

    order: Tensor

    def __init__(self, model: StagedModel, config: HalvingConfig) -> None:
        super().__init__()
        self.config = config
        self.candidates = Candidates(model, config)
        self.noise_shape = (1, sum(config.phases), config.depth, model.action_dim)  # [1, R, K, A]
        self.register_buffer("order", torch.arange(config.candidates), persistent=False)  # [N]

    def forward(self, latent: Tensor, noise: Tensor) -> PlanOutput:
        """Latent [B, L] and noise [B, R, K, A], standard normal or Gumbel where discrete, phase after phase.

        Of the first phase the first actions' noise is read, of the others that of the actions after it.
        """
        candidates, (batch, _, depth, dim) = self.candidates, noise.shape
        first, *later = noise.split(self.config.phases, 1)
        tried, start = candidates.start(latent, first[:, :, 0])
        followed, shown, end = candidates.roll(start, [None] * (depth - 1))
        reward, discount = candidates.outcomes(tried.shown + shown)
        value = candidates.model.value(end).view(1, -1)  # [1, M]
        clean = discounted(reward, discount, value).view(batch, -1)  # [B, N] without noise
        known = _Known(*start, *(part.view(-1, 1) for part in (reward[0], discount[0], clean)))
        scores = mean = clean  # [B, N], [B, P]
        left = torch.eye(len(self.order), device=noise.device).expand(batch, -1, -1)  # [B, P, N] one-hot
        for done, fresh in enumerate(later, start=1):
            kept = ranked(mean, self.order[: fresh.shape[1]])  # [B, P', P] one-hot
            known, left = known.kept(kept), kept if done == 1 else torch.bmm(kept, left)
            draws = (fresh[:, :, 1:] * self.config.interior).flatten(0, 1).unbind(1)
            roll = candidates.roll(Start(known.latent, known.first, known.std), draws)
            value = discounted(*candidates.outcomes(roll.shown), candidates.model.value(roll.latent).view(1, -1))
            again = known.reward + known.discount * value.view(-1, 1)  # [M', 1]
            known = known._replace(mean=known.mean + (again - known.mean) / (done + 1.0))
            mean = known.mean.view(batch, -1)  # [B, P']
            # Of those that are left the mean takes the place of the old one.
            scores = scores * (1.0 - left.sum(1)) + torch.bmm(mean.unsqueeze(1), left).squeeze(1)
        winner = torch.bmm(draw(mean).unsqueeze(1), left).squeeze(1)  # [B, N] one-hot
        advantage = ((clean - clean[:, :1]) * winner).sum(-1)  # [B]
        # The winner, or candidate 0 where that one is about as good.
        believed = advantage.unsqueeze(-1) - candidates.least_gain(clean)  # [B, 1]
        better = torch.sign(believed.clamp(min=0.0))  # [B, 1] 1 or 0
        chosen = winner * better + candidates.own * (1.0 - better)  # [B, N]
        sequences = torch.cat(tried.actions + followed, -1).view(batch, -1, depth * dim)
        plan = torch.bmm(chosen.unsqueeze(1), sequences).view(batch, depth, dim)
        value = (chosen * clean).sum(-1)
        return PlanOutput(action=plan[:, 0], value=value, scores=scores, plan=plan, gain=value - clean[:, 0])


class _Known(NamedTuple):
    """What is kept of M rows while they are in the running."""

    latent: Tensor  # [M, L] where the first action led
    first: Tensor  # [M, A] of the policy there: mean or logits
    std: Tensor | None  # [M, A]
    reward: Tensor  # [M, 1] of the first action
    discount: Tensor  # [M, 1]
    mean: Tensor  # [M, 1] of all rolls so far

    def kept(self, chosen: Tensor) -> _Known:
        """Rows of B*P candidates -> those of B*P', chosen [B, P', P] one-hot; one product carries all of them."""
        fields = {name: field for name, field in self._asdict().items() if field is not None}
        rows = torch.cat(list(fields.values()), -1).view(
            -1, chosen.shape[-1], sum(f.shape[-1] for f in fields.values())
        )
        parts = torch.bmm(chosen, rows).flatten(0, 1).split([field.shape[-1] for field in fields.values()], -1)
        return self._replace(**dict(zip(fields, parts, strict=True)))
