"""One step of every stream at once: equal to the same steps one after the other, and refused as a whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marked_steps import STORED, D, S

from robot_wm.errors import UserError
from robot_wm.replay.episode import Episode, EpisodeSource
from robot_wm.replay.sampler import SequenceSampler
from robot_wm.step import Steps


@given(
    history=st.integers(1, 3),
    discrete=st.booleans(),
    streams=st.integers(1, 4),
    length=st.integers(1, 4),
    spare=st.integers(0, 6),
    begins=st.lists(st.lists(st.sampled_from(["go on", "end", "cut off"]), min_size=4, max_size=4), max_size=30),
    latents=st.booleans(),
    drawn=st.integers(1, 6),
)
@settings(max_examples=80, deadline=None)
def test_a_step_of_all_streams_equals_its_single_steps(
    make_spec, history, discrete, streams, length, spare, begins, latents, drawn
):
    spec = make_spec(history=history, discrete=discrete, image=True)
    together, singly = (
        SequenceSampler(
            spec, capacity_steps=(length + 1 + spare) * streams, length=length, streams=streams, stored=STORED
        )
        for _ in range(2)
    )
    rng = np.random.default_rng(len(begins))
    ended = np.ones(streams, bool)  # [streams] no episode is running
    for step, words in enumerate(begins):
        word = np.array(words[:streams])
        first = ended | (word == "cut off")  # where one is running, it is cut off by the next
        last = (word == "end") & ~first
        obs = {
            "mark": np.stack([np.arange(streams), np.full(streams, step)], axis=1).astype(np.float32),
            "angle": rng.normal(0, 4, (streams, 3)).astype(np.float32),
            "camera": rng.integers(0, 256, (streams, 4, 5, 3), dtype=np.uint8),
        }
        columns = dict(
            action=rng.normal(size=(streams, spec.action_dim)).astype(np.float32),
            reward=rng.normal(size=streams).astype(np.float32),
            reward_known=rng.random(streams) < 0.5,
            is_first=first,
            is_last=last,
            is_terminal=last & (rng.random(streams) < 0.5),
        )
        posterior = dict(deter=rng.normal(size=(streams, D)), stoch=rng.integers(0, 256, (streams, S)))
        together.add_step(Steps(obs=obs, **columns), stored=posterior if latents else None)
        for n in range(streams):
            one = slice(n, n + 1)
            singly.add_episode(
                Episode(
                    obs={name: value[one] for name, value in obs.items()},
                    **{name: value[one] for name, value in columns.items()},
                    source=EpisodeSource(kind="sim", task="toy_task", robot="toy"),
                ),
                stream=n,
                stored={name: value[one] for name, value in posterior.items()} if latents else None,
            )
        ended = last
        if step % 5 == 4 and together.windows:  # what has been drawn is no longer fresh
            assert_same(together.sample(drawn), singly.sample(drawn))
    a, b = together.state_dict(), singly.state_dict()
    assert a.keys() == b.keys()
    for name, array in a.items():
        np.testing.assert_array_equal(array, b[name], err_msg=name)
    if together.windows:
        assert_same(together.sample(20), singly.sample(20))


def assert_same(batch, other):
    assert batch.obs.keys() == other.obs.keys()
    for group in ("obs", "stored", "window"):
        for name, array in getattr(batch, group).items():
            np.testing.assert_array_equal(array, getattr(other, group)[name], err_msg=name)
    for name, array in vars(batch).items():
        if name not in ("obs", "stored", "window"):
            np.testing.assert_array_equal(array, getattr(other, name), err_msg=name)


def test_refusals_name_the_stream(make_spec):
    sampler = SequenceSampler(make_spec(), capacity_steps=60, length=4, streams=2, stored=STORED)
    obs = {"mark": np.zeros((2, 2), np.float32), "angle": np.zeros((2, 3), np.float32)}
    on, off = np.ones(2, bool), np.zeros(2, bool)
    flags = dict(reward_known=on, is_first=on, is_last=off, is_terminal=off)
    step = Steps(obs=obs, action=np.zeros((2, 2)), reward=np.zeros(2), **flags)
    with pytest.raises(ValueError, match="stream 1: a step without is_first"):
        sampler.add_step(replace(step, **{"is_first": np.array([True, False])}))
    with pytest.raises(UserError, match="stream 1: obs/angle is not finite at step 0"):
        sampler.add_step(replace(step, obs=obs | {"angle": np.float32([[0, 0, 0], [0, np.nan, 0]])}))
    with pytest.raises(UserError, match="stream 0: reward is not finite"):
        sampler.add_step(replace(step, **{"reward": [np.inf, 0]}))
    with pytest.raises(ValueError, match="obs/angle"):
        sampler.add_step(replace(step, obs=obs | {"angle": np.zeros((2, 4), np.float32)}))
    with pytest.raises(ValueError, match="reward"):
        sampler.add_step(replace(step, **{"reward": np.zeros(1)}))
    with pytest.raises(ValueError, match="deter"):
        sampler.add_step(step, stored={"deter": np.zeros((2, D + 1)), "stoch": np.zeros((2, S))})
    with pytest.raises(ValueError, match=r"value: not declared; stored are \['deter', 'stoch'\]"):
        sampler.add_step(step, stored={"value": np.zeros(2)})
    assert len(sampler) == 0  # of a bad step nothing is stored, in no stream
    sampler.add_step(step)
    with pytest.raises(UserError, match="stream 1: action is not finite at step 1"):
        sampler.add_step(replace(step, **{"is_first": off, "action": [[0, 0], [0, np.nan]]}))
