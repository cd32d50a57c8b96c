"""The acting side: which noise it draws, and which action its next posterior stands on."""

import numpy as np
import pytest
import torch

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.runtime.transform import to_command
from robot_wm.tasks import agent_spec, make_env
from robot_wm.training.actor import Actor

ENVS = 4000


@pytest.fixture
def actor_of(tiny):
    def make(spec, **changes):
        torch.manual_seed(0)
        agent = DreamerAgent(tiny().settings, spec.model_inputs(), spec.action_dim, spec.action.is_discrete).eval()
        return Actor(agent, spec, **{"envs": ENVS, "seed": 1, **changes})

    return make


@pytest.fixture
def spec():
    env = make_env("cartpole_balance")
    yield agent_spec(env)
    env.close()


@pytest.fixture
def discrete():
    env = make_env("gym:gymnasium:CartPole-v1")
    yield agent_spec(env)
    env.close()


def observed(spec, envs=ENVS):
    return {field.name: np.zeros((envs, *field.shape), field.dtype) for field in spec.observations}


def test_a_continuous_policy_draws_normal_noise_and_a_discrete_one_gumbel_noise(actor_of, spec, discrete):
    actor, chooser = actor_of(spec), actor_of(discrete)
    latent, action = actor._noise(actor._agent.noise).values()
    assert action.mean().item() == pytest.approx(0, abs=0.06)
    assert action.std().item() == pytest.approx(1, abs=0.06)
    for gumbel in (latent, chooser._noise(chooser._agent.noise)["noise/action"]):
        assert gumbel.mean().item() == pytest.approx(0.5772, abs=0.06)
        assert gumbel.std().item() == pytest.approx(np.pi / 6**0.5, abs=0.06)


def test_greedily_there_is_no_noise(actor_of, spec):
    actor = actor_of(spec, greedy=True)
    assert not any(noise.any() for noise in actor._noise(actor._agent.noise).values())


@pytest.mark.parametrize("random", [False, True])
def test_the_next_posterior_stands_on_the_action_that_was_taken(actor_of, spec, random):
    actor = actor_of(spec)
    acted = actor.act(observed(spec), np.ones(ENVS, np.bool_), random=random)
    np.testing.assert_array_equal(to_command(spec.action, actor._state["action"].numpy()), acted.command)
    at_limits = np.abs(actor._state["action"].numpy()) >= 1
    assert at_limits.any() != random  # uniform actions lie between them


def test_random_choices_of_a_discrete_task_are_uniform(actor_of, discrete):
    acted = actor_of(discrete).act(observed(discrete), np.ones(ENVS, np.bool_), random=True)
    assert (acted.command.sum(axis=1) == 1).all()
    assert acted.command.mean(axis=0) == pytest.approx(1 / discrete.action_dim, abs=0.04)


def test_another_action_that_was_executed_takes_the_place_of_the_chosen_one(actor_of, spec):
    told, untold = actor_of(spec, envs=3, greedy=True), actor_of(spec, envs=3, greedy=True)
    first, then = np.ones(3, np.bool_), np.zeros(3, np.bool_)
    for actor in (told, untold):
        actor.act(observed(spec, 3), first)
    other = np.full((3, spec.action_dim), 0.7, np.float32)
    told.executed(other)
    np.testing.assert_array_equal(told._state["action"].numpy(), other)
    assert not np.array_equal(
        told.act(observed(spec, 3), then).stored["deter"], untold.act(observed(spec, 3), then).stored["deter"]
    )
