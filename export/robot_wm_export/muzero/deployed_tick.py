"""A MuZero agent's tick as a robot runs it: the numbers of ``MuZeroAgent.tick`` from fewer, larger products.

Shape letters: L numbers of a latent, A action dimensions, U units, E embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from robot_wm.muzero.agent import MuZeroAgent, TickOutput
from robot_wm.muzero.networks import Dynamics, simplex
from robot_wm.nn.layers import Dense
from robot_wm.nn.symlog import symlog
from robot_wm_export.deployed.encoder import DeployedEncoder
from robot_wm_export.deployed.heads import DeployedActor, DeployedCritic
from robot_wm_export.deployed.layers import Chains, Frozen, Level, Product, RowNorm, layers, total


class DeployedTick(nn.Module):
    """``MuZeroAgent.tick`` for one row, on copies of ``agent``'s weights as they are now (float32)."""

    def __init__(self, agent: MuZeroAgent) -> None:
        super().__init__()
        model = agent.model
        h = model.representation
        self.inputs, self.group = agent.inputs, agent.config.simplex
        if self.inputs.vectors:
            first = layers(h.encoder.mlp)[0]
            self.vectors = nn.Sequential(Product([first.weight], [first.bias]), RowNorm(first.norm_scale))
        self.encoder = DeployedEncoder(h.encoder)
        self.latent = Product([h.out.weight], [h.out.bias])
        self.expected = DeployedDynamics(model.dynamics)
        # Policy and value both begin with the latent, and are as wide and deep as each other.
        heads = [layers(model.actor.mlp), layers(model.critic.mlp)]
        self.of_latent = Product([head[0].weight for head in heads], [head[0].bias for head in heads])
        self.heads = Chains(heads)
        self.actor = DeployedActor(model.actor)
        self.critic = DeployedCritic(model.critic)

    def forward(
        self, obs: Mapping[str, Tensor], is_first: Tensor, latent: Tensor, action: Tensor, noise: Tensor
    ) -> TickOutput:
        """As ``MuZeroAgent.step``, with a batch of 1."""
        seen = self.vectors(symlog(self.inputs.vector(obs))) if self.inputs.vectors else None  # [1, U]
        now = simplex(self.latent(self.encoder(obs, seen)), self.group)  # [1, L]
        apart = now - simplex(self.expected(latent, action), self.group)  # [1, L]
        to_action, to_value = self.heads(self.of_latent(now))  # [1, U] each
        return TickOutput(
            latent=now,
            action=self.actor(to_action, noise),
            value=self.critic(to_value),
            surprise=total(apart * apart) * (1.0 - is_first),
        )


class DeployedDynamics(Frozen):
    """``Dynamics`` as far as the next latent's logits."""

    latent_in: Tensor
    action_in: Tensor
    bias: Tensor

    def __init__(self, dynamics: Dynamics) -> None:
        super().__init__()
        size = dynamics.out.weight.shape[0]
        first = dynamics.first
        self.hold("latent_in", first.weight[:, :size].T)  # [L, U]
        self.hold("action_in", first.weight[:, size:].T)  # [A, U]
        self.hold("bias", first.bias)
        self.norm = RowNorm(first.norm_scale)
        self.blocks = nn.ModuleList(Level([block]) for block in cast(list[Dense], list(dynamics.blocks)))
        self.out = Product([dynamics.out.weight], [dynamics.out.bias])

    def forward(self, latent: Tensor, action: Tensor) -> Tensor:
        """latent [1, L], action [1, A] -> [1, L]."""
        return self.out(self.trunk(latent, action))  # type: ignore[no-any-return]

    def trunk(self, latent: Tensor, action: Tensor) -> Tensor:
        """latent [N, L], or one [1, L] that N rows share, action [N, A] -> [N, U]."""
        # Two products, of which one is added to the other: side by side latent and action would first be copied
        # together, and a shared latent would be multiplied N times.
        x = self.norm(torch.addmm(torch.addmm(self.bias, latent, self.latent_in), action, self.action_in))
        for block in self.blocks:
            x = x + block(x)
        return x
