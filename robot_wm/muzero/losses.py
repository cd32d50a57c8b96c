"""An unroll of the model over K recorded actions, and how far it is from what it should have predicted.

MuZero (Schrittwieser et al., Nature 2020) with the consistency loss of EfficientZero (Ye et al. 2021).
Shape letters: B windows, K unroll, K1 = K + 1 positions, L latent, A action, R candidates.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from robot_wm.muzero.agent import MuZeroAgent
from robot_wm.muzero.networks import scaled_gradient
from robot_wm.muzero.targets import Scalars
from robot_wm.muzero.thinking import Searched
from robot_wm.nn.heads import Policy

LOSSES = ("reward", "value", "policy", "continue", "consistency", "entropy")


class Unroll(NamedTuple):
    """What the model makes of a root and K actions; logits are float32."""

    latent: Tensor  # [B, K1, L] float32, that of the root first
    reward: Tensor  # [B, K, bins]
    cont: Tensor  # [B, K]
    value: Tensor  # [B, K1, bins]
    policy: Policy  # [B, K1, A]


class Goals(NamedTuple):
    """What an unroll is held to."""

    reward: Scalars  # [B, K]
    value: Scalars  # [B, K1]
    cont: Scalars  # [B, K]
    searched: Searched  # [B, K1, ...]
    chosen: Tensor  # [B, K1] float32: where the policy is told anything
    projection: Tensor  # [B, K, P] of what h sees after each action, without gradient
    seen: Tensor  # [B, K] float32: where h sees anything


def unroll(agent: MuZeroAgent, latent: Tensor, action: Tensor) -> Unroll:
    """From root latents [B, L] along actions [B, K, A]; each step passes on a part of the latent's gradient."""
    latents, rewards, conts = [latent], [], []
    for k in range(action.shape[1]):
        step = agent.model.dynamics(scaled_gradient(latents[-1], agent.config.latent_gradient), action[:, k])
        latents.append(step.latent)
        rewards.append(step.reward)
        conts.append(step.cont)
    stacked = torch.stack(latents, 1)  # [B, K1, L]
    return Unroll(
        latent=stacked,
        reward=torch.stack(rewards, 1),
        cont=torch.stack(conts, 1),
        value=agent.model.value_logits(stacked),
        policy=agent.model.policy(stacked),
    )


def losses(agent: MuZeroAgent, model: Unroll, goals: Goals, weight: Tensor) -> dict[str, Tensor]:
    """Each of `LOSSES` as one number: summed over positions, of which those after the root weigh 1/K, and averaged
    over windows with their importance ``weight`` [B].
    """
    dynamics, critic = agent.model.dynamics, agent.model.critic
    reward, cont = goals.reward, goals.cont
    distance = -F.cosine_similarity(agent.consistency.predict(model.latent[:, 1:]), goals.projection, dim=-1)  # [B, K]
    terms = {
        "reward": dynamics.reward.twohot.loss(model.reward, reward.target) * reward.mask,
        "value": critic.twohot.loss(model.value, goals.value.target) * goals.value.mask,
        "policy": search_cross_entropy(model.policy, _told(agent, goals.searched)) * goals.chosen,
        "continue": F.binary_cross_entropy_with_logits(model.cont, cont.target, reduction="none") * cont.mask,
        "consistency": distance * goals.seen,
        "entropy": -model.policy.entropy() * goals.chosen,
    }
    return {name: (_over_positions(term, model.reward.shape[1]) * weight).mean() for name, term in terms.items()}


def _told(agent: MuZeroAgent, searched: Searched) -> Searched:
    """What of a search the policy learns; see the config's ``policy_target``."""
    target = agent.config.policy_target
    if target == "auto":
        target = "weights" if agent.discrete or agent.action_dim == 1 else "best"
    return searched if target == "weights" else searched.best()


def search_cross_entropy(policy: Policy, searched: Searched) -> Tensor:
    """Of a policy [..., A] to what a search thinks of its candidates [..., R, A]: [...], nats."""
    each = Policy(policy.first.unsqueeze(-2), None if policy.std is None else policy.std.unsqueeze(-2))
    return -(searched.weights * each.log_prob(searched.actions)).sum(-1)


def search_gain(policy: Policy, searched: Searched) -> Tensor:
    """KL of a search's policy from the prior that it began with, both over the candidates: [...], nats.

    The prior is the policy's over discrete actions and uniform over sampled ones.
    """
    weights = searched.weights
    count = weights.shape[-1]
    prior = torch.full_like(weights, 1.0 / count) if policy.std is not None else policy.first.softmax(-1)
    return (torch.special.xlogy(weights, weights) - torch.special.xlogy(weights, prior)).sum(-1)


def _over_positions(term: Tensor, steps: int) -> Tensor:
    """[B, K1] or [B, K] -> [B]: the root's as it is, the mean of those of the K unrolled steps."""
    after = term[:, -steps:].mean(1)
    return after + term[:, 0] if term.shape[1] > steps else after
