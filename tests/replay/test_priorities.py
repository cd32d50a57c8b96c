"""Windows drawn by priority: how often, with which weights, and which of them at all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marked_steps import Feeder, make, marks

from robot_wm.replay.mixture import Mixture
from robot_wm.replay.priorities import SumTree


@given(st.integers(1, 3000), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_the_tree_finds_what_a_cumulative_sum_finds(leaves, seed):
    rng = np.random.default_rng(seed)
    tree, plain = SumTree(leaves), np.zeros(leaves)
    for _ in range(5):
        at = rng.integers(leaves, size=7)
        values = rng.integers(0, 9, size=7).astype(float)  # whole numbers: both sum them exactly
        tree.put(at, values)
        plain[at] = values  # of a leaf named twice the later value counts here, too
    assert tree.total == plain.sum()
    assert tree.largest == plain.max()
    if plain.any():
        targets = np.append(rng.random(50) * plain.sum(), [0.0, np.nextafter(plain.sum(), 0)])
        np.testing.assert_array_equal(tree.find(targets), np.searchsorted(np.cumsum(plain), targets, side="right"))


def test_a_target_that_rounding_carries_too_far_finds_the_last_leaf_that_holds_anything():
    tree = SumTree(100)
    tree.put(np.array([3, 40]), np.array([0.1, 0.2]))
    assert tree.find(np.array([0.3, 0.31])).tolist() == [40, 40]


def test_every_leaf_can_be_found_also_the_last_child_of_a_node():
    tree = SumTree(1100)
    tree.put(np.arange(1100), 1.0)
    np.testing.assert_array_equal(tree.find(np.arange(1100) + 0.5), np.arange(1100))


def prioritised(make_spec, **options):
    sampler = make(make_spec(), **{"priority_exponent": 0.5, "priority_correction": 1.0} | options)
    return sampler, Feeder(sampler.spec, sampler)


def test_a_window_is_drawn_as_often_as_the_root_of_its_error_says_and_weighs_the_less(make_spec):
    sampler, feeder = prioritised(make_spec, streams=1)
    feeder.episode(0, 8)  # four windows
    assert sampler.fresh_windows == 0
    assert sampler.prioritise(np.arange(4), np.float32([1, 4, 9, 36])) == 4  # priorities 1, 2, 3, 6 of 12
    drawn = sampler.sample(24_000)
    share = np.bincount(drawn.index[:, 0], minlength=4) / 24_000
    np.testing.assert_allclose(share, np.array([1, 2, 3, 6]) / 12, atol=0.012)
    # (4 * probability) ** -1 is 3, 1.5, 1, 0.5, of which the mean is near 1.
    np.testing.assert_allclose(drawn.window["weight"], np.array([3, 1.5, 1, 0.5])[drawn.index[:, 0]], rtol=0.05)
    assert drawn.window["weight"].mean() == pytest.approx(1, abs=1e-6)
    # So any mean over windows comes out as if they had been drawn evenly.
    mean = np.average(drawn.index[:, 0], weights=drawn.window["weight"])
    assert mean == pytest.approx(1.5, abs=0.04)


def test_half_a_correction_weighs_by_the_root(make_spec):
    sampler, feeder = prioritised(make_spec, streams=1, priority_correction=0.5)
    feeder.episode(0, 6)  # two windows
    sampler.prioritise(np.arange(2), np.float32([1, 16]))  # priorities 1 and 4
    drawn = sampler.sample(64)
    rare = drawn.window["weight"][drawn.index[:, 0] == 0]
    often = drawn.window["weight"][drawn.index[:, 0] == 1]
    np.testing.assert_allclose(rare[0] / often, 2, rtol=1e-6)


def test_a_new_window_has_the_largest_priority_there_is(make_spec):
    sampler, feeder = prioritised(make_spec, streams=1)
    feeder.step(0, first=True, last=False)
    for _ in range(5):
        feeder.step(0, first=False, last=False)
    sampler.prioritise(np.arange(2), np.float32([0.0, 100.0]))  # priorities next to nothing and 10
    feeder.step(0, first=False, last=False)
    share = np.bincount(sampler.sample(4000).index[:, 0], minlength=3) / 4000
    np.testing.assert_allclose(share, [0, 0.5, 0.5], atol=0.04)
    assert share[0] < 0.01


def test_an_error_of_nothing_can_still_be_drawn_and_one_that_is_no_number_changes_nothing(make_spec):
    sampler, feeder = prioritised(make_spec, streams=1, priority_exponent=0.1)
    feeder.episode(0, 6)
    assert sampler.prioritise(np.arange(2), np.float32([0, 0])) == 2
    assert set(sampler.sample(200).index[:, 0].tolist()) == {0, 1}
    before = sampler.state_dict()["priorities"]
    assert sampler.prioritise(np.arange(2), np.float32([np.nan, np.inf])) == 0
    np.testing.assert_array_equal(sampler.state_dict()["priorities"], before)


@given(
    history=st.integers(1, 3),
    streams=st.integers(1, 3),
    spare=st.integers(0, 12),
    story=st.lists(st.tuples(st.integers(0, 2), st.integers(2, 30), st.booleans()), min_size=1, max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_exactly_the_whole_windows_that_are_left_can_be_drawn(make_spec, history, streams, spare, story):
    capacity = 5 + spare
    sampler = make(
        make_spec(history=history), capacity_steps=capacity * streams, streams=streams, priority_exponent=1.0
    )
    feeder = Feeder(sampler.spec, sampler)
    for stream, steps, tell in story:
        feeder.episode(stream % streams, steps)
        if tell and sampler.windows:
            names = sampler.sample(8).index[:, 0]
            sampler.prioritise(names, np.ones(8, np.float32))
    can = {(s, k) for s, n in enumerate(feeder.steps) for k in range(max(0, n - capacity), n - 4)}
    assert sampler.windows == len(can)
    if can:
        batch = sampler.sample(40 * len(can))
        stream, step = marks(batch)
        assert set(zip(stream[:, 0].tolist(), step[:, 0].tolist(), strict=True)) == can
        assert (np.diff(step, axis=1) == 1).all()


def test_what_was_overwritten_since_it_was_drawn_keeps_its_error_to_itself(make_spec):
    sampler, feeder = prioritised(make_spec, streams=1, capacity_steps=10)
    feeder.episode(0, 10)
    feeder.episode(0, 6)  # context steps 0..5 are gone, 6..11 are left
    assert sampler.prioritise(np.arange(4, 9), np.float32([9e9] * 5)) == 3
    assert sampler.sample(200).index[:, 0].min() == 6


def test_ages_count_the_steps_of_all_streams_since_the_first_trained_one(make_spec):
    sampler = make(make_spec(), streams=2, capacity_steps=200)
    feeder = Feeder(sampler.spec, sampler)
    feeder.episode(0, 9)
    feeder.episode(1, 20)
    drawn = sampler.look(50, np.random.default_rng(0))
    stream, step = marks(drawn)
    newest = np.array([8, 19])[stream[:, 0]]
    np.testing.assert_array_equal(drawn.window["age"], 2.0 * (newest - step[:, 1]))
    assert (drawn.window["weight"] == 1).all()


def test_priorities_come_back_bit_for_bit(make_spec):
    sampler, feeder = prioritised(make_spec, streams=2, capacity_steps=24)
    feeder.episode(0, 30)
    feeder.episode(1, 9)
    sampler.prioritise(sampler.sample(16).index[:, 0], np.linspace(0, 5, 16, dtype=np.float32))
    state = sampler.state_dict()
    other, _ = prioritised(make_spec, streams=2, capacity_steps=24, seed=99)
    other.load_state_dict(state)
    for _ in range(3):
        one, two = sampler.sample(9), other.sample(9)
        np.testing.assert_array_equal(one.index, two.index)
        np.testing.assert_array_equal(one.window["weight"], two.window["weight"])
        for each in (sampler, other):
            Feeder(each.spec, each).step(0, first=True, last=False)


def test_a_state_without_priorities_begins_them_and_one_with_them_can_do_without(make_spec):
    uniform = make(make_spec(), streams=1)
    Feeder(uniform.spec, uniform).episode(0, 12)
    sampler, _ = prioritised(make_spec, streams=1)
    sampler.load_state_dict(uniform.state_dict())
    assert set(sampler.sample(300).index[:, 0].tolist()) == set(range(8))
    uniform.load_state_dict(sampler.state_dict())
    assert uniform.windows == 8


def test_an_exponent_of_0_draws_as_ever(make_spec):
    plain, none = make(make_spec()), make(make_spec(), priority_exponent=0.0, priority_correction=1.0)
    for sampler in (plain, none):
        Feeder(sampler.spec, sampler).episode(0, 40)
    assert none.prioritise(np.array([0]), np.float32([9])) == 0
    assert "priorities" not in none.state_dict()
    for _ in range(4):
        np.testing.assert_array_equal(plain.sample(5).index, none.sample(5).index)


def test_a_mixture_hands_each_error_to_the_sampler_that_the_window_is_from(make_spec):
    samplers = [make(make_spec(), streams=1, priority_exponent=1.0) for _ in range(2)]
    for sampler in samplers:
        Feeder(sampler.spec, sampler).episode(0, 20)
    mixture = Mixture(samplers[0])
    mixture.parts["other"] = type(mixture.parts["own"])(samplers[1], 0.5)
    batch = mixture.sample(6)
    assert batch.window["weight"].shape == (6,)
    before = [sampler.state_dict()["priorities"] for sampler in samplers]
    assert mixture.prioritise(batch.index[:, 0], np.full(6, 50, np.float32)) == 6
    after = [sampler.state_dict()["priorities"] for sampler in samplers]
    for was, now, names in zip(before, after, np.split(batch.index[:, 0] & 0xFFFF, 2), strict=True):
        assert set(np.flatnonzero(was != now).tolist()) == set(names.tolist())
        assert (now[names] == 50).all()
