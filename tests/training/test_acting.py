"""What the actor gives of its posterior, and what it remembers from one step to the next."""

import numpy as np
import pytest
import torch

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.tasks import agent_spec, make_env
from robot_wm.training.actor import Actor
from robot_wm.training.random_actions import RandomActions

ENVS, GROUPS, CLASSES = 3, 4, 5  # no two alike: an axis that is mistaken shows


@pytest.fixture(scope="module")
def spec():
    env = make_env("cartpole_balance")
    yield agent_spec(env)
    env.close()


@pytest.fixture
def agent(spec, tiny_dreamer):
    torch.manual_seed(0)
    dreamer = tiny_dreamer.model_copy(update={"stoch": GROUPS, "classes": CLASSES})
    return DreamerAgent(dreamer, spec.model_inputs(), spec.action_dim, spec.action.is_discrete).eval()


def observed(spec, step=0):
    rng = np.random.default_rng(step)
    return {field.name: rng.normal(size=(ENVS, *field.shape)).astype(np.float32) for field in spec.observations}


FIRST, LATER = np.ones(ENVS, np.bool_), np.zeros(ENVS, np.bool_)


def test_the_latents_that_are_stored_are_those_of_the_posterior(agent, spec):
    actor = Actor(agent, spec, envs=ENVS, seed=1)
    acted = actor.act(observed(spec), FIRST)
    assert acted.stored["stoch"].shape == (ENVS, GROUPS)
    assert acted.stored["stoch"].dtype == np.uint8
    np.testing.assert_array_equal(np.eye(CLASSES)[acted.stored["stoch"]], actor._state["stoch"].numpy())
    np.testing.assert_array_equal(acted.stored["deter"], actor._state["deter"].numpy().astype(np.float16))
    assert acted.value.shape == acted.surprise.shape == (ENVS,)
    assert (acted.surprise >= 0).all()


def test_a_first_step_forgets_and_a_later_one_does_not(agent, spec):
    def second(is_first):
        actor = Actor(agent, spec, envs=ENVS, seed=1, greedy=True)
        begin = observed(spec, step=1)
        actor.act(begin, FIRST)
        return actor.act(observed(spec, step=2), is_first).stored["deter"]

    alone = Actor(agent, spec, envs=ENVS, seed=1, greedy=True).act(observed(spec, step=2), FIRST).stored["deter"]
    np.testing.assert_allclose(second(FIRST), alone, atol=1e-3)
    assert np.abs(second(LATER) - alone).max() > 1e-3


def test_it_draws_noise_and_follows_its_policy_unless_told_otherwise(agent, spec):
    drawn = [Actor(agent, spec, envs=ENVS, seed=seed).act(observed(spec), FIRST).command for seed in (1, 2)]
    assert not np.array_equal(*drawn)
    greedy = [Actor(agent, spec, envs=ENVS, seed=s, greedy=True).act(observed(spec), FIRST).command for s in (1, 2)]
    np.testing.assert_array_equal(*greedy)
    told = Actor(agent, spec, envs=ENVS, seed=1).act(observed(spec), FIRST, random=False).command
    np.testing.assert_array_equal(drawn[0], told)


def test_its_noise_can_be_gone_on_with(agent, spec):
    one, other = (Actor(agent, spec, envs=ENVS, seed=seed) for seed in (1, 2))
    one.act(observed(spec), FIRST)
    other.set_rng_state(one.rng_state())
    assert torch.equal(one.rng_state(), other.rng_state())
    ahead, same = (actor.act(observed(spec, step=1), FIRST).command for actor in (one, other))
    np.testing.assert_array_equal(ahead, same)


@pytest.mark.parametrize("correlation_s", [0.0, 0.4])
def test_its_noise_goes_on_from_its_state_also_where_random_actions_are_held(agent, spec, correlation_s):
    def actor(seed):
        held = RandomActions(correlation_s=correlation_s, control_period_s=spec.control_period_s)
        return Actor(agent, spec, envs=ENVS, seed=seed, random_actions=held)

    def acted(actor, step):
        return actor.act(observed(spec, step), FIRST, random=True).command

    one, other = actor(1), actor(2)
    for step in range(5):
        acted(one, step)
    other.set_rng_state(one.rng_state())
    for step in range(5):
        np.testing.assert_array_equal(acted(other, step), acted(one, step))
    fresh = actor(1)
    fresh.set_rng_state(torch.Generator().manual_seed(3).get_state())  # of a run that has not begun
    assert np.isfinite(acted(fresh, 0)).all()
