"""The sampler told apart by planted marks: every row says which stream and step it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marked_steps import STORED, Feeder, make, marks, one_step, stored

from robot_wm.errors import UserError
from robot_wm.runtime.transform import History, to_command
from robot_wm.step import Steps, column_names


@given(
    history=st.integers(1, 4),
    streams=st.integers(1, 3),
    length=st.integers(1, 5),
    spare=st.integers(0, 12),
    lengths=st.lists(st.tuples(st.integers(0, 2), st.integers(2, 30), st.booleans()), min_size=1, max_size=8),
)
@settings(max_examples=80, deadline=None)
def test_every_window_is_one_stream_in_order_and_aligned(make_spec, history, streams, length, spare, lengths):
    spec = make_spec(history=history)
    capacity = length + 1 + spare
    sampler = make(spec, capacity_steps=capacity * streams, streams=streams, length=length)
    feeder = Feeder(spec, sampler)
    for stream, steps, cut in lengths:
        feeder.episode(stream % streams, steps)
        if cut:  # an episode that the next one interrupts
            feeder.step(stream % streams, first=True, last=False)
            feeder.ended[stream % streams][-1] = True
    if not sampler.windows:
        with pytest.raises(ValueError, match="steps yet"):
            sampler.sample(1)
        return
    batch = sampler.sample(32)
    stream, step = marks(batch)
    assert (stream == stream[:, :1]).all()
    assert (np.diff(step, axis=1) == 1).all()
    count = np.array(feeder.steps)[stream[:, 0]]
    assert (step[:, 0] >= count - capacity).all()
    assert (step[:, -1] < count).all()
    for b, t in np.ndindex(stream.shape):
        s, k = int(stream[b, t]), int(step[b, t])
        assert batch.reward[b, t] == s * 1000 + k
        assert batch.reward_known[b, t] == (k % 3 > 0)
        assert batch.is_first[b, t] == (feeder.begun[s][k] == k)
        newest_of_cut = k == feeder.steps[s] - 1  # nothing has interrupted it yet
        if not newest_of_cut:
            assert batch.is_last[b, t] == feeder.ended[s][k]
        if batch.is_last[b, t]:
            assert not batch.action[b, t].any()
        else:
            assert to_command(spec.action, batch.action[b, t])[0] == s * 1000 + k
        past = [max(k - f, feeder.begun[s][k]) for f in range(history - 1, -1, -1)]
        assert batch.obs["mark"][b, t].tolist() == [x for p in past for x in (s, p)]
    s, k = stream[:, 0], step[:, 0]
    assert (batch.stored["deter"] == (((s * 300 + k) / 8)[:, None])).all()
    assert (batch.stored["stoch"] == ((s * 50 + k) % 256)[:, None]).all()


@pytest.mark.parametrize("history", [1, 3])
def test_history_and_scaling_equal_the_controllers(make_spec, make_episode, history):
    spec = make_spec(history=history, image=True)
    sampler = make(spec, capacity_steps=30, streams=1, length=20)
    episodes = [make_episode(spec, number=n, steps=steps) for n, steps in enumerate((12, 2, 16))]
    for episode in episodes:
        sampler.add_episode(episode)
    field = spec.observations[1]
    frames = History(history, 3)
    expected = []
    for episode in episodes:
        for t in range(episode.length):
            raw = episode.obs["angle"][t]
            scaled = np.clip((raw - np.float32(1)) * np.array(field.scale, np.float32), -4, 4)
            expected.append(frames.push(scaled[None], t == 0)[0].copy())
    images = np.concatenate([episode.obs["camera"] for episode in episodes])
    batch = sampler.sample(8)
    for b, start in enumerate(batch.index[:, 0]):  # one stream: the index is the position
        np.testing.assert_array_equal(batch.obs["angle"][b], np.array(expected[start : start + 21]))
        np.testing.assert_array_equal(batch.obs["camera"][b], images[start : start + 21])
    assert {k: v.shape[2:] for k, v in batch.obs.items()} == {k: v.shape for k, v in spec.model_inputs().items()}
    assert {k: str(v.dtype) for k, v in batch.obs.items()} == {k: v.dtype for k, v in spec.model_inputs().items()}


@given(chunks=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 25), st.integers(0, 3)), max_size=12))
@settings(max_examples=60, deadline=None)
def test_every_new_step_is_trained_on_once_before_uniform_sampling(make_spec, chunks):
    spec = make_spec()
    length, streams = 4, 3
    sampler = make(spec, capacity_steps=3000, streams=streams, length=length)
    feeder = Feeder(spec, sampler)
    trained = []
    for stream, steps, batch in chunks:
        for _ in range(steps):
            feeder.step(stream, first=feeder.steps[stream] == 0, last=False)
        if batch and sampler.fresh_windows >= batch:
            taken = sampler.sample(batch)
            trained += zip(*(m[:, 1:].ravel().tolist() for m in marks(taken)), strict=True)
    while sampler.fresh_windows:
        taken = sampler.sample(1)
        trained += zip(*(m[:, 1:].ravel().tolist() for m in marks(taken)), strict=True)
    whole = [(n - 1) // length * length if n else 0 for n in feeder.steps]
    assert sorted(trained) == [(s, k) for s in range(streams) for k in range(1, whole[s] + 1)]


def test_a_look_changes_nothing_of_what_is_drawn_later(make_spec):
    sampler = make(make_spec(), capacity_steps=200, streams=2, length=4)
    feeder = Feeder(sampler.spec, sampler)
    with pytest.raises(ValueError, match="no stream holds 4"):
        sampler.look(1, np.random.default_rng(0))
    feeder.episode(0, 40)
    feeder.episode(1, 20)
    before = sampler.state_dict()
    seen = sampler.look(500, np.random.default_rng(0))
    after = sampler.state_dict()
    assert [name for name in before if not np.array_equal(before[name], after[name])] == []
    stream, step = marks(seen)
    # Every window of both streams, each about as often: 36 of one and 16 of the other.
    assert {*zip(stream[:, 0].tolist(), step[:, 0].tolist(), strict=True)} == {
        *((0, k) for k in range(36)),
        *((1, k) for k in range(16)),
    }
    again = sampler.look(500, np.random.default_rng(0))
    np.testing.assert_array_equal(seen.index, again.index)


def test_fresh_windows_fill_the_batch_first_and_uniform_ones_the_rest(make_spec):
    sampler = make(make_spec(), capacity_steps=400)
    feeder = Feeder(sampler.spec, sampler)
    feeder.episode(0, 9)
    feeder.episode(1, 5)
    starts = sampler.sample(6).index[:, 0]
    stream, start = starts % 2, starts // 2
    assert list(zip(stream[:3].tolist(), start[:3].tolist(), strict=True)) == [(0, 0), (0, 4), (1, 0)]
    assert sampler.fresh_windows == 0


def test_fresh_windows_that_were_overwritten_are_dropped(make_spec):
    sampler = make(make_spec(), capacity_steps=12, streams=1)
    feeder = Feeder(sampler.spec, sampler)
    feeder.episode(0, 41)
    batch = sampler.sample(4)
    assert sorted(batch.index[:2, 0].tolist()) == [32, 36]
    assert (batch.index[:, 0] >= 29).all()


def test_uniform_draws_cover_all_valid_starts_alike(make_spec):
    sampler = make(make_spec(), capacity_steps=60, streams=3, length=4)
    feeder = Feeder(sampler.spec, sampler)
    feeder.episode(0, 50)  # wrapped: 20 steps, 16 starts
    feeder.episode(1, 10)  # 6 starts
    feeder.episode(2, 4)  # too short
    while sampler.fresh_windows:
        sampler.sample(1)
    assert sampler.windows == 22
    starts = sampler.sample(22_000).index[:, 0]
    seen, counts = np.unique(starts, return_counts=True)
    assert {(x % 3, x // 3) for x in seen.tolist()} == {(0, k) for k in range(30, 46)} | {(1, k) for k in range(6)}
    chi_square = ((counts - 1000) ** 2 / 1000).sum()
    assert chi_square < 46.8  # 99.9 % quantile of 21 degrees of freedom


@pytest.mark.parametrize("drawn", [3, 12, 13])  # the generator keeps half a word back after an odd number of draws
def test_state_continues_bit_for_bit(make_spec, drawn):
    spec = make_spec(history=2, image=True)
    first = make(spec, capacity_steps=30)
    feeder = Feeder(spec, first)
    for n in range(5):
        feeder.episode(n % 2, 9 + n)
    feeder.step(0, first=True, last=False)
    batch = first.sample(drawn)
    first.write_back(batch.index[:, 1:], stored(0.5, 3, rows=(drawn, 4)))
    state = first.state_dict()
    assert all(type(array) is np.ndarray and array.dtype != object for array in state.values())
    second = make(spec, capacity_steps=30, seed=99)
    second.load_state_dict(state)
    twin = Feeder(spec, second)
    twin.steps, twin.begun, twin.ended = [*feeder.steps], [[*b] for b in feeder.begun], [[*e] for e in feeder.ended]
    for _ in range(3):
        a, b = first.sample(5), second.sample(5)
        for name in (*column_names(Steps), "index"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        for ours, theirs in ((a.obs, b.obs), (a.stored, b.stored)):
            assert ours.keys() == theirs.keys()
            for name, values in ours.items():
                np.testing.assert_array_equal(values, theirs[name])
        feeder.step(0, first=False, last=False)
        twin.step(0, first=False, last=False)
    assert all(np.array_equal(x, second.state_dict()[k]) for k, x in first.state_dict().items())


def test_a_step_needs_an_episode_that_runs(make_spec):
    sampler = make(make_spec())
    feeder = Feeder(sampler.spec, sampler)
    for _ in range(2):  # in an empty stream, and behind an end
        feeder.begun[0].append(0)
        with pytest.raises(ValueError, match="stream 0: a step without is_first follows the end of an episode"):
            feeder.step(0, first=False, last=False)
        feeder.episode(0, 3)
    assert len(sampler) == 6
    assert sampler.state_dict()["rings/count"].tolist() == [6, 0]


def test_the_state_of_a_replay_that_is_not_full_holds_every_step(make_spec):
    first, second = make(make_spec(), capacity_steps=200), make(make_spec(), capacity_steps=200, seed=99)
    feeder = Feeder(first.spec, first)
    feeder.episode(0, 12)
    feeder.episode(1, 9)
    state = first.state_dict()
    assert len(state["rings/rows/reward"]) == 12 + 9
    second.load_state_dict(state)
    ours, theirs = (sampler.look(200, np.random.default_rng(0)) for sampler in (first, second))
    assert 0 in marks(ours)[1]
    np.testing.assert_array_equal(ours.obs["mark"], theirs.obs["mark"])
    np.testing.assert_array_equal(ours.action, theirs.action)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"length": 5}, "length"),
        ({"streams": 1}, "streams"),
        ({"capacity_steps": 80}, "capacity"),
        ({"stored": (replace(STORED[0], shape=(4,)), STORED[1])}, r"deter \(3,\), but this run has \(4,\)"),
        ({"stored": STORED[:1]}, "stoch"),
    ],
)
def test_state_of_another_layout_is_refused(make_spec, options, word):
    with pytest.raises(UserError, match=word):
        make(make_spec(), **options).load_state_dict(make(make_spec()).state_dict())


def test_state_of_another_spec_is_refused(make_spec):
    with pytest.raises(UserError, match="AgentSpec"):
        make(make_spec(robot="other")).load_state_dict(make(make_spec()).state_dict())


@given(lengths=st.lists(st.integers(2, 40), min_size=1, max_size=5), history=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_a_whole_episode_equals_its_steps(make_spec, make_episode, lengths, history):
    spec = make_spec(history=history, image=True)
    whole, single = make(spec, capacity_steps=24), make(spec, capacity_steps=24)
    for number, steps in enumerate(lengths):
        episode = make_episode(spec, number=number, steps=steps)
        stream = whole.add_episode(episode)
        for t in range(steps):
            obs = {name: values[t] for name, values in episode.obs.items()}
            flags = (episode.is_first[t], episode.is_last[t], episode.is_terminal[t])
            single.add_episode(one_step(obs, episode.action[t], episode.reward[t], *flags), stream=stream)
    a, b = whole.state_dict(), single.state_dict()
    assert a.keys() == b.keys()
    for name, array in a.items():
        np.testing.assert_array_equal(array, b[name], err_msg=name)


def test_known_experience_is_not_fresh_again(make_spec, make_episode):
    sampler = make(make_spec(), streams=1)
    sampler.add_episode(make_episode(sampler.spec, steps=30), fresh=False)
    assert sampler.fresh_windows == 0
    assert sampler.windows == 26
    sampler.add_episode(make_episode(sampler.spec, steps=9))
    assert sampler.sample(2).index[:, 0].tolist() == [29, 33]


def test_an_episode_goes_to_the_emptiest_idle_stream(make_spec, make_episode):
    sampler = make(make_spec(), capacity_steps=300, streams=3)
    feeder = Feeder(sampler.spec, sampler)
    feeder.step(0, first=True, last=False)
    assert [sampler.add_episode(make_episode(sampler.spec, steps=n)) for n in (20, 5, 5, 5)] == [1, 2, 2, 2]


def test_a_capacity_that_holds_no_window_is_refused(make_spec):
    with pytest.raises(UserError, match="7 steps among 2 streams"):
        make(make_spec(), capacity_steps=7)


def test_a_value_that_is_not_finite_is_named_with_its_step(make_spec, make_episode):
    sampler = make(make_spec())
    sampler.add_episode(make_episode(sampler.spec, steps=5), stream=1)
    bad = make_episode(sampler.spec, steps=6)
    bad.reward[3] = np.nan
    with pytest.raises(UserError, match="stream 1: reward is not finite at step 8"):
        sampler.add_episode(bad, stream=1)


def test_discrete_actions_stay_one_hot(make_spec, make_episode):
    sampler = make(make_spec(discrete=True), streams=1)
    sampler.add_episode(make_episode(sampler.spec, number=1, steps=9))
    batch = sampler.sample(1)
    chosen = (1 + marks(batch)[1][0]) % 3
    np.testing.assert_array_equal(batch.action[0], np.eye(3, dtype=np.float32)[chosen])
