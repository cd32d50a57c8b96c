"""Values of the losses, written out from the networks' outputs."""

import dataclasses
import math

import pytest
import torch
from torch.distributions import Categorical, Independent, Normal, kl_divergence
from torch.nn import functional as F

from robot_wm.dreamer.behavior import behavior_loss, imagine
from robot_wm.dreamer.world_model import world_model_loss
from robot_wm.nn.symlog import symlog


def flat(tensor):
    """Batch-major [B, T1, ...] -> trained steps, time first, [T*B, ...]."""
    return tensor[:, 1:].transpose(0, 1).flatten(0, 1)


def some_rewards_known(batch):
    known = torch.rand(batch.reward.shape, generator=torch.Generator().manual_seed(4)) < 0.6
    return dataclasses.replace(batch, reward_known=known)


@pytest.mark.parametrize("free", [0.0, 0.5])
@torch.no_grad()
def test_world_model_losses(workshop, free):
    learner = workshop.awake(obs="both", free_nats=free)
    batch, agent, config = some_rewards_known(workshop.batch(learner, first=0.2)), learner.agent, learner.config
    out = world_model_loss(agent, batch, learner.draw_noise(batch).posterior)
    feature = out.posterior.feature.flatten(0, 1)
    logits = agent.rssm.prior_logits(agent.rssm.prior(feature[:, :16])).view(-1, 4, 3)
    prior = Independent(Categorical(probs=0.99 * torch.softmax(logits, -1) + 0.01 / 3), 1)
    post = Independent(Categorical(probs=out.posterior.probs.flatten(0, 1)), 1)
    expected = kl_divergence(post, prior).clamp(min=free).mean()  # groups summed first, then cut
    torch.testing.assert_close(out.losses["dynamics"], expected)
    torch.testing.assert_close(out.losses["representation"], expected)
    predicted = agent.decoder.predict(feature)
    for name in ("joints", "goal"):
        error = symlog(predicted[name]) - symlog(flat(batch.obs[name]))
        torch.testing.assert_close(out.losses[f"rec/{name}"], error.square().sum(-1).mean(), rtol=1e-4, atol=1e-4)
    error = predicted["camera"] - flat(batch.obs["camera"]) / 255.0
    torch.testing.assert_close(out.losses["rec/camera"], error.square().sum((1, 2, 3)).mean(), rtol=1e-4, atol=1e-3)
    target = (~flat(batch.is_terminal)).float() * (1 - 1 / 333)
    cont = agent.cont(feature)
    torch.testing.assert_close(out.losses["continue"], F.binary_cross_entropy(torch.sigmoid(cont), target))
    log_probs = F.log_softmax(agent.reward(feature), -1)
    index, weight = agent.reward.twohot.weights(flat(batch.reward))
    surprise = -(log_probs.gather(-1, index) * weight).sum(-1)
    torch.testing.assert_close(out.losses["reward"], (surprise * flat(batch.reward_known)).mean())
    assert config.free_nats == free


