"""MuZero's networks: h from observations to a latent, g from latent and action to the next one, f from a latent to
policy and value (Schrittwieser et al., Nature 2020).

Shape letters: N rows, L numbers of a latent, A action dimensions, U units, P numbers of a projection.
Latents are float32; products compute in the dtype of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from robot_wm.muzero.config import MuZeroConfig
from robot_wm.nn.encoder import Encoder, Inputs
from robot_wm.nn.heads import FlagHead, Policy, PolicyHead, ScalarHead
from robot_wm.nn.layers import MLP, Dense, Linear
from robot_wm.nn.value_scaling import ScaledTwoHot


def simplex(logits: Tensor, group: int) -> Tensor:
    """Softmax over each ``group`` successive numbers: [..., L] -> [..., L] float32.

    SimNorm of TD-MPC2 (Hansen et al. 2024). A latent of it is bounded however long the model is unrolled, without
    statistics of a batch.
    """
    return torch.softmax(logits.float().unflatten(-1, (-1, group)), -1).flatten(-2)


class Representation(nn.Module):
    """h: observations to a latent."""

    def __init__(self, config: MuZeroConfig, inputs: Inputs) -> None:
        super().__init__()
        self.group = config.simplex
        self.encoder = Encoder(
            inputs,
            units=config.units,
            layers=config.layers,
            channels=[config.depth * m for m in config.image_multipliers],
            kernel=config.image_kernel,
        )
        self.out = Linear(self.encoder.size, config.latent)

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        """obs[name] [N, *input shape] -> latent [N, L] float32."""
        return simplex(self.out(self.encoder(obs, self.out.weight.dtype)), self.group)


class Step(NamedTuple):
    """What comes of an action, as logits."""

    latent: Tensor  # [N, L] float32, where it leads
    reward: Tensor  # [N, bins] float32
    cont: Tensor  # [N] float32: that the episode goes on


class Dynamics(nn.Module):
    """g: latent and action to the next latent, the reward on the way and whether the episode goes on there.

    One residual trunk serves all three: a search asks for it once a simulated step and waits for each.
    """

    def __init__(self, config: MuZeroConfig, action_dim: int) -> None:
        super().__init__()
        self.group = config.simplex
        units = config.units
        self.first = Dense(config.latent + action_dim, units)
        self.blocks = nn.ModuleList(Dense(units, units) for _ in range(config.layers - 1))
        self.out = Linear(units, config.latent)
        self.reward = ScalarHead(
            units, units=units, layers=config.reward_layers, twohot=ScaledTwoHot(config.bins, config.reward_support)
        )
        self.cont = FlagHead(units, units=units, layers=config.reward_layers)

    def trunk(self, latent: Tensor, action: Tensor) -> Tensor:
        """latent [N, L] and action [N, A] -> [N, U] in the dtype of the weights."""
        x = self.first(torch.cat([latent, action], -1).to(self.first.weight.dtype))
        for block in self.blocks:
            x = x + block(x)
        return x

    def lead(self, trunk: Tensor) -> Tensor:
        """Trunk [N, U] -> next latent [N, L] float32."""
        return simplex(self.out(trunk), self.group)

    def forward(self, latent: Tensor, action: Tensor) -> Step:
        """latent [N, L], action [N, A] in [-1, 1] or one-hot."""
        trunk = self.trunk(latent, action)
        return Step(self.lead(trunk), self.reward(trunk), self.cont(trunk))


class Networks(nn.Module):
    """h, g and f: all that acting and searching need, and all that a target network is a copy of."""

    def __init__(self, config: MuZeroConfig, inputs: Inputs, action_dim: int, discrete: bool) -> None:
        super().__init__()
        self.representation = Representation(config, inputs)
        self.dynamics = Dynamics(config, action_dim)
        self.actor = PolicyHead(
            config.latent,
            action_dim,
            units=config.units,
            layers=config.layers,
            scale=config.policy_scale,
            min_std=config.min_std,
            max_std=config.max_std,
            discrete=discrete,
        )
        self.critic = ScalarHead(
            config.latent,
            units=config.units,
            layers=config.layers,
            twohot=ScaledTwoHot(config.bins, config.value_support),
        )

    @property
    def dtype(self) -> torch.dtype:
        """What matrix products compute in; norms, distributions and latents stay float32."""
        return self.dynamics.out.weight.dtype

    def policy(self, latent: Tensor) -> Policy:
        """Over actions [N, A] at latents [N, L]."""
        return self.actor(latent.to(self.dtype))  # type: ignore[no-any-return]

    def value_logits(self, latent: Tensor) -> Tensor:
        """Latents [N, L] -> [N, bins] float32; what they stand for tells ``critic.twohot``."""
        return self.critic(latent.to(self.dtype))  # type: ignore[no-any-return]

    def value(self, latent: Tensor) -> Tensor:
        """Latents [N, L] -> expected discounted return [N] float32, reward units."""
        return self.critic.mean(latent.to(self.dtype))


class Consistency(nn.Module):
    """Heads by which what g predicts is held to what h sees; used in training only.

    As SimSiam (Chen and He 2021) and EfficientZero (Ye et al. 2021): the predictor's answer to the projection of g's
    latent is compared with the projection of h's, which has no gradient.
    """

    def __init__(self, config: MuZeroConfig) -> None:
        super().__init__()
        inner, outer = config.projection_units, config.projection
        self.projector, self.projected = MLP(config.latent, inner, 2), Linear(inner, outer)
        self.predictor, self.predicted = MLP(outer, inner, 1), Linear(inner, outer)

    def project(self, latent: Tensor) -> Tensor:
        """Latents [N, L] -> [N, P] float32."""
        return self._projection(latent).float()

    def predict(self, latent: Tensor) -> Tensor:
        """Latents of g [N, L] -> the projection that is expected of h's there, [N, P] float32."""
        return self.predicted(self.predictor(self._projection(latent))).float()  # type: ignore[no-any-return]

    def _projection(self, latent: Tensor) -> Tensor:
        return self.projected(self.projector(latent.to(self.projected.weight.dtype)))  # type: ignore[no-any-return]


def scaled_gradient(x: Tensor, scale: float) -> Tensor:
    """``x`` itself, with ``scale`` times its gradient: MuZero halves that of a latent before each unrolled step."""
    return x * scale + x.detach() * (1.0 - scale)
