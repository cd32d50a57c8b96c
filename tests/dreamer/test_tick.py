"""The policy tick: surprise, resets, noise, ranges."""

import pytest
import torch
from torch.distributions import Categorical, Independent, kl_divergence

from robot_wm.dreamer.agent import TickState
from robot_wm.learning.agent import initial_state


def inputs(learner, size=4, seed=0):
    g = torch.Generator().manual_seed(seed)
    agent, config = learner.agent, learner.config
    obs = {name: torch.randn(size, width, generator=g) for name, width in agent.inputs.vectors.items()}
    for name, shape in agent.inputs.images.items():
        obs[name] = torch.randint(0, 256, (size, *shape), generator=g, dtype=torch.uint8)
    state = TickState(**initial_state(agent.state, size, "cpu"))
    state = state._replace(
        deter=torch.rand(state.deter.shape, generator=g) - 0.5,
        stoch=torch.eye(config.classes)[torch.randint(0, config.classes, state.stoch.shape[:2], generator=g)],
        action=torch.rand(state.action.shape, generator=g),
    )
    zeros = torch.zeros(size, config.stoch, config.classes), torch.zeros(size, agent.action_dim)
    return obs, torch.zeros(size), state, *zeros


@pytest.mark.parametrize("obs", ["proprio", "image", "both"])
@pytest.mark.parametrize("discrete", [False, True])
@torch.no_grad()
def test_outputs_have_their_shapes_and_ranges(workshop, obs, discrete):
    learner = workshop.awake(obs=obs, discrete=discrete, action=3)
    values, first, state, latent, noise = inputs(learner)
    out = learner.agent.step(values, first, state, latent, noise + 5.0 * torch.randn(4, 3))
    assert [tuple(t.shape) for t in (out.action, *out.state, out.value, out.surprise, out.post_logits)] == [
        (4, 3),
        (4, 16),
        (4, 4, 3),
        (4, 3),
        (4,),
        (4,),
        (4, 4, 3),
    ]
    assert torch.equal(out.state.action, out.action)
    assert torch.equal(out.state.stoch.sum(-1), torch.ones(4, 4))
    torch.testing.assert_close(out.post_logits.exp().sum(-1), torch.ones(4, 4))
    if discrete:
        assert torch.equal(out.action.sort(-1).values, torch.tensor([0.0, 0.0, 1.0]).expand(4, 3))
    else:
        assert out.action.abs().max() == 1.0


@torch.no_grad()
def test_surprise_is_the_kl_of_torch_distributions(workshop):
    learner = workshop.learner()
    agent = learner.agent
    values, first, state, latent, noise = inputs(learner)
    out = agent.step(values, first, state, latent, noise)
    deter = agent.rssm.gru(state.deter, state.stoch.flatten(1), state.action)
    torch.testing.assert_close(out.state.deter, deter)
    embedding = agent.encoder.mlp(
        torch.cat([values["joints"], values["goal"]], -1).sign()
        * torch.log1p(torch.cat([values["joints"], values["goal"]], -1).abs())
    )
    logits = [
        agent.rssm.posterior_logits(agent.rssm.posterior(torch.cat([deter, embedding], -1))),
        agent.rssm.prior_logits(agent.rssm.prior(deter)),
    ]
    post, prior = (
        Independent(Categorical(probs=0.99 * torch.softmax(x.view(4, 4, 3), -1) + 0.01 / 3), 1) for x in logits
    )
    torch.testing.assert_close(out.surprise, kl_divergence(post, prior))
    assert (out.surprise > 0).all()


@torch.no_grad()
def test_is_first_forgets_the_state(workshop):
    learner = workshop.awake()
    values, _, state, latent, noise = inputs(learner)
    first = torch.tensor([1.0, 0.0, 1.0, 0.0])
    out = learner.agent.step(values, first, state, latent, noise)
    forgotten = TickState(**initial_state(learner.agent.state, 4, "cpu"))
    fresh = learner.agent.step(values, torch.zeros(4), forgotten, latent, noise)
    for got, wanted in zip(
        (out.action, out.state.deter, out.value), (fresh.action, fresh.state.deter, fresh.value), strict=True
    ):
        assert torch.equal(got[::2], wanted[::2])
        assert not torch.equal(got[1::2], wanted[1::2])


@torch.no_grad()
def test_zero_noise_is_greedy_and_noise_moves_it(workshop):
    learner = workshop.awake()
    values, first, state, latent, noise = inputs(learner)
    out = learner.agent.step(values, first, state, latent, noise)
    assert torch.equal(out.state.stoch.argmax(-1), out.post_logits.argmax(-1))
    forced = torch.full_like(latent, -100.0)
    forced[..., 2] = 100.0
    assert (learner.agent.step(values, first, state, forced, noise).state.stoch.argmax(-1) == 2).all()
    feature = torch.cat([out.state.deter, out.state.stoch.flatten(1)], -1)
    policy = learner.agent.actor(feature)
    torch.testing.assert_close(out.action, policy.first)
    shifted = learner.agent.step(values, first, state, latent, noise + 0.01)
    torch.testing.assert_close(shifted.action, policy.first + 0.01 * policy.std)
    assert ((policy.std >= 0.1) & (policy.std <= 1.0)).all()


@torch.no_grad()
def test_state_action_beyond_one_is_the_clipped_action(workshop):
    learner = workshop.learner()
    values, first, state, latent, noise = inputs(learner)
    wide = learner.agent.step(values, first, state._replace(action=3 * state.action - 1.5), latent, noise)
    cut = learner.agent.step(values, first, state._replace(action=(3 * state.action - 1.5).clamp(-1, 1)), latent, noise)
    torch.testing.assert_close(wide.state.deter, cut.state.deter)


@torch.no_grad()
def test_rows_of_a_batch_do_not_mix(workshop):
    learner = workshop.awake(obs="both")
    values, first, state, latent, noise = inputs(learner)
    whole = learner.agent.step(values, first, state, latent, noise)
    row = learner.agent.step(
        {k: v[1:2] for k, v in values.items()},
        first[1:2],
        type(state)(*(s[1:2] for s in state)),
        latent[1:2],
        noise[1:2],
    )
    torch.testing.assert_close(row.post_logits, whole.post_logits[1:2], atol=1e-5, rtol=1e-5)
