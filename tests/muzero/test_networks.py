"""g, f and the consistency heads: closed forms, which part answers to what, and the search's view of them."""

import pytest
import torch
from torch.nn import functional as F

from robot_wm.muzero.networks import scaled_gradient, simplex


def test_a_simplex_is_a_softmax_of_each_group():
    logits = torch.tensor([[0.0, 0.0, 1.0, 1.0, 5.0, 5.0, -2.0, -2.0], [3.0] * 8])
    half, quarter = [0.5 / (1 + torch.e), 0.5 * torch.e / (1 + torch.e)], [0.25] * 8
    expected = torch.tensor([[half[0], half[0], half[1], half[1], 0.4995445, 0.4995445, 4.5551e-4, 4.5551e-4], quarter])
    torch.testing.assert_close(simplex(logits, 4), expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(simplex(logits + 100.0, 4), simplex(logits, 4))


def test_a_scaled_gradient_leaves_the_value():
    x = torch.tensor([1.0, -3.0], requires_grad=True)
    y = scaled_gradient(x, 0.5)
    assert torch.equal(y, x)
    assert torch.autograd.grad((y * torch.tensor([2.0, 4.0])).sum(), x)[0].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("discrete", [False, True])
def test_a_new_agent_promises_nothing(studio, discrete):
    agent = studio.agent(discrete=discrete)
    latent = agent.model.representation(studio.obs(agent))
    step = agent.latent_model().step(latent, torch.eye(4, 3))
    assert step.reward.tolist() == [0.0] * 4
    assert step.prediction.value.tolist() == [0.0] * 4
    assert (step.prediction.policy.std is None) == discrete


@torch.no_grad()
def test_a_search_sees_what_the_networks_say(studio):
    agent = studio.awake()
    model, networks = agent.latent_model(), agent.model
    latent = networks.representation(studio.obs(agent))
    action = torch.rand(4, 3, generator=torch.Generator().manual_seed(5)) * 2 - 1
    out, step = networks.dynamics(latent, action), model.step(latent, action)
    torch.testing.assert_close(step.latent, out.latent)
    torch.testing.assert_close(step.reward, networks.dynamics.reward.twohot.mean(out.reward))
    torch.testing.assert_close(step.discount, 0.99 * torch.sigmoid(out.cont))
    torch.testing.assert_close(step.prediction.value, networks.critic.twohot.mean(networks.value_logits(out.latent)))
    assert torch.equal(step.prediction.policy.first, networks.policy(out.latent).first)
    assert (model.action_dim, model.discrete) == (3, False)
    for one, other in zip(model.predict(step.latent).policy, step.prediction.policy, strict=True):
        assert torch.equal(one, other)
    # Everything depends on both, reward and continue on the action, too.
    for changed in (networks.dynamics(latent.flip(0), action), networks.dynamics(latent, -action)):
        for one, other in zip(changed, out, strict=True):
            assert (one - other).abs().amax(-1 if one.dim() == 2 else 0).min() > 1e-4


@torch.no_grad()
def test_the_targets_model_keeps_its_own_weights(studio):
    agent = studio.awake()
    latent = agent.model.representation(studio.obs(agent))
    action = torch.zeros(4, 3)
    before = agent.latent_model(target=True).step(latent, action)
    own = agent.latent_model().step(latent, action)
    for parameter in agent.model.parameters():
        parameter.add_(0.3)
    after = agent.latent_model(target=True).step(latent, action)
    assert torch.equal(after.latent, before.latent)
    assert torch.equal(after.prediction.value, before.prediction.value)
    assert not torch.equal(agent.latent_model().step(latent, action).latent, own.latent)


def test_the_target_begins_as_a_copy_that_nobody_trains(studio):
    agent = studio.agent()
    for slow, fast in zip(agent.target.parameters(), agent.model.parameters(), strict=True):
        assert torch.equal(slow, fast)
        assert slow.data_ptr() != fast.data_ptr()
        assert not slow.requires_grad
        assert fast.requires_grad


@pytest.mark.parametrize(("obs", "discrete"), [("both", False), ("proprio", True)])
@pytest.mark.parametrize("reward_layers", [0, 2])
def test_no_parameter_is_dead(studio, obs, discrete, reward_layers):
    """Of two steps of the model, whose losses are all there are: each parameter has a share."""
    agent = studio.awake(obs=obs, discrete=discrete, reward_layers=reward_layers)
    seen = studio.obs(agent, seed=1)
    latent = agent.model.representation(studio.obs(agent))
    action = torch.eye(4, 3)
    policy = agent.model.policy(latent)
    loss = policy.entropy().mean() - policy.log_prob(action).mean()
    for _ in range(2):
        step = agent.model.dynamics(scaled_gradient(latent, 0.5), action)
        latent = step.latent
        target = agent.consistency.project(agent.model.representation(seen)).detach()
        loss = loss - F.cosine_similarity(agent.consistency.predict(latent), target, dim=-1).mean()
        loss = loss + agent.model.dynamics.reward.twohot.loss(step.reward, torch.ones(4)).mean()
        loss = loss + F.binary_cross_entropy_with_logits(step.cont, torch.ones(4))
        loss = loss + agent.model.critic.twohot.loss(agent.model.value_logits(latent), torch.ones(4)).mean()
    loss.backward()
    dead = [n for n, p in agent.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert dead == []
    assert all(p.grad is None for p in agent.target.parameters())


@torch.no_grad()
def test_the_predictor_answers_to_a_projection(studio):
    agent = studio.awake()
    latent = agent.model.representation(studio.obs(agent))
    heads = agent.consistency
    projected, predicted = heads.project(latent), heads.predict(latent)
    assert projected.shape == predicted.shape == (4, 6)
    torch.testing.assert_close(predicted, heads.predicted(heads.predictor(projected)))
    assert not torch.allclose(projected, predicted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_products_compute_in_the_dtype_of_their_weights_and_latents_stay_float32(studio, dtype):
    agent = studio.awake(obs="both")
    latent = agent.model.representation(studio.obs(agent))
    full = agent.latent_model().step(latent, torch.eye(4, 3))
    for name, parameter in agent.named_parameters():
        if not name.endswith("norm_scale"):  # as `learning.compute_copy` casts
            parameter.data = parameter.data.to(dtype)
    assert agent.model.dtype == dtype
    low = agent.latent_model().step(agent.model.representation(studio.obs(agent)), torch.eye(4, 3))
    for value in (low.latent, low.reward, low.discount, low.prediction.value, agent.consistency.predict(latent)):
        assert value.dtype == torch.float32
    torch.testing.assert_close(low.latent, full.latent, atol=0.02, rtol=0)
