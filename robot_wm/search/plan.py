"""What a planner is told and what it answers, and what planners share: first actions, and rolling on from them.

A planner tries candidate action sequences in a learned model, side by side, and improves the action that the actor
would take. It is one graph of static shapes: no randomness, no branch on values, no loop.

Shape letters: B roots, N candidates, M = B*N rows, K steps of a plan, A action dimensions, L numbers of a latent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from robot_wm.nn.categorical import draw
from robot_wm.nn.heads import Policy
from robot_wm.search.latent_model import StagedModel
from robot_wm.search.ranks import ranked

_AHEAD_OF_ALL = 1e4  # no logit and no noise comes near it, and half precision still holds it


class PlanOutput(NamedTuple):
    """What a planner answers; candidate 0 is always the actor's own sequence, its mode from step to step."""

    action: Tensor  # [B, A] in [-1, 1], or one-hot
    value: Tensor  # [B] expected discounted return of the plan, reward units
    scores: Tensor  # [B, N] expected discounted return of each candidate
    plan: Tensor  # [B, K, A] the action sequence, of which row 0 is ``action``
    gain: Tensor  # [B] ``value`` less that of the actor's own sequence, never below 0


@dataclass(frozen=True, kw_only=True)
class PlannerConfig:
    """What candidates are made of; raises ValueError naming the field that cannot be.

    Candidates stay near the actor, since a learned model is right where it was trained: every action is drawn from the
    policy at the latent where it is taken, and only first ones are drawn wider. With ``noise`` of at most z, a first
    action lies within ``widening * z`` standard deviations of the policy's mean, a later one within ``interior * z``.
    """

    candidates: int = 16  # N
    depth: int = 5  # K, control steps
    policy_share: float = 0.25  # of the candidates, the share whose first action is the policy's own
    widening: float = 3.0  # of the others: factor of the first action's standard deviation
    interior: float = 0.0  # factor of the standard deviation (of Gumbel noise where discrete) after the first action
    # Share of the actor's own return (of 1 reward unit, where that is less) below which an advantage is the critic's
    # noise: without it a planner follows noise wherever all candidates are about as good.
    least_gain: float = 0.005

    def __post_init__(self) -> None:
        if self.candidates < 2:
            raise ValueError(f"candidates must be at least 2, the actor's own and another; got {self.candidates}")
        if self.depth < 1:
            raise ValueError(f"depth must be at least 1 control step, got {self.depth}")
        if not 0.0 <= self.policy_share <= 1.0:
            raise ValueError(f"policy_share must be from 0 to 1, got {self.policy_share:g}")
        if not (math.isfinite(self.least_gain) and self.least_gain > 0.0):
            raise ValueError(f"least_gain must be above 0 and finite, got {self.least_gain:g}")
        for name in ("widening", "interior"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0.0):
                raise ValueError(f"{name} must be at least 0 and finite, got {value:g}")


class Start(NamedTuple):
    """Where rows stand after their first action: the model answers it once, however often they are rolled on."""

    latent: Tensor  # [M, L]
    first: Tensor  # [M, A] of the policy there: mean or logits
    std: Tensor | None  # [M, A]


class Roll(NamedTuple):
    """Rows rolled through the model, K steps or those after the first."""

    actions: list[Tensor]  # [M, A] each
    shown: list[Tensor]  # [M, E] each: what the model's `outcome` is told
    latent: Tensor  # [M, L] at the end


