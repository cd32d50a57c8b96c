"""LatentModel: what a search asks of a learned model, MuZero's or a trained Dreamer's.

Shape letters: N states side by side, L numbers of a latent, A action dimensions.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor

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
