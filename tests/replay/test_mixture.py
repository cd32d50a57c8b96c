"""Batches of several samplers: each gets its share, and what comes back goes to where it was drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from marked_steps import S, make, marks, stored

from robot_wm.replay.mixture import Apportioned, Mixture, Part
from robot_wm.step import Steps, column_names


def filled(make_spec, make_episode, *, steps, number, fresh=False, **options):
    sampler = make(make_spec(), streams=1, **options)
    if steps:
        sampler.add_episode(make_episode(sampler.spec, number=number, steps=steps), fresh=fresh)
    return sampler


def from_which(batch):
    """[B] the number of the episode that each window is of."""
    return marks(batch)[0][:, 0]


@given(
    weights=st.lists(st.floats(0.01, 1), min_size=1, max_size=4),
    counts=st.lists(st.integers(0, 17), min_size=1, max_size=40),
)
def test_counts_are_right_on_average_and_never_more_than_a_few_windows_off(weights, counts):
    parts, named = Apportioned(), {str(k): weight for k, weight in enumerate(weights)}
    got = dict.fromkeys(named, 0)
    for count in counts:
        split = parts.split(count, named)
        assert sum(split.values()) == count
        assert min(split.values()) >= 0
        for name, part in split.items():
            got[name] += part
    for name, weight in named.items():
        assert got[name] == pytest.approx(sum(counts) * weight / sum(weights), abs=len(weights))


def test_alone_it_draws_what_the_runs_own_sampler_draws(make_spec, make_episode):
    plain, own = (filled(make_spec, make_episode, steps=30, number=3, fresh=True) for _ in range(2))
    mixture = Mixture(own)
    mixture.parts["empty"] = Part(filled(make_spec, make_episode, steps=0, number=0), 0.5)
    for size in (3, 16):
        ours, theirs = mixture.sample(size), plain.sample(size)
        np.testing.assert_array_equal(ours.index, theirs.index)
        for name in column_names(Steps):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def test_a_share_is_kept_over_batches_and_the_rest_is_drawn_by_windows(make_spec, make_episode):
    mixture = Mixture(filled(make_spec, make_episode, steps=14, number=0))  # 10 windows of 4 + 1 steps
    mixture.parts["robot"] = Part(filled(make_spec, make_episode, steps=20, number=1), 0.3)
    mixture.parts["pool"] = Part(filled(make_spec, make_episode, steps=34, number=2))  # 30 windows
    found = np.concatenate([from_which(mixture.sample(5)) for _ in range(80)])
    np.testing.assert_array_equal(np.bincount(found), [70, 120, 210])
    assert [part.drawn for part in mixture.parts.values()] == [70, 120, 210]


def test_fresh_windows_of_the_run_come_first_in_what_no_share_takes(make_spec, make_episode):
    mixture = Mixture(filled(make_spec, make_episode, steps=21, number=0, fresh=True))  # 5 fresh windows
    mixture.parts["robot"] = Part(filled(make_spec, make_episode, steps=40, number=1), 0.5)
    mixture.parts["pool"] = Part(filled(make_spec, make_episode, steps=60, number=2))
    for _ in range(2):
        assert sorted(from_which(mixture.sample(4))) == [0, 0, 1, 1]
    assert mixture.own.fresh_windows == 1


def test_what_is_written_back_goes_to_where_it_was_drawn(make_spec, make_episode):
    samplers = [filled(make_spec, make_episode, steps=20, number=k) for k in range(3)]
    mixture = Mixture(samplers[0])
    mixture.parts |= {"robot": Part(samplers[1], 0.25), "pool": Part(samplers[2])}
    batch = mixture.sample(40)
    which = from_which(batch)
    assert set(which) == {0, 1, 2}
    values = stored(0, 0, rows=(40, 4))
    values["stoch"][:] = (10 * which)[:, None, None] + np.arange(S)
    assert mixture.write_back(batch.index[:, 1:], values) == 160
    for number, sampler in enumerate(samplers):
        kept = sampler.sample(200).stored["stoch"]
        assert set(kept[:, 0].tolist()) <= {0, 10 * number}
        assert (kept[:, 0] == 10 * number).any()


def test_a_look_changes_nothing(make_spec, make_episode):
    ours, theirs = (Mixture(filled(make_spec, make_episode, steps=20, number=0)) for _ in range(2))
    for mixture in (ours, theirs):
        mixture.parts["robot"] = Part(filled(make_spec, make_episode, steps=20, number=1), 0.3)
        mixture.sample(5)
    seen = ours.look(10, np.random.default_rng(1))
    assert np.bincount(from_which(seen)).tolist() in ([7, 3], [6, 4])
    np.testing.assert_array_equal(ours.sample(5).index, theirs.sample(5).index)


def test_without_steps_of_its_own_the_stores_are_drawn_from_alone(make_spec, make_episode):
    mixture = Mixture(filled(make_spec, make_episode, steps=0, number=0))
    with pytest.raises(ValueError, match="no stream holds"):
        mixture.sample(2)
    mixture.parts["robot"] = Part(filled(make_spec, make_episode, steps=20, number=1), 0.3)
    assert set(from_which(mixture.sample(6))) == {1}
