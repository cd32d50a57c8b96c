"""Actor and critic: learned in imagination, and the critic on replayed steps too."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.dreamer.cells import begin, imagined_step
from robot_wm.dreamer.noise import Noise
from robot_wm.dreamer.pessimism import Pessimism
from robot_wm.learning.batch import TensorBatch
from robot_wm.learning.ranks import ALONE, Ranks
from robot_wm.nn.compiled import fused
from robot_wm.nn.heads import PolicyHead
from robot_wm.nn.packed_gru import pack
from robot_wm.nn.percentile import PercentileScale
from robot_wm.nn.returns import lambda_return


class Imagined(NamedTuple):
    """Rollouts of the prior from N start states; nothing here carries a gradient."""

    feature: Tensor  # [H+1, N, F] compute dtype; step 0 is the start
    action: Tensor  # [H, N, A] float32, taken after the feature of the same step


@torch.no_grad()
def imagine(agent: DreamerAgent, start: Tensor, noise: Noise) -> Imagined:
    """Let the actor act in the world model for H steps. start [N, F] float32.

    Without gradients: the actor learns by REINFORCE, which needs none through the dynamics.
    """
    packed = pack(agent.rssm.gru, wide=True)
    advance = fused(imagined_step, start.device)
    latents, actions = [begin(start, agent.config.deter, agent.dtype)], []
    for noise_action, exp_gumbel in zip(noise.action, noise.prior, strict=True):
        latent, action = advance(agent, packed, latents[-1], noise_action, exp_gumbel)
        latents.append(latent)
        actions.append(action)
    return Imagined(torch.stack([latent.low for latent in latents]), torch.stack(actions))


class BehaviorLoss(NamedTuple):
    """Unweighted losses and figures worth logging, 0-d each."""

    losses: dict[str, Tensor]
    metrics: dict[str, Tensor]


def behavior_loss(
    agent: DreamerAgent,
    batch: TensorBatch,
    feature: Tensor,
    noise: Noise,
    scale: PercentileScale,
    pessimism: Pessimism | None = None,
    first_actor: PolicyHead | None = None,
    ranks: Ranks = ALONE,
) -> BehaviorLoss:
    """Policy loss, critic loss on imagined steps and critic loss on replayed steps.

    feature [T, B, F] float32 are the posterior's, with their gradients: the replayed critic loss trains the world
    model too, while imagination starts from a detached copy. ``pessimism`` takes off what imagined rewards are not sure
    of; ``first_actor``, the one that learning began with, is what the policy is held near to. The scale of advantages
    follows the returns of all ``ranks``.
    """
    imagined = imagine(agent, feature.detach().flatten(0, 1), noise)
    doubt = None if pessimism is None else pessimism.doubt(imagined.feature[:-1], imagined.action)  # [H, N]
    penalty = None if pessimism is None or doubt is None else doubt * pessimism.scale
    ahead = fused(_valued, feature.device)(agent, imagined, penalty)
    spread = scale.update(ranks.gather(ahead.returns))
    found = fused(_terms, feature.device)(agent, batch, feature, imagined, ahead, spread, first_actor)
    return (
        found
        if doubt is None
        else BehaviorLoss(found.losses, found.metrics | {"pessimism/imagined_nats": doubt.mean()})
    )


class _Valued(NamedTuple):
    """What the critic makes of imagined steps; nothing but ``logits`` carries a gradient."""

    logits: Tensor  # [H, N, bins + 1] of the critic, whose weights alone they have a gradient for
    probs: Tensor  # [H, N, bins + 1]
    reward: Tensor  # [H+1, N]
    goes_on: Tensor  # [H+1, N], discount included
    value: Tensor  # [H+1, N]
    slow: Tensor  # [H, N]
    returns: Tensor  # [H, N]


def _valued(agent: DreamerAgent, imagined: Imagined, penalty: Tensor | None) -> _Valued:
    """``penalty`` [H, N] comes off the rewards of imagined steps 1..H."""
    twohot = agent.critic.twohot
    logits = agent.critic.even_logits(imagined.feature[:-1])
    with torch.no_grad():
        reward = agent.reward.mean(imagined.feature)
        goes_on = torch.sigmoid(agent.cont(imagined.feature))
        probs = torch.softmax(logits, -1)
        value = torch.cat([twohot.expectation(probs), agent.critic.mean(imagined.feature[-1:])])
        slow = agent.slow_critic.mean(imagined.feature[:-1])
        earned = reward if penalty is None else torch.cat([reward[:1], reward[1:] - penalty])  # [H+1, N]
        returns = lambda_return(earned, goes_on, None, value, mix=agent.config.return_lambda)
    return _Valued(logits, probs, reward, goes_on, value, slow, returns)


def _terms(
    agent: DreamerAgent,
    batch: TensorBatch,
    feature: Tensor,
    imagined: Imagined,
    ahead: _Valued,
    spread: Tensor,
    first_actor: PolicyHead | None,
) -> BehaviorLoss:
    """``spread``, 0-d, is what advantages are divided by."""
    config = agent.config
    twohot = agent.critic.twohot
    logits, probs, reward, goes_on, value, slow, returns = ahead
    with torch.no_grad():
        weight = goes_on.cumprod(0)[:-1]  # [H, N]
        advantage = (returns - value[:-1]) / spread  # [H, N]
    policy = agent.actor(imagined.feature[:-1])
    entropy = policy.entropy()  # [H, N]
    surrogate = policy.log_prob(imagined.action) * advantage + config.entropy_scale * entropy
    kept: dict[str, Tensor] = {}
    if first_actor is not None:
        with torch.no_grad():
            first = first_actor(imagined.feature[:-1])
        distance = policy.kl(first)  # [H, N]
        surrogate = surrogate - config.anchor * distance
        kept["policy/distance"] = distance.detach().mean()
    scales = (1.0, config.slow_scale)
    critic = twohot.loss(logits, returns, slow, scales=scales, probs=probs)  # [H, N]

    with torch.no_grad():
        flags = torch.stack([batch.is_last, batch.is_terminal])[:, :, 1:].transpose(1, 2).float()
        last, terminal = flags.unbind(0)  # [T, B]
        live = (1.0 - terminal) * (1.0 - 1.0 / config.discount_horizon)
        # Of a reward that nobody told the model's own guess takes the place: the returns that are imagined from the
        # same steps, and end these, are sums of such guesses. Without those steps a robot's experience would teach
        # the critic nothing, and a zero would teach it a lie.
        told, known = (x[:, 1:].transpose(0, 1) for x in (batch.reward, batch.reward_known))  # [T, B]
        replay_reward = torch.where(known, told, reward[0].view(last.shape))
        boot = returns[0].view(last.shape)  # [T, B]
        replay_returns = lambda_return(replay_reward, live, last, boot, mix=config.return_lambda)  # [T-1, B]
        replay_slow = slow[0].view(last.shape)[:-1]
    replay_logits = agent.critic.even_logits(feature[:-1].to(agent.dtype))
    replay_critic = twohot.loss(replay_logits, replay_returns, replay_slow, scales=scales)  # [T-1, B]
    losses = {
        "policy": -(weight * surrogate).mean(),
        "value": (weight * critic).mean(),
        "replay_value": ((1.0 - last[:-1]) * replay_critic).mean(),
    }
    with torch.no_grad():
        metrics = {
            "imagined/return": returns.mean(),
            "imagined/reward": reward[1:].mean(),
            "imagined/continue": goes_on[1:].mean(),
            "imagined/value": value.mean(),
            "imagined/advantage_magnitude": advantage.abs().mean(),
            "imagined/return_scale": spread,
            "policy/entropy": entropy.mean(),
            "replay/return": replay_returns.mean(),
            **kept,
        }
    return BehaviorLoss(losses, metrics)