@pytest.mark.parametrize("discrete", [False, True])
def test_behavior_losses(workshop, discrete):
    learner = workshop.awake(discrete=discrete, action=3)
    batch, agent = some_rewards_known(workshop.batch(learner, first=0.2)), learner.agent
    noise = learner.draw_noise(batch)
    feature = world_model_loss(agent, batch, noise.posterior).posterior.feature.detach()
    got = behavior_loss(agent, batch, feature, noise, learner.return_scale).losses
    with torch.no_grad():
        seen = imagine(agent, feature.flatten(0, 1), noise)
        reward, value = agent.reward.mean(seen.feature), agent.critic.mean(seen.feature)
        slow, goes_on = agent.slow_critic.mean(seen.feature), torch.sigmoid(agent.cont(seen.feature))
        returns = [value[3]]
        for t in (2, 1, 0):
            returns.insert(0, reward[t + 1] + goes_on[t + 1] * (0.05 * value[t + 1] + 0.95 * returns[0]))
        returns = torch.stack(returns[:3])
        spread = 0.01 * (torch.quantile(returns, 0.95) - torch.quantile(returns, 0.05))  # first of a running average
        advantage = (returns - value[:3]) / max(1.0, spread.item())
        weight = torch.stack([goes_on[0], goes_on[0] * goes_on[1], goes_on[0] * goes_on[1] * goes_on[2]])
        first, std = agent.actor(seen.feature[:3])
        policy = Categorical(logits=first) if discrete else Independent(Normal(first, std), 1)
        log_prob = policy.log_prob(seen.action.argmax(-1) if discrete else seen.action)
        expected = -(weight * (log_prob * advantage + 3e-4 * policy.entropy())).mean()
        torch.testing.assert_close(got["policy"], expected)

        def critic(feature, target):
            log_probs = F.log_softmax(agent.critic(feature), -1)
            index, share = agent.critic.twohot.weights(target)
            return -(log_probs.gather(-1, index) * share).sum(-1)

        value_loss = critic(seen.feature[:3], returns) + critic(seen.feature[:3], slow[:3])
        torch.testing.assert_close(got["value"], (weight * value_loss).mean())

        live = (~batch.is_terminal[:, 1:]).T.float() * (1 - 1 / 333)
        last, boot = batch.is_last[:, 1:].T.float(), returns[0].view(6, 3)
        guesses = agent.reward.mean(feature)  # [T, B], of the rewards that nobody told
        rewards = torch.where(batch.reward_known[:, 1:].T, batch.reward[:, 1:].T, guesses)
        replayed = [boot[5]]
        for t in (4, 3, 2, 1, 0):
            mix = 0.95 * (1 - last[t + 1])
            replayed.insert(0, rewards[t + 1] + live[t + 1] * ((1 - mix) * boot[t + 1] + mix * replayed[0]))
        replayed = torch.stack(replayed[:5])
        loss = critic(feature[:5], replayed) + critic(feature[:5], slow[0].view(6, 3)[:5])
        torch.testing.assert_close(got["replay_value"], ((1 - last[:5]) * loss).mean())


@torch.no_grad()
def test_imagination_follows_the_prior_and_the_actor(workshop):
    learner = workshop.awake()
    batch, agent = workshop.batch(learner), learner.agent
    noise = learner.draw_noise(batch)
    start = torch.randn(18, 28)
    seen = imagine(agent, start, noise)
    assert torch.equal(seen.feature[0], start)
    deter, stoch = start[:, :16], start[:, 16:]
    for h in range(3):
        policy = agent.actor(torch.cat([deter, stoch], -1))
        action = policy.first + policy.std * noise.action[h]
        torch.testing.assert_close(seen.action[h], action)
        deter = agent.rssm.gru(deter, stoch, action)
        logits = agent.rssm.prior_probs(deter).log() + noise.prior[h].log()
        stoch = F.one_hot(logits.argmax(-1), 3).float().flatten(1)
        torch.testing.assert_close(seen.feature[h + 1], torch.cat([deter, stoch], -1))


def test_policy_formulas_are_those_of_torch(workshop):
    learner = workshop.awake()
    policy = learner.agent.actor(torch.randn(5, 28))
    action = torch.randn(5, 2)
    torch_policy = Independent(Normal(policy.first, policy.std), 1)
    torch.testing.assert_close(policy.log_prob(action), torch_policy.log_prob(action))
    torch.testing.assert_close(policy.entropy(), torch_policy.entropy())


def test_total_is_the_weighted_sum(workshop):
    """Doubling a loss's weight doubles its pull, and a zero weight takes it away."""
    names = ("dynamics", "representation", "reward", "continue", "policy", "value", "replay_value")
    scales = {f"scale_{name}": 0.0 for name in names}
    one, two = (workshop.awake(**scales, scale_reconstruction=s) for s in (1.0, 2.0))
    batch = workshop.batch(one)
    for learner in (one, two):
        learner.update(batch)
    norms = one.optimiser.gradient_norms
    torch.testing.assert_close(2 * norms, two.optimiser.gradient_norms)
    trained = [n for n, p in one.agent.named_parameters() if p.requires_grad]
    order = sorted(trained, key=lambda n: n.endswith("norm_scale"))
    moved = {name.split(".")[0] for name, norm in zip(order, norms.tolist(), strict=True) if norm > 0}
    assert moved == {"encoder", "rssm", "decoder"}


def test_default_weights_are_those_of_the_paper(workshop):
    config = workshop.learner().config
    weights = [config.scale_dynamics, config.scale_representation, config.scale_replay_value, config.entropy_scale]
    assert weights == [1.0, 0.1, 0.3, 3e-4]
    assert math.isclose(1 - 1 / config.discount_horizon, 0.996997, rel_tol=1e-5)
