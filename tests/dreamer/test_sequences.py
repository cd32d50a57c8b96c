"""Resets inside a sequence and the alignment of actions with observations."""

import dataclasses

import pytest
import torch

from robot_wm.dreamer.agent import TickState
from robot_wm.dreamer.world_model import observe
from robot_wm.learning.agent import initial_state


def change(batch, **fields):
    return dataclasses.replace(batch, **fields)


def posterior(learner, batch, seed=0):
    config = learner.config
    size, steps = batch.reward.shape
    shape = (steps - 1, size, config.stoch, config.classes)
    exp_gumbel = torch.empty(shape).exponential_(generator=torch.Generator().manual_seed(seed)).reciprocal_()
    with torch.no_grad():
        return observe(learner.agent, batch, exp_gumbel)


def first_difference(a, b):
    """First trained step (1-based, as in the batch) at which two posteriors differ; None if nowhere."""
    differs = (a.probs != b.probs).flatten(1).any(1)  # even where the same class is drawn
    return int(differs.nonzero()[0]) + 1 if differs.any() else None


def test_steps_of_the_sequence_equal_ticks(workshop):
    learner = workshop.learner()
    batch = workshop.batch(learner, first=0.3)
    config, agent = learner.config, learner.agent
    state = TickState(**initial_state(agent.state, 3, "cpu"))
    state = state._replace(deter=batch.stored["deter"], stoch=torch.eye(config.classes)[batch.stored["stoch"].long()])
    seen = learner.observe(batch)
    for t in range(1, 7):
        state = state._replace(action=batch.action[:, t - 1])
        obs = {name: value[:, t] for name, value in batch.obs.items()}
        noise = torch.zeros(3, config.stoch, config.classes), torch.zeros(3, 2)
        with torch.no_grad():
            out = agent.step(obs, batch.is_first[:, t].float(), state, *noise)
        state = out.state
        torch.testing.assert_close(seen.deter[:, t - 1], out.state.deter)
        torch.testing.assert_close(seen.surprise[:, t - 1], out.surprise)
        torch.testing.assert_close(seen.value[:, t - 1], out.value)
        assert torch.equal(seen.stoch[:, t - 1].long(), out.state.stoch.argmax(-1))


@pytest.mark.parametrize("t", range(7))
def test_marked_action_is_first_felt_one_step_later(workshop, t):
    learner = workshop.learner()
    batch = workshop.batch(learner)
    action = batch.action.clone()
    action[:, t] = -action[:, t]
    got = first_difference(posterior(learner, batch), posterior(learner, change(batch, action=action)))
    assert got == (t + 1 if t < 6 else None)  # the last action leads out of the window


@pytest.mark.parametrize("t", range(7))
def test_marked_observation_is_felt_at_its_own_step(workshop, t):
    learner = workshop.learner()
    batch = workshop.batch(learner)
    obs = {name: value.clone() for name, value in batch.obs.items()}
    obs["goal"][:, t] += 1.0
    got = first_difference(posterior(learner, batch), posterior(learner, change(batch, obs=obs)))
    assert got == (t if t > 0 else None)  # step 0 gives only its action and its stored latent


def test_stored_latent_starts_the_sequence(workshop):
    learner = workshop.learner()
    batch = workshop.batch(learner)
    deter, stoch = batch.stored["deter"], batch.stored["stoch"]
    for other in ({"deter": deter + 0.1}, {"stoch": (stoch + 1) % 3}):
        changed = change(batch, stored=batch.stored | other)
        assert first_difference(posterior(learner, batch), posterior(learner, changed)) == 1


@pytest.mark.parametrize("reset", [1, 3, 6])
def test_state_after_a_reset_is_independent_of_what_came_before(workshop, reset):
    learner = workshop.learner()
    batch, other = workshop.batch(learner), workshop.batch(learner, seed=7)
    first = batch.is_first.clone()
    first[:, reset] = True
    keep = torch.arange(7) >= reset  # [T1]
    mixed = change(
        batch,
        is_first=first,
        obs={n: torch.where(keep[None, :, None], batch.obs[n], other.obs[n]) for n in batch.obs},
        action=torch.where(keep[None, :, None], batch.action, other.action),  # also the action just before the reset
        stored=other.stored,
    )
    one, two = posterior(learner, change(batch, is_first=first)), posterior(learner, mixed)
    assert torch.equal(one.feature[reset - 1 :], two.feature[reset - 1 :])
    assert reset == 1 or not torch.equal(one.feature[: reset - 1], two.feature[: reset - 1])


def test_reset_touches_only_its_own_row(workshop):
    learner = workshop.learner()
    batch = workshop.batch(learner)
    first = batch.is_first.clone()
    first[1, 3] = True
    one, two = posterior(learner, batch), posterior(learner, change(batch, is_first=first))
    assert torch.equal(one.feature[:, [0, 2]], two.feature[:, [0, 2]])
    assert not torch.equal(one.feature[2:, 1], two.feature[2:, 1])
