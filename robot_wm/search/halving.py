"""The halving planner: sequential halving of first actions, each phase one batch.

Shape letters as in `robot_wm.search.plan`; P candidates that are left, R rolls of all phases together.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robot_wm.search.latent_model import LatentModel
from robot_wm.search.plan import Candidates, PlannerConfig, PlanOutput, Start
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
    after it, unless the actor's own sequence scores as much; ``value`` is the return of just that sequence, since the
    robot's actor is its mode, too. ``scores`` are the means of each candidate's rolls.
    """

    order: Tensor

    def __init__(self, model: LatentModel, config: HalvingConfig) -> None:
        super().__init__()
        self.config = config
        self.candidates = Candidates(model, config)
        self.noise_shape = (1, sum(config.phases), config.depth, model.action_dim)  # [1, R, K, A]
        self.register_buffer("order", torch.arange(config.candidates), persistent=False)  # [N]

    def forward(self, latent: Tensor, noise: Tensor) -> PlanOutput:
        """Latent [B, L] and noise [B, R, K, A], standard normal or Gumbel where discrete, phase after phase.

        Of the first phase the first actions' noise is read, of the others that of the actions after it.
        """
        batch, _, depth, dim = noise.shape
        first, *later = noise.split(self.config.phases, 1)
        start = self.candidates.start(latent, first[:, :, 0])
        roll = self.candidates.roll(start, [None] * (depth - 1))
        clean = roll.score.view(batch, -1)  # [B, N] without noise
        mean, scores = clean, clean  # [B, P], [B, N]
        left = torch.eye(len(self.order), device=noise.device).expand(batch, -1, -1)  # [B, P, N] one-hot
        for done, fresh in enumerate(later, start=1):
            kept = ranked(mean, self.order[: fresh.shape[1]])  # [B, P', P] one-hot
            start, left = _kept(start, kept), torch.bmm(kept, left)
            draws = (fresh[:, :, 1:] * self.config.interior).flatten(0, 1).unbind(1)
            again = self.candidates.roll(start, draws).score.view(batch, -1)  # [B, P']
            mean = _row(kept, mean)
            mean = mean + (again - mean) / (done + 1.0)
            # Of those that are left the mean takes the place of the old one.
            scores = scores * (1.0 - left.sum(1)) + torch.bmm(mean.unsqueeze(1), left).squeeze(1)
        winner = torch.bmm(ranked(mean, self.order[:1]), left).squeeze(1)  # [B, N] one-hot
        advantage = ((clean - clean[:, :1]) * winner).sum(-1)  # [B]
        # The winner, or candidate 0 where that one is as good.
        better = torch.sign(advantage.clamp(min=0.0)).unsqueeze(-1)  # [B, 1] 1 or 0
        chosen = winner * better + self.candidates.own * (1.0 - better)  # [B, N]
        sequences = torch.cat(roll.actions, -1).view(batch, -1, depth * dim)
        plan = torch.bmm(chosen.unsqueeze(1), sequences).view(batch, depth, dim)
        value = (chosen * clean).sum(-1)
        return PlanOutput(action=plan[:, 0], value=value, scores=scores, plan=plan, gain=value - clean[:, 0])


def _row(kept: Tensor, values: Tensor) -> Tensor:
    """kept [B, P', P] one-hot, values [B, P] -> [B, P']."""
    return torch.bmm(kept, values.unsqueeze(-1)).squeeze(-1)


def _kept(start: Start, kept: Tensor) -> Start:
    """Rows of B*P candidates -> those of the B*P' that are kept; one product carries all of them."""
    fields = {name: field for name, field in start._asdict().items() if field is not None}
    columns = [field.view(-1, kept.shape[-1], field[0].numel()) for field in fields.values()]
    parts = torch.bmm(kept, torch.cat(columns, -1)).split([column.shape[-1] for column in columns], -1)
    rows = (part.reshape(-1, *field.shape[1:]) for part, field in zip(parts, fields.values(), strict=True))
    return start._replace(**dict(zip(fields, rows, strict=True)))
