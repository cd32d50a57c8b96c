"""Steps of several collectors that come in any order, and what goes to a collector elsewhere and comes back."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from test_experience import SPEC, STORED, transition

from robot_wm.agents import agent_kind
from robot_wm.errors import UserError
from robot_wm.replay.sampler import SequenceSampler
from robot_wm.replay.store import EpisodeStore
from robot_wm.training.cluster import weights
from robot_wm.training.cluster.seat import branch_seed
from robot_wm.training.experience import Experience
from robot_wm.training.policy_age import PolicyAge


@pytest.fixture
def taken(tmp_path):
    """Of two collectors of two environments each."""
    sampler = SequenceSampler(SPEC, capacity_steps=400, length=2, streams=4, stored=STORED)
    store = EpisodeStore.create(tmp_path / "store", SPEC)
    told = {"figure_names": ("late", "fall"), "randomisation_names": ("mass_kg", "untold")}
    return Experience(SPEC, sampler, store, streams=4, backends=["a", "b", "c", "d"], **told), sampler, store


def of(collector, step, first, last):
    """A step of one of them, whose marks tell (environment of it, step)."""
    made = transition(step, [first] * 2, [last] * 2)
    return replace(made, first_stream=2 * collector, seed=made.seed + 1000 * collector)


def test_what_one_collector_brings_leaves_the_others_alone(taken):
    experience, sampler, store = taken
    order = [0, 1, 1, 1, 0, 1, 0, 0, 1]  # whose step comes
    steps = [0, 0]
    for collector in order:
        step = steps[collector]
        steps[collector] += 1
        finished = experience.add(of(collector, step, step % 4 == 0, step % 4 == 3))
        assert [episode.length for episode in finished] == [3, 3] * (step % 4 == 3)
    np.testing.assert_array_equal(sampler.rings.count, [4, 4, 5, 5])
    np.testing.assert_array_equal(sampler.rings.open, [False, False, True, True])
    fresh = sampler.sample(sampler.fresh_windows)
    assert sorted(set((fresh.index[:, 0] % 4).tolist())) == [0, 1, 2, 3]
    for stream in range(4):
        rows = sampler.at(np.array([stream]), np.array([1])).obs["mark"][0, :, :2]
        np.testing.assert_array_equal(rows[:, 0], stream % 2)
        np.testing.assert_array_equal(rows[:, 1], [1, 2, 3])
    experience.close()
    whole = [episode for episode in store.episodes() if not episode.source.goes_on]
    assert sorted((episode.source.backend, episode.source.seed // 1000) for episode in whole) == [
        ("a", 0),
        ("b", 0),
        ("c", 1),
        ("d", 1),
    ]
    assert len(list(store.episodes())) == 4, "a reset alone is no episode"


def test_a_collector_that_begins_anew_costs_what_it_ran_and_nothing_else(taken):
    experience, sampler, store = taken
    for step in range(3):
        experience.add(of(0, step, step == 0, False))
        experience.add(of(1, step, step == 0, False))
    experience.add(of(1, 0, True, False))  # another one takes its place
    for step in range(1, 3):
        experience.add(of(1, step, False, step == 2))
    experience.close()
    stored = {episode.source.backend: episode for episode in store.episodes()}
    assert {name: episode.length for name, episode in stored.items()} == {"a": 3, "b": 3, "c": 3, "d": 3}
    assert {name for name, episode in stored.items() if not episode.source.goes_on} == {"c", "d"}
    lost = sampler.at(np.array([2, 3]), np.array([1, 1]))
    assert lost.is_last[:, 1].all()
    assert not lost.is_terminal.any()
    assert lost.is_first[:, 2].all()


def test_the_age_of_weights_is_told_for_each_interval(taken):
    experience, _, _ = taken
    made = SimpleNamespace(updates=5)
    ages = PolicyAge(experience, lambda: made.updates)
    experience.add(replace(of(0, 0, True, False), policy="random"))
    assert ages.scalars() == {}
    experience.add(replace(of(0, 1, False, False), policy="5"))
    experience.add(replace(of(1, 0, True, False), policy="2"))
    assert ages.scalars() == {"actor/age_updates": 1.5, "actor/age_updates_max": 3.0}
    assert ages.scalars() == {}


def agent_of(settings, seed):
    torch.manual_seed(seed)
    blind = SPEC.model_copy(update={"observations": SPEC.observations[:1]})
    return agent_kind("dreamer").make_agent(settings, blind).eval()


def test_weights_arrive_by_their_names(tiny_dreamer):
    one, other = agent_of(tiny_dreamer, 0), agent_of(tiny_dreamer, 1)
    rest = {name: value.clone() for name, value in other.state_dict().items()}
    weights.load(other, weights.encode(one))
    acting = weights.acting_tensors(other)
    assert len(acting) == len(list(other.acting()))
    for name, value in other.state_dict().items():
        told = one.state_dict() if name in acting else rest
        assert torch.equal(value, told[name]), name


def test_weights_of_another_agent_are_refused_by_name(tiny_dreamer):
    wider = tiny_dreamer.model_copy(update={"units": 24})
    with pytest.raises(UserError, match=r"^weights: actor\S* is \(24,.*\), but \(16,.*\) acts here"):
        weights.load(agent_of(tiny_dreamer, 0), weights.encode(agent_of(wider, 0)))


def test_every_collector_has_a_seed_of_its_own_and_one_that_takes_a_place_another():
    seeds = [branch_seed(7, index, generation) for index in range(8) for generation in range(4)]
    assert seeds[0] == 7
    assert len(set(seeds)) == len(seeds)
    assert max(seeds) < 2**31
    assert branch_seed(8, 1, 0) != branch_seed(7, 1, 0)


@pytest.mark.parametrize(
    ("told", "named"),
    [
        (dict(actor="ray"), "actor=ray needs a ray_address"),
        (dict(collectors=2), "collectors 2 need actor=ray"),
        (dict(actor="ray", ray_address="auto", realtime=True), "realtime needs actor=process"),
        (dict(actor="ray", ray_address="auto", collectors=64), "for each of 128 environments"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(tiny, told, named):
    with pytest.raises(ValidationError, match=named):
        tiny(**{"replay_capacity_steps": 1000, **told})
