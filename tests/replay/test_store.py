"""The durable store: what goes in comes back, in every version that is kept."""

from __future__ import annotations

import dataclasses
import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_wm.errors import UserError
from robot_wm.replay.rows import encode
from robot_wm.replay.sampler import SequenceSampler
from robot_wm.replay.store import EpisodeStore
from robot_wm.replay.upkeep import Upkeep
from robot_wm.runtime.transform import to_command


def same(a, b):
    assert a.source == b.source
    x, y = a.columns(), b.columns()
    assert x.keys() == y.keys()
    for name, array in x.items():
        assert array.dtype == y[name].dtype
        np.testing.assert_array_equal(array, y[name])
    return True


@pytest.fixture
def stored(tmp_path, make_spec, make_episode):
    """Six episodes, one commit each: version k + 1 holds the first k."""
    spec = make_spec(image=True)
    store = EpisodeStore.create(tmp_path / "replay", spec)
    episodes = [make_episode(spec, number=n, steps=5 + n, terminal=n % 2 == 0) for n in range(6)]
    for episode in episodes:
        store.append([episode])
    return store, episodes


@given(
    lengths=st.lists(st.integers(2, 40), max_size=5),
    batch=st.integers(1, 3),
    discrete=st.booleans(),
    history=st.integers(1, 3),
)
@settings(max_examples=15, deadline=None)
def test_episodes_come_back_equal(tmp_path_factory, make_spec, make_episode, lengths, batch, discrete, history):
    spec = make_spec(image=True, discrete=discrete, history=history)
    path = tmp_path_factory.mktemp("store") / "replay"
    episodes = [make_episode(spec, number=n, steps=steps, terminal=n == 1) for n, steps in enumerate(lengths)]
    with EpisodeStore.create(path, spec, options=Upkeep(commit_episodes=batch)) as store:
        for n, episode in enumerate(episodes):
            assert store.append([episode]) == 1 + (n + 1) // batch
            assert store.pending == (n + 1) % batch
    again = EpisodeStore.open(path, spec)
    assert again.spec == spec
    assert all(same(a, b) for a, b in zip(again.episodes(), episodes, strict=True))
    assert again.index.number.tolist() == list(range(len(episodes)))
    assert again.index.steps.tolist() == lengths
    assert again.index.total.tolist() == [episode.episode_return for episode in episodes]


def test_marker_stays_aligned_from_store_through_sampler_to_batch(tmp_path, make_spec, make_episode):
    spec = make_spec(history=2)
    with EpisodeStore.create(tmp_path / "replay", spec, options=Upkeep(commit_episodes=4)) as store:
        store.append([make_episode(spec, number=n, steps=7 + n) for n in range(9)])
    sampler = SequenceSampler(spec, capacity_steps=400, length=5, streams=2, seed=1)
    for episode in EpisodeStore.open(tmp_path / "replay").episodes():
        sampler.add_episode(episode)
    batch = sampler.sample(60)
    number, step = batch.obs["mark"][..., 2].astype(int), batch.obs["mark"][..., 3].astype(int)
    command = to_command(spec.action, batch.action)[..., 0]
    last = step == number + 6
    np.testing.assert_array_equal(batch.is_last, last)
    np.testing.assert_array_equal(command[~last], (number * 1000 + step)[~last])
    np.testing.assert_array_equal(batch.reward, step * 0.5)
    np.testing.assert_array_equal(batch.is_first, step == 0)
    np.testing.assert_array_equal(batch.obs["mark"][..., 1].astype(int), np.maximum(step - 1, 0))


def test_time_travel_by_number_and_tag(stored):
    store, episodes = stored
    store.tag("half", 4)
    for version in (1, 4, "4", "half", 7):
        old = EpisodeStore.open(store.path, version=version)
        held = {"half": 3}.get(version, int(version) - 1 if version != "half" else 3)
        assert all(same(a, b) for a, b in zip(old.episodes(), episodes[:held], strict=True))
    with pytest.raises(UserError, match="opened at version 4, which never changes"):
        EpisodeStore.open(store.path, version=4).append(episodes)
    for version, words in ((99, "no version 99"), ("nope", "no tag 'nope'; there are: half")):
        with pytest.raises(UserError, match=words):
            EpisodeStore.open(store.path, version=version)


