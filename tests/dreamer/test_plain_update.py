"""Updates against their plain rendering in float64, however the fast path is written."""

import dataclasses

import pytest
import torch
from plain_update import plain_update

CELLS = [{"deter": 16}, {"deter": 520, "hidden": 4}]  # dense and, above the CPU's limit, in blocks


def wide(value):
    """Floats in float64."""
    return value.double() if value.is_floating_point() else value


def wide_weights(learner):
    return {n: wide(p.detach()).requires_grad_(p.requires_grad) for n, p in learner.agent.named_parameters()}


def a_learner_in_the_middle_of_training(workshop, **settings):
    """Every parameter away from where it begins, and an average of percentiles wide enough to scale returns."""
    learner = workshop.awake(warmup=0, **settings)
    g = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in learner.agent.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=g) * 0.2)
        # Scalars of about the rewards' size, not of the outermost bins': beside 1e7 no reward would count.
        for head in (learner.agent.reward, learner.agent.critic, learner.agent.slow_critic):
            head.out.bias.sub_(torch.linspace(-8, 8, learner.config.bins).square())
    learner.return_scale.low.fill_(-1.0)
    learner.return_scale.high.fill_(2.0)
    return learner


def a_batch_with_episode_ends(workshop, learner, share=1.0):
    """Four sequences of nine steps: one terminates, one is cut, one begins anew at once, one terminates at its end.

    Of about the ``share`` of the steps the reward is known.
    """
    batch = workshop.batch(learner, size=4, length=9)
    first, last, terminal = (torch.zeros_like(batch.is_first) for _ in range(3))
    last[0, 3] = terminal[0, 3] = first[0, 4] = True
    last[1, 5] = first[1, 6] = True
    last[2, 0] = first[2, 1] = True
    last[3, 9] = terminal[3, 9] = True
    action = batch.action if learner.agent.discrete else 2 * batch.action  # some beyond [-1, 1]
    known = torch.rand(batch.reward.shape, generator=torch.Generator().manual_seed(5)) < share
    return dataclasses.replace(
        batch, action=action, reward_known=known, is_first=first, is_last=last, is_terminal=terminal
    )


@pytest.mark.parametrize("discrete", [False, True], ids=["continuous", "discrete"])
@pytest.mark.parametrize(("free", "share"), [(0.0, 1.0), (1.0, 0.6)])
@pytest.mark.parametrize("cell", CELLS, ids=["dense", "blocks"])
def test_losses_and_gradients_are_those_of_the_equations(workshop, monkeypatch, cell, free, share, discrete):
    learner = a_learner_in_the_middle_of_training(workshop, free_nats=free, discrete=discrete, action=3, **cell)
    batch = a_batch_with_episode_ends(workshop, learner, share)
    noise = learner.draw_noise(batch)
    low, high = learner.return_scale.low.clone(), learner.return_scale.high.clone()
    given = (workshop.changed(thing, wide) for thing in (batch, noise))
    wanted = plain_update(wide_weights(learner), *given, free=free, low=low, high=high)

    taken, step = [], learner.optimiser.step
    monkeypatch.setattr(learner.optimiser, "step", lambda grads: taken.extend(g.clone() for g in grads) or step(grads))
    result = learner.update(batch, noise)

    deter = result.write_back["deter"].transpose(0, 1).double()
    torch.testing.assert_close(deter, wanted.seen.deter.detach(), rtol=1e-4, atol=1e-5)
    losses = {name.removeprefix("loss/"): v.item() for name, v in result.metrics.items() if name.startswith("loss/")}
    losses["reward"] *= batch.reward_known[:, 1:].float().mean().item()  # it is told as the mean over the known ones
    assert losses == pytest.approx({name: loss.item() for name, loss in wanted.losses.items()}, rel=1e-5)
    gradients = dict(zip(learner.optimiser.parameters.named, taken, strict=True))
    assert gradients.keys() == wanted.gradients.keys()
    error = {n: ((gradients[n] - g).norm() / g.norm()).item() for n, g in wanted.gradients.items()}
    assert error == pytest.approx(dict.fromkeys(error, 0.0), abs=1e-4)


@pytest.mark.parametrize(
    ("compute", "allowed"),
    [("float32", {1.0: 1e-4}), ("bfloat16", {0.5: 0.05, 0.9: 0.25, 1.0: 1.0})],  # share of the tensors: error
    ids=["float32", "bfloat16"],
)
@pytest.mark.parametrize("cell", CELLS, ids=["dense", "blocks"])
def test_twenty_updates_move_the_weights_as_the_equations_do(workshop, cell, compute, allowed):
    """In bfloat16 some tensors stray far: LaProp normalises gradients that are rounding alone, too."""
    fast = a_learner_in_the_middle_of_training(workshop, action=3, compute=compute, **cell)
    plain = a_learner_in_the_middle_of_training(workshop, action=3, **cell)
    before = {name: p.detach().clone() for name, p in plain.agent.named_parameters()}
    for seed in range(20):
        batch = workshop.batch(fast, size=4, length=9, seed=seed, first=0.1)
        noise = fast.draw_noise(batch)
        low, high = fast.return_scale.low.clone(), fast.return_scale.high.clone()
        fast.update(batch, noise)
        given = (workshop.changed(thing, wide) for thing in (batch, noise))
        wanted = plain_update(wide_weights(plain), *given, free=plain.config.free_nats, low=low, high=high)
        plain.optimiser.step([wanted.gradients[name].float() for name in plain.optimiser.parameters.named])
        with torch.no_grad():
            for slow, critic in zip(plain.agent.slow_critic.parameters(), plain.agent.critic.parameters(), strict=True):
                slow.lerp_(critic, plain.config.slow_rate)
    pairs = zip(fast.agent.named_parameters(), plain.agent.parameters(), strict=True)
    error = torch.stack([(theirs - ours).norm() / (theirs - before[name]).norm() for (name, ours), theirs in pairs])
    for share, limit in allowed.items():
        assert error.detach().quantile(share) < limit
