"""Looking at what an agent believes: filtered sequences and open-loop predictions, without training."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.dreamer.world_model import Posterior, observe
from robot_wm.errors import UserError
from robot_wm.learning.batch import TensorBatch
from robot_wm.nn.categorical import kl


class ObservedSequences(NamedTuple):
    """Posterior of the trained steps of a batch."""

    deter: Tensor  # [B, T, D] float32
    stoch: Tensor  # [B, T, S] uint8, most likely classes
    post_logits: Tensor  # [B, T, S, C] log-probabilities after unimix
    surprise: Tensor  # [B, T] KL(posterior || prior), nats
    value: Tensor  # [B, T]


class OpenLoop(NamedTuple):
    """What the model predicts against what happened, for steps 1..T.

    The first ``context`` steps are reconstructions, the rest is imagined with the recorded actions.
    """

    context: int
    predicted: dict[str, Tensor]  # name -> [B, T, *shape] float32: vectors in scaled units, images in 0..1
    actual: dict[str, Tensor]  # the same, recorded
    predicted_reward: Tensor  # [B, T]
    actual_reward: Tensor  # [B, T], NaN where nobody told it


def _greedy(agent: DreamerAgent, batch: TensorBatch) -> Posterior:
    size, steps = batch.reward.shape
    config = agent.config
    exp_gumbel = torch.ones((steps - 1, size, config.stoch, config.classes), device=batch.reward.device)
    return observe(agent, batch, exp_gumbel)


@torch.no_grad()
def observe_sequences(agent: DreamerAgent, batch: TensorBatch) -> ObservedSequences:
    """Filter every sequence with the most likely latents."""
    posterior = _greedy(agent, batch)
    deter = posterior.feature[..., : agent.config.deter]  # [T, B, D]
    prior = agent.rssm.prior_probs(deter.flatten(0, 1)).view(posterior.probs.shape).log()
    post = posterior.probs.log()
    return ObservedSequences(
        deter=deter.transpose(0, 1),
        stoch=posterior.classes.transpose(0, 1),
        post_logits=post.transpose(0, 1),
        surprise=kl(post, prior).transpose(0, 1),
        value=agent.critic.mean(posterior.feature).transpose(0, 1),
    )


@torch.no_grad()
def open_loop(
    agent: DreamerAgent, batch: TensorBatch, *, context: int, generator: torch.Generator | None = None
) -> OpenLoop:
    """Filter ``context`` steps, then let the prior run with the recorded actions.

    Latents are the most likely ones, or drawn from ``generator``. A recorded reset resets the imagination too.
    """
    length = batch.reward.shape[1] - 1
    if not 1 <= context < length:
        raise UserError(f"open loop: context {context} steps must be from 1 to {length - 1}")
    config = agent.config
    feature = _greedy(agent, batch).feature[:context]  # [context, B, F]
    keep = 1.0 - batch.is_first[:, 1:, None].transpose(0, 1).float()  # [T, B, 1]
    action = batch.action[:, :-1].transpose(0, 1) * keep  # [T, B, A]
    features = list(feature.unbind(0))
    for t in range(context, length):
        state = features[-1] * keep[t]
        exp_gumbel = torch.ones((len(state), config.stoch, config.classes), device=state.device)
        if generator is not None:
            exp_gumbel = exp_gumbel.exponential_(generator=generator).reciprocal_()
        stepped = agent.advance(state[:, : config.deter], state[:, config.deter :], action[t], exp_gumbel)
        features.append(torch.cat(stepped, -1))
    rows = torch.stack(features, 1).flatten(0, 1)  # [B*T, F]
    shape = (batch.reward.shape[0], length)
    actual = {name: batch.obs[name][:, 1:] for name in (*agent.inputs.vectors, *agent.inputs.images)}
    return OpenLoop(
        context=context,
        predicted={name: value.unflatten(0, shape) for name, value in agent.decoder.predict(rows).items()},
        actual={name: v.float() / 255.0 if v.dtype == torch.uint8 else v for name, v in actual.items()},
        predicted_reward=agent.reward.mean(rows).view(shape),
        actual_reward=batch.reward.where(batch.reward_known, torch.nan)[:, 1:],
    )