def test_checkout_makes_an_old_version_the_newest_and_loses_none(stored, make_episode):
    store, _episodes = stored
    assert store.checkout(3) == 8
    assert [e.length for e in store.episodes()] == [5, 6]
    store.append([make_episode(store.spec, number=77)])
    assert store.index.number.tolist() == [0, 1, 2]
    assert len(list(EpisodeStore.open(store.path, version=7).episodes())) == 6


def test_log_tells_each_version(stored):
    store, episodes = stored
    store.tag("best")
    store.tag("start", 2)
    log = store.log()
    assert [entry["version"] for entry in log] == [7, 6, 5, 4, 3, 2, 1]
    for entry in log:
        held = episodes[: entry["version"] - 1]
        assert (entry["episodes"], entry["steps"]) == (len(held), sum(e.length for e in held))
        mean = np.mean([e.reward.sum() for e in held]) if held else None
        assert entry["return_mean"] == (pytest.approx(mean) if held else None)
        assert entry["committed_utc"].endswith("+00:00")
    assert {entry["version"]: entry["tags"] for entry in log if entry["tags"]} == {7: ["best"], 2: ["start"]}
    assert [entry["version"] for entry in store.log(limit=2)] == [7, 6]


def test_tags_move_only_when_asked(stored):
    store, _ = stored
    store.tag("best", 3)
    with pytest.raises(UserError, match="is version 3 already"):
        store.tag("best", 5)
    assert store.tag("best", 5, move=True) == 5
    assert store.tags() == {"best": 5}
    store.untag("best")
    assert store.tags() == {}
    for name in ("12", "a b", "../x", ""):
        with pytest.raises(UserError, match="a letter, then"):
            store.tag(name)


def test_two_writers_take_turns(stored, make_episode):
    first, _episodes = stored
    second = EpisodeStore.open(first.path)
    second.append([make_episode(first.spec, number=50)])
    first.append([make_episode(first.spec, number=51)])
    second.append([make_episode(first.spec, number=52)])
    assert first.refresh() == second.version == 10
    assert first.index.number.tolist() == list(range(9))
    assert [e.source.seed for e in first.episodes()][-3:] == [50, 51, 52]


def test_newest_steps_are_whole_episodes(stored):
    store, _ = stored  # lengths 5..10
    assert [e.length for e in store.episodes(newest_steps=19)] == [9, 10]
    assert [e.length for e in store.episodes(newest_steps=18)] == [10]
    assert len(list(store.episodes(newest_steps=10_000))) == 6


def test_an_episode_is_found_by_its_number_also_where_older_ones_have_gone(stored):
    store, episodes = stored
    assert all(same(store.episode(number), episodes[number]) for number in range(6))
    store.enforce_quota(max_steps=8 + 9 + 10)
    assert all(same(store.episode(number), episodes[number]) for number in (3, 4, 5))
    for number in (2, 6, -1):
        with pytest.raises(UserError, match=rf"has episodes 3 to 5, not {number}"):
            store.episode(number)


def test_another_spec_is_refused_by_name(stored, make_spec, make_episode):
    store, _ = stored
    other = make_spec(image=True, robot="other")
    with pytest.raises(UserError, match=r"robot: 'other' != 'toy'"):
        EpisodeStore.open(store.path, other)
    wider = make_spec(image=True, discrete=True)
    with pytest.raises(UserError, match="action"):
        store.append([make_episode(wider)])
    renamed = store.spec.observations[0].model_copy(update={"topic": "/elsewhere"})
    same_robot = store.spec.model_copy(update={"observations": (renamed, *store.spec.observations[1:])})
    assert EpisodeStore.open(store.path, same_robot).version == 7


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"reward": np.array([0, np.nan, 0], np.float32)}, "reward: not finite at step 1"),
        ({"reward": np.zeros(3)}, "reward: float64"),
        ({"action": np.zeros((3, 1), np.float32)}, r"action: float32 \(3, 1\)"),
        ({"action": np.ones((3, 2), np.float32)}, "not zero at the last step"),
        ({"is_first": np.array([True, False, True])}, r"is_first: true at steps \[0, 2\]"),
        ({"is_last": np.zeros(3, bool)}, r"is_last: true at steps \[\]"),
        ({"is_terminal": np.array([False, True, True])}, "is_terminal: true at step 1"),
        ({"obs": {}}, "obs/angle: missing"),
    ],
)
def test_an_episode_that_the_spec_does_not_describe_is_refused(tmp_path, make_spec, make_episode, change, words):
    spec = make_spec()
    store = EpisodeStore.create(tmp_path / "replay", spec)
    good = make_episode(spec, steps=3)
    with pytest.raises(UserError, match=words):
        store.append([good, dataclasses.replace(good, **change)])
    assert (store.version, store.pending) == (1, 0)


