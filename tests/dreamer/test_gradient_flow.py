"""Which loss reaches which parameters."""

import pytest
import torch

from robot_wm.dreamer.behavior import behavior_loss
from robot_wm.dreamer.world_model import world_model_loss

MODEL = {"encoder", "rssm.gru", "rssm.posterior"}


def part(name):
    """Module of a parameter; the RSSM in its three pieces."""
    pieces = name.split(".")
    return "rssm." + pieces[1].removesuffix("_logits") if pieces[0] == "rssm" else pieces[0]


@pytest.fixture(params=[False, True], ids=["continuous", "discrete"])
def reached(workshop, request):
    """loss name -> modules in which some parameter has a gradient that is not zero."""
    learner = workshop.awake(obs="both", discrete=request.param, free_nats=0.0)
    batch = workshop.batch(learner, first=0.1)
    noise = learner.draw_noise(batch)
    agent = learner.agent
    model = world_model_loss(agent, batch, noise.posterior)
    behavior = behavior_loss(agent, batch, model.posterior.feature, noise, learner.return_scale)
    named = {n: p for n, p in agent.named_parameters() if p.requires_grad}
    out = {}
    for loss, value in {**model.losses, **behavior.losses}.items():
        grads = torch.autograd.grad(value, list(named.values()), retain_graph=True, allow_unused=True)
        out[loss] = {part(n) for n, g in zip(named, grads, strict=True) if g is not None and g.abs().max() > 0}
    return out


def test_policy_loss_reaches_the_actor_only(reached):
    assert reached["policy"] == {"actor"}


def test_imagined_value_loss_reaches_the_critic_only(reached):
    assert reached["value"] == {"critic"}


def test_replayed_value_and_reward_train_the_world_model(reached):
    assert reached["replay_value"] == MODEL | {"critic"}
    assert reached["reward"] == MODEL | {"reward"}
    assert reached["continue"] == MODEL | {"cont"}


def test_reconstruction_trains_encoder_and_decoder(reached):
    for field in ("joints", "goal", "camera"):
        assert reached[f"rec/{field}"] == MODEL | {"decoder"}


def test_dynamics_loss_trains_the_prior_towards_the_posterior(reached):
    # Not the posterior's own loss: it arrives at the posterior only through the latents of earlier steps.
    assert "rssm.prior" in reached["dynamics"]
    assert "rssm.prior" not in reached["representation"]
    assert {"encoder", "rssm.posterior", "rssm.gru"} <= reached["representation"]


@pytest.mark.parametrize(("loss", "expected"), [("dynamics", {"rssm.gru", "rssm.prior"}), ("representation", MODEL)])
def test_kl_of_one_step_stops_where_it_should(workshop, loss, expected):
    learner = workshop.awake(free_nats=0.0)
    batch = workshop.batch(learner, length=1)
    value = world_model_loss(learner.agent, batch, learner.draw_noise(batch).posterior).losses[loss]
    named = {n: p for n, p in learner.agent.named_parameters() if p.requires_grad}
    grads = torch.autograd.grad(value, list(named.values()), allow_unused=True)
    assert {part(n) for n, g in zip(named, grads, strict=True) if g is not None and g.abs().max() > 0} == expected


def test_free_nats_stop_both_kl_losses(workshop):
    learner = workshop.awake(free_nats=1e3)
    batch = workshop.batch(learner)
    losses = world_model_loss(learner.agent, batch, learner.draw_noise(batch).posterior).losses
    named = list(learner.agent.rssm.parameters())
    for name in ("dynamics", "representation"):
        assert losses[name].item() == 1e3
        grads = torch.autograd.grad(losses[name], named, allow_unused=True, retain_graph=True)
        assert all(g is None or not g.any() for g in grads)


def test_nothing_reaches_the_slow_critic_but_the_average(workshop):
    learner = workshop.awake(slow_rate=0.25)
    before = [p.clone() for p in learner.agent.slow_critic.parameters()]
    batch = workshop.batch(learner)
    learner.update(batch)
    for old, slow, fast in zip(
        before, learner.agent.slow_critic.parameters(), learner.agent.critic.parameters(), strict=True
    ):
        torch.testing.assert_close(slow, 0.75 * old + 0.25 * fast)
