"""What a collector makes of its environments' steps and its actor's choices, one transition a call."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.training.actor import Actor
from robot_wm.training.collector import InlineCollector
from robot_wm.training.env_pool import EnvPool
from robot_wm.training.random_actions import RandomActions

ENVS, LENGTH = 2, 3
COUNT, LAST = 0, 3  # entries of the toy's state: steps so far, sum of the last action


@pytest.fixture
def collect(tiny_dreamer, monkeypatch):
    """Makes a collector of the toy that counts its steps; keywords go to it, ``ending`` to the toy."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    made = []

    def make(*, ending="terminated", **changes) -> InlineCollector:
        options = {"length": LENGTH, "ending": ending, "observation": "proprio"}
        pool = EnvPool("gym:toy_envs:toys/Counter-v0", options, envs=ENVS, seed=3)
        spec = pool.agent_spec
        torch.manual_seed(0)
        agent = DreamerAgent(tiny_dreamer, spec.model_inputs(), spec.action_dim, spec.action.is_discrete).eval()
        made.append(InlineCollector(pool, agent, **{"seed": 1, **changes}))
        return made[-1]

    yield make
    for collector in made:
        collector.close()


def steps(collector, count, *, policy="7", random=False):
    collector.publish(None, policy=policy, random=random, steps_permitted=0)
    return [transition for _ in range(count) for transition in collector.poll()]


def test_a_poll_is_one_step_and_what_it_sends_is_what_it_tells(collect):
    told = steps(collect(), 9)
    assert len(told) == 9
    for before, after in pairwise(told):
        counts = after.obs["state"][:, COUNT]
        np.testing.assert_array_equal(after.is_first, counts == 0)
        np.testing.assert_array_equal(after.is_last, counts == LENGTH)
        np.testing.assert_array_equal(after.reward, counts)  # the toy's: how many steps it has come
        within = ~after.is_first
        np.testing.assert_allclose(after.obs["state"][within, LAST], before.action[within].sum(-1), atol=1e-5)
    assert told[0].is_first.all()


def test_where_an_episode_has_ended_nothing_is_done(collect):
    told = steps(collect(), 8)
    for transition in told:
        assert not transition.action[transition.is_last].any()
        assert (np.abs(transition.action[~transition.is_last]).sum(-1) > 0).all()


@pytest.mark.parametrize("ending", ["terminated", "truncated"])
def test_ends_seeds_and_success_are_the_environments(collect, ending):
    told = steps(collect(ending=ending), 8)
    for transition in told:
        np.testing.assert_array_equal(transition.is_terminal, transition.is_last & (ending == "terminated"))
        np.testing.assert_array_equal(np.isfinite(transition.success), transition.is_last)
        assert transition.figures.shape == (ENVS, 0)
    seeds = np.stack([transition.seed for transition in told])
    assert (seeds[: LENGTH + 1] == seeds[0]).all()  # of one episode
    assert (seeds[LENGTH + 1] != seeds[0]).all()
    assert [t.success[0] for t in told if t.is_last[0]] == [0.0, 1.0]


def test_it_acts_at_random_until_it_is_told_otherwise_and_says_who_acted(collect):
    still = RandomActions(span=0.0)  # every action is the middle of its range: 1
    collector = collect(random_actions=still)
    (first,) = collector.poll()
    assert first.policy == "random"
    np.testing.assert_allclose(first.action, 1.0)
    (mine,) = steps(collector, 1, policy="12")
    assert mine.policy == "12"
    assert (np.abs(mine.action - 1.0) > 1e-3).any()
    (again,) = steps(collector, 1, policy="13", random=True)
    assert again.policy == "random"
    np.testing.assert_allclose(again.action, 1.0)


def test_what_the_actor_stood_on_is_told(collect):
    collector = collect()
    (told,) = steps(collector, 1)
    state = collector._actor._state
    np.testing.assert_array_equal(told.stored["deter"], state["deter"].half().numpy())
    np.testing.assert_array_equal(np.eye(4)[told.stored["stoch"]], state["stoch"].numpy())


def test_noise_goes_on_from_where_it_was(collect):
    one = collect()
    steps(one, 3)
    (state,) = one.rng_states()
    assert not torch.equal(state, collect(seed=1).rng_states()[0])
    assert torch.equal(collect(seed=99, rng_states=[state]).rng_states()[0], state)
    seeds = [steps(collect(seed=seed), 1)[0].action for seed in (1, 1, 2)]
    np.testing.assert_array_equal(seeds[0], seeds[1])
    assert not np.array_equal(seeds[0], seeds[2])


def test_an_action_that_is_not_finite_is_never_sent(collect, monkeypatch):
    collector = collect()
    real = Actor.act
    spoilt = np.float32([[0.5, np.nan], [0.5, 0.5]])

    def act(self, *arguments, **named):
        acted = real(self, *arguments, **named)
        return type(acted)(**{**vars(acted), "command": spoilt})

    monkeypatch.setattr(Actor, "act", act)
    sent = []
    monkeypatch.setattr(EnvPool, "send", lambda self, actions: sent.append(actions))
    with pytest.raises(RuntimeError, match="action is not finite: nan"):
        collector.poll()
    assert sent == []


def test_it_closes_its_simulators(collect):
    collector = collect()
    collector.close()
    with pytest.raises(RuntimeError, match="closed"):
        collector.poll()