def test_discrete_actions_must_be_one_hot(tmp_path, make_spec, make_episode):
    spec = make_spec(discrete=True)
    episode = make_episode(spec, steps=4)
    action = episode.action.copy()
    action[1] = (0.5, 0.5, 0)
    with pytest.raises(UserError, match="not one-hot at step 1"):
        dataclasses.replace(episode, action=action).require_valid(spec)


def test_what_is_no_store_is_refused(tmp_path, make_spec, make_episode):
    import lance
    import pyarrow as pa

    spec = make_spec()
    with pytest.raises(UserError, match="no replay store here"):
        EpisodeStore.open(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="exists and is no replay store"):
        EpisodeStore.create(tmp_path / "full", spec)
    EpisodeStore.create(tmp_path / "store", spec)
    with pytest.raises(UserError, match="already"):
        EpisodeStore.create(tmp_path / "store", spec)
    lance.write_dataset(pa.table({"x": [1]}), str(tmp_path / "foreign"))
    with pytest.raises(UserError, match="no robot_wm replay store"):
        EpisodeStore.open(tmp_path / "foreign")


def test_a_folder_whose_name_is_no_text_is_refused(tmp_path, make_spec):
    folder = tmp_path / os.fsdecode(b"\xff")
    for make in (lambda: EpisodeStore.create(folder, make_spec()), lambda: EpisodeStore.open(folder)):
        with pytest.raises(UserError, match="its name is not UTF-8; the replay store takes no other"):
            make()


def test_merge_keeps_sources_and_leaves_out_what_is_there(stored, tmp_path, make_spec, make_episode):
    store, episodes = stored
    other = EpisodeStore.create(tmp_path / "other", store.spec)
    robot = make_episode(store.spec, number=8, policy="agent.rwm")
    robot = dataclasses.replace(robot, source=robot.source.model_copy(update={"kind": "robot", "seed": None}))
    other.append([robot, episodes[2]])
    result = store.merge(other)
    assert (result.version, result.added, result.already_there, result.skipped) == (8, 1, 1, ())
    assert all(same(a, b) for a, b in zip(store.episodes(), [*episodes, robot], strict=True))
    assert store.index.number.tolist() == list(range(7))
    assert store.merge(other).version == 8  # nothing new, no commit
    stranger = EpisodeStore.create(tmp_path / "stranger", make_spec(image=True, robot="other"))
    with pytest.raises(UserError, match="robot"):
        store.merge(stranger)


def test_a_merge_leaves_out_what_another_process_has_added(stored, tmp_path, make_episode):
    store, episodes = stored
    new = make_episode(store.spec, number=8)
    EpisodeStore.open(store.path).append([new])
    other = EpisodeStore.create(tmp_path / "other", store.spec)
    other.append([new, make_episode(store.spec, number=9)])
    result = store.merge(other)
    assert (result.added, result.already_there) == (1, 1)
    assert [episode.source.seed for episode in store.episodes()] == [0, 1, 2, 3, 4, 5, 8, 9]
    assert store.index.number.tolist() == list(range(len(episodes) + 2))


def test_commits_that_wait_are_what_others_do_not_see(tmp_path, make_spec, make_episode):
    spec = make_spec()
    store = EpisodeStore.create(tmp_path / "replay", spec, options=Upkeep(commit_episodes=3))
    store.append([make_episode(spec, number=n) for n in range(2)])
    assert len(EpisodeStore.open(store.path).index.number) == 0
    store.flush()
    assert len(EpisodeStore.open(store.path).index.number) == 2


def test_an_episode_that_no_recording_holds_is_stored_as_it_was_before_recordings_were_named(make_spec, make_episode):
    """Its digest is what tells it from others, also in stores that were written before."""
    spec = make_spec()
    batch = encode([make_episode(spec)], spec, first_number=0)
    assert set(json.loads(batch.column("source")[0].as_py())) == {
        "kind", "task", "robot", "seed", "backend", "policy", "created_utc"
    }  # fmt: skip