class Candidates(nn.Module):
    """First actions of N candidates, and how they are rolled on.

    Continuous: the mode, then the policy's own draws, then draws of a wider policy, as in EfficientZero V2 (Wang et
    al. 2024, 4 + 12). Discrete: distinct actions as far as there are, the mode first, then in the order of logits plus
    Gumbel noise, which is a draw without replacement (Danihelka et al. 2022); with more candidates than actions the
    order repeats, and those candidates differ by what follows.
    """

    widths: Tensor
    wanted: Tensor
    own: Tensor

    def __init__(self, model: StagedModel, config: PlannerConfig) -> None:
        super().__init__()
        self.model, self.config = model, config
        count = config.candidates
        own = max(1, round(count * config.policy_share))  # the mode is the policy's
        widths = torch.full((count, config.depth, 1), float(config.interior))
        if model.discrete:  # who repeats a first action and does not differ after it either adds nothing
            widths[model.action_dim :] = max(config.interior, 1.0)
        widths[:, 0] = config.widening
        widths[:own, 0] = 1.0
        widths[0] = 0.0
        self._drawn_later = bool(widths[:, 1:].any())
        self.register_buffer("widths", widths, persistent=False)  # [N, K, 1]
        self.register_buffer("own", torch.eye(1, count), persistent=False)  # [1, N] one-hot: candidate 0
        # Of candidates that begin alike the first alone takes that step.
        self.distinct = min(count, model.action_dim) if model.discrete else count
        self.register_buffer("wanted", torch.arange(count) % self.distinct, persistent=False)  # [N] rank of each

    def least_gain(self, scores: Tensor) -> Tensor:
        """How much better than the actor's own of the scores [B, N] is better [B, 1], reward units."""
        return self.config.least_gain * scores[:, :1].abs().clamp(min=1.0)

    def later(self, noise: Tensor) -> list[Tensor | None]:
        """noise [B, N, K, A], standard normal or Gumbel -> that of later steps, K-1 times [M, A], or None for none."""
        if not self._drawn_later:
            return [None] * (self.config.depth - 1)
        return list((noise[:, :, 1:] * self.widths[:, 1:]).flatten(0, 1).unbind(1))

    def start(self, latent: Tensor, noise: Tensor) -> tuple[Roll, Start]:
        """Take the first actions at roots [B, L]; noise [B, N, A] of that step, not scaled yet."""
        noise = noise * self.widths[:, 0]
        policy = self.model.policy(latent)
        if policy.std is None:
            action = self._distinct(policy.first, noise)  # [B, A, A] or [B, N, A]
        else:
            action = bounded(policy.first.unsqueeze(1) + policy.std.unsqueeze(1) * noise)  # [B, N, A]
        action = action.flatten(0, 1)
        if len(latent) > 1:  # one root is shared as it is
            latent = latent.repeat_interleave(self.distinct, 0)
        after, shown = self.model.lead(latent, action)
        policy = self.model.policy(after)
        std = None if policy.std is None else self._repeated(policy.std)
        start = Start(self._repeated(after), self._repeated(policy.first), std)
        return Roll([self._repeated(action)], [self._repeated(shown)], start.latent), start

    def _repeated(self, rows: Tensor) -> Tensor:
        """Of those that begin differently [B * min(N, A), *] to all candidates [M, *]."""
        if self.distinct == self.config.candidates:
            return rows
        return rows.view(-1, self.distinct, rows.shape[-1])[:, self.wanted].flatten(0, 1)

    def _distinct(self, logits: Tensor, noise: Tensor) -> Tensor:
        """Logits [B, A], of the candidates' Gumbel noise [B, N, A] that of the last -> one-hot [B, min(N, A), A]."""
        # One draw orders all candidates, so one row of noise is enough.
        return ranked(logits + noise[:, -1] + draw(logits) * _AHEAD_OF_ALL, self.wanted[: self.distinct])

    def roll(self, start: Start, noise: Sequence[Tensor | None]) -> Roll:
        """Let the policy act, from ``start`` on; noise of each step [M, A] as it is added, or None for the mode."""
        latent, actions, shown = start.latent, [], []
        for step, fresh in enumerate(noise):
            policy = self.model.policy(latent) if step else Policy(start.first, start.std)
            action = policy.mode() if fresh is None else policy.sample(fresh)
            actions.append(action if fresh is None or self.model.discrete else bounded(action))
            latent, told = self.model.lead(latent, actions[-1])
            shown.append(told)
        return Roll(actions, shown, latent)

    def outcomes(self, shown: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """What steps [M, E] are worth, all at once: rewards and discounts [1, M] of each."""
        found = self.model.outcome(torch.cat(list(shown)))
        reward, discount = (part.view(len(shown), -1).split(1) for part in found)
        return list(reward), list(discount)


def discounted(reward: Sequence[Tensor], discount: Sequence[Tensor], value: Tensor) -> Tensor:
    """The return of steps that end at ``value``, any shape that all share."""
    for gained, goes_on in zip(reversed(reward), reversed(discount), strict=True):
        value = gained + goes_on * value
    return value


def bounded(action: Tensor) -> Tensor:
    """Any shape, cut to [-1, 1]; NaN stays NaN, which a GPU's Min and Max would turn into a command."""
    return action / torch.clamp(action.abs(), min=1.0)
