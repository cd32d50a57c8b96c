"""What the world model learns from replayed sequences."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.dreamer.cells import ScanWeights
from robot_wm.dreamer.scan import ScanInputs, posterior_scan, scan_inputs
from robot_wm.learning.batch import TensorBatch
from robot_wm.nn.categorical import kl, one_hot
from robot_wm.nn.compiled import fused
from robot_wm.nn.packed_gru import pack


class Posterior(NamedTuple):
    """Latents of the trained steps of a batch, time first."""

    feature: Tensor  # [T, B, D+S*C] float32: deter, then the drawn one-hot latent with straight-through gradients
    probs: Tensor  # [T, B, S, C] posterior after unimix
    classes: Tensor  # [T, B, S] uint8, drawn


class WorldModelLoss(NamedTuple):
    """Unweighted losses and what behaviour learning starts from."""

    losses: dict[str, Tensor]  # 0-d each
    posterior: Posterior
    prior_entropy: Tensor  # 0-d, nats, summed over groups
    posterior_entropy: Tensor  # 0-d


def observe(agent: DreamerAgent, batch: TensorBatch, exp_gumbel: Tensor) -> Posterior:
    """Filter every sequence: the posterior of steps 1..T given the stored latent of step 0.

    exp_gumbel [T, B, S, C]. A step with ``is_first`` forgets the latent and the action before it.
    """
    rssm, before = agent.rssm, agent.rssm.posterior
    weights = ScanWeights(
        before.weight[:, : agent.config.deter],
        before.norm_scale,
        rssm.posterior_logits.weight,
        rssm.posterior_logits.bias,
    )
    inputs = fused(_scan_inputs, exp_gumbel.device)(agent, batch)
    return Posterior(*posterior_scan(inputs, weights, exp_gumbel, unimix=agent.config.unimix))


def _scan_inputs(agent: DreamerAgent, batch: TensorBatch) -> ScanInputs:
    config, rssm = agent.config, agent.rssm
    length = batch.reward.shape[1] - 1
    # Contiguous, because a step of it would else lie at an odd address, and compiled cells copy what is not aligned.
    keep = 1.0 - batch.is_first[:, 1:, None].transpose(0, 1).contiguous().float()  # [T, B, 1]
    action = batch.action[:, :-1].transpose(0, 1) * keep  # [T, B, A]: what led to each trained step
    obs = {name: tensor[:, 1:].transpose(0, 1).flatten(0, 1) for name, tensor in batch.obs.items()}  # [T*B, ...]
    stoch = one_hot(batch.stored["stoch"].long(), config.classes, torch.float32).flatten(1)  # [B, S*C]
    weight, bias = rssm.posterior.weight[:, config.deter :], rssm.posterior.bias
    return scan_inputs(
        torch.cat([batch.stored["deter"], stoch], -1),
        keep,
        rssm.gru.embed_action(action),
        F.linear(agent.encoder(obs, agent.dtype), weight, bias).unflatten(0, (length, -1)),
        pack(rssm.gru),
    )


def world_model_loss(agent: DreamerAgent, batch: TensorBatch, exp_gumbel: Tensor) -> WorldModelLoss:
    """Reconstruction, reward, continue and the two KL losses (DreamerV3, Nature 2025).

    The KL is summed over groups, then cut at the free nats. All losses are means over T and B, that of the reward too,
    whose terms are 0 where nobody told it.
    """
    posterior = observe(agent, batch, exp_gumbel)
    losses, *entropies = fused(_terms, exp_gumbel.device)(agent, batch, posterior.feature, posterior.probs)
    return WorldModelLoss(losses, posterior, *entropies)


def _terms(
    agent: DreamerAgent, batch: TensorBatch, feature: Tensor, probs: Tensor
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Losses, and entropies of prior and posterior, from the posterior's features and probabilities."""
    config = agent.config
    rows = feature.flatten(0, 1)  # [T*B, F]
    dtype = agent.dtype
    low = rows.to(dtype)
    prior = agent.rssm.prior_probs(low[:, : config.deter]).log()  # [T*B, S, C]
    post = probs.flatten(0, 1).log()  # [T*B, S, C]
    dynamics, representation = kl(post.detach(), prior), kl(post, prior.detach())  # [T*B]
    obs = {name: tensor[:, 1:].transpose(0, 1).flatten(0, 1) for name, tensor in batch.obs.items()}
    reward, known = (x[:, 1:].transpose(0, 1).flatten() for x in (batch.reward, batch.reward_known))  # [T*B]
    # The continue flag carries the discount, so that imagination needs no other.
    goes_on = (1.0 - batch.is_terminal[:, 1:].transpose(0, 1).flatten().float()) * (1.0 - 1.0 / config.discount_horizon)
    losses = {
        "dynamics": dynamics.clamp(min=config.free_nats).mean(),
        "representation": representation.clamp(min=config.free_nats).mean(),
        # Over all T*B steps and not over the known ones alone: each known reward weighs what it would in a batch where
        # all are known, so that a batch with few does not shout, and one with none divides nothing by nothing.
        "reward": (agent.reward.twohot.loss(agent.reward.even_logits(low), reward) * known).mean(),
        "continue": F.binary_cross_entropy_with_logits(agent.cont(low), goes_on),
    }
    losses.update({f"rec/{name}": loss for name, loss in agent.decoder.loss(low, obs).items()})
    with torch.no_grad():
        groups = rows.shape[0]
        prior_entropy = -(prior.exp() * prior).sum() / groups
        posterior_entropy = -(post.exp() * post).sum() / groups
    return losses, prior_entropy, posterior_entropy
