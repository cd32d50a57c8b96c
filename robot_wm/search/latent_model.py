"""LatentModel: what a search asks of a learned model, MuZero's or a trained Dreamer's.

Shape letters: N states side by side, L numbers of a latent, A action dimensions, E numbers of what a step shows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple, Protocol

from torch import Tensor, nn

from robot_wm.nn.heads import Policy


class Prediction(NamedTuple):
    """What a model thinks of a latent: f of Schrittwieser et al. 2020, or Dreamer's actor and critic."""

    policy: Policy  # over actions [N, A]: where a search looks first
    value: Tensor  # [N] float32 expected discounted return, reward units


class Transition(NamedTuple):
    """What comes of an action: g of Schrittwieser et al. 2020, then f of where it led."""

    latent: Tensor  # [N, L] float32
    reward: Tensor  # [N] float32, reward units
    discount: Tensor  # [N] float32: the discount of a step times the probability that the episode goes on
    prediction: Prediction  # at that latent


class LatentModel(Protocol):
    """Pure and of static shapes: no randomness, no branch on values, so that a search can be captured or exported.

    Actions are the model's: in [-1, 1], or one-hot where ``discrete``.
    """

    action_dim: int  # A
    discrete: bool

    def predict(self, latent: Tensor) -> Prediction:
        """Policy and value at latents [N, L]."""

    def step(self, latent: Tensor, action: Tensor) -> Transition:
        """Answer actions [N, A] at latents [N, L]."""


class Outcome(NamedTuple):
    """What a step is worth."""

    reward: Tensor  # [N] float32, reward units
    discount: Tensor  # [N] float32, as in Transition


class StagedModel(nn.Module, ABC):
    """A LatentModel in parts, for who does not need all of it at every step.

    A planner asks for the policy at some latents, for the value at others, and for the rewards of all steps at once.
    """

    action_dim: int
    discrete: bool

    @abstractmethod
    def lead(self, latent: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Where actions [N, A] lead from latents [N, L], or from one [1, L] that they share.

        Returns the next latent [N, L] and what the step shows [N, E], from which `outcome` tells what it is worth.
        """

    @abstractmethod
    def outcome(self, shown: Tensor) -> Outcome:
        """Reward and discount of steps, of which [N, E] is shown."""

    @abstractmethod
    def policy(self, latent: Tensor) -> Policy:
        """Over actions [N, A] at latents [N, L]."""

    @abstractmethod
    def value(self, latent: Tensor) -> Tensor:
        """Expected discounted return [N] at latents [N, L], reward units."""

    def predict(self, latent: Tensor) -> Prediction:
        """See LatentModel."""
        return Prediction(self.policy(latent), self.value(latent))

    def step(self, latent: Tensor, action: Tensor) -> Transition:
        """See LatentModel."""
        after, shown = self.lead(latent, action)
        return Transition(after, *self.outcome(shown), self.predict(after))
