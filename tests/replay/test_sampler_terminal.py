"""A share of every batch from where episodes terminate."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_wm.replay.sampler import SequenceSampler


def filled(make_spec, make_episode, episodes, *, share, length=3, capacity=400, streams=2, seed=0):
    """A sampler of those (steps, terminal), one episode after the other, with no fresh windows left."""
    spec = make_spec()
    sampler = SequenceSampler(
        spec, capacity_steps=capacity, length=length, streams=streams, terminal_share=share, seed=seed
    )
    for number, (steps, terminal) in enumerate(episodes):
        sampler.add_episode(make_episode(spec, number=number, steps=steps, terminal=terminal), fresh=False)
    return sampler


def holds_an_end(batch):
    """[B] whether a trained step is terminal."""
    return batch.is_terminal[:, 1:].any(axis=1)


@given(
    episodes=st.lists(st.tuples(st.integers(1, 12), st.booleans()), min_size=2, max_size=12),
    share=st.sampled_from([0.0, 0.1, 0.25, 1.0]),
    capacity=st.sampled_from([20, 40, 400]),
    seed=st.integers(0, 9),
)
@settings(max_examples=80, deadline=None)
def test_the_share_is_kept_wherever_a_window_can_hold_an_end(make_spec, make_episode, episodes, share, capacity, seed):
    sampler = filled(make_spec, make_episode, episodes, share=share, capacity=capacity, seed=seed)
    if not sampler.windows:
        return
    every = sampler.look(2000, np.random.default_rng(0))  # uniformly
    batch = sampler.sample(40)
    assert len(batch.reward) == 40
    if holds_an_end(every).any():
        assert holds_an_end(batch).sum() >= round(share * 40)
    known = set(every.index[:, 0].tolist())
    assert set(batch.index[:, 0].tolist()) <= known  # no window that is none


def test_each_end_and_each_place_of_it_is_drawn_alike(make_spec, make_episode):
    episodes = [(10, True), (10, False), (30, True), (10, False)]
    sampler = filled(make_spec, make_episode, episodes, share=1.0, streams=1)
    batch = sampler.sample(6000)
    place = batch.is_terminal[:, 1:].argmax(axis=1)  # [B] in the trained steps
    episode = batch.obs["mark"][np.arange(6000), place + 1, 0]
    for end in (0, 2):
        for at in range(3):
            assert np.mean((episode == end) & (place == at)) == pytest.approx(1 / 6, abs=0.02)


def test_fresh_windows_go_first(make_spec, make_episode):
    spec = make_spec()
    sampler = SequenceSampler(spec, capacity_steps=100, length=3, terminal_share=1.0)
    sampler.add_episode(make_episode(spec, number=0, steps=13, terminal=True))  # four whole fresh windows
    batch = sampler.sample(6)
    assert batch.index[:4, 0].tolist() == [0, 3, 6, 9]
    assert holds_an_end(batch)[4:].all()


def test_without_an_end_all_is_uniform(make_spec, make_episode):
    with_share, without = (
        filled(make_spec, make_episode, [(20, False)], share=share, streams=1) for share in (0.5, 0.0)
    )
    np.testing.assert_array_equal(with_share.sample(50).index, without.sample(50).index)
