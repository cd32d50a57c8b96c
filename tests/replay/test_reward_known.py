"""Whose rewards are known: told by the source when an episode is read, and carried into what is trained on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from marked_steps import make
from stories import SPEC, tell, write

from robot_wm.replay.episode import Episode, EpisodeSource, known_rewards
from robot_wm.replay.export import export
from robot_wm.replay.mcap_import import import_recording
from robot_wm.replay.rows import digest, encode
from robot_wm.replay.sampler import SequenceSampler
from robot_wm.replay.store import EpisodeStore
from robot_wm.spec import ActionSpec, AgentSpec, FirmwareProfile, ObservationField

KNOWN = "rings/rows/reward_known"


def source(kind: str, **says) -> EpisodeSource:
    return EpisodeSource(kind=kind, task="toy_task", robot="toy", **says)


@pytest.mark.parametrize(
    ("told", "reward", "known"),
    [
        (source("sim"), [0, 0, 0], [True, True, True]),
        (source("sim", first_step=4), [0, 0, 0], [True, True, True]),
        (source("robot"), [0, 0, 0], [True, False, False]),
        (source("robot", first_step=4), [0, 0, 0], [False, False, False]),
        (source("robot", rewards_told=True), [0, 0, 0], [True, True, True]),
        (source("robot"), [0, 0, -1], [True, True, True]),  # as older versions stored what a function computed
    ],
)
def test_a_simulator_tells_every_reward_and_a_robot_that_of_its_reset(told, reward, known):
    assert known_rewards(told, np.float32(reward)).tolist() == known


def zeros(obs, action):
    return np.zeros(len(action))


def ones(obs, action):
    return np.ones(len(action))


@pytest.mark.parametrize(
    ("reward", "known", "marked"),
    [
        (None, [True, False, False, False], False),
        (ones, [True] * 4, False),  # the rewards show it, and the episode is that of older versions
        (zeros, [True] * 4, True),
    ],
)
def test_what_a_recording_does_not_tell_is_not_known_unless_a_function_computes_it(tmp_path, reward, known, marked):
    import_recording(write(tmp_path / "one.mcap", tell("....")), tmp_path / "replay", reward=reward)
    (episode,) = EpisodeStore.open(tmp_path / "replay").episodes()
    assert episode.reward_known.tolist() == known
    assert ("rewards_told" in episode.source.model_dump()) == marked


def test_rewards_that_are_computed_as_zero_take_the_place_of_none(tmp_path: Path):
    path, into = write(tmp_path / "one.mcap", tell("....", recording_id="1f" * 16)), tmp_path / "replay"
    import_recording(path, into)
    for replaced in (1, 0):  # the second time nothing is new
        assert import_recording(path, into, reward=zeros).replaced == replaced
    (episode,) = EpisodeStore.open(into).episodes()
    assert episode.reward_known.all()


@pytest.mark.parametrize(("column", "step"), [("reward_known", 1), ("is_first", 2), ("is_last", 0), ("is_terminal", 0)])
def test_what_would_be_read_back_as_another_is_not_stored(make_spec, make_episode, column, step):
    spec = make_spec()
    good = make_episode(spec, steps=4)
    array = getattr(good, column).copy()
    array[step] = not array[step]
    with pytest.raises(ValueError, match=f"episode 8: {column} is not stored"):
        encode([good, dataclasses.replace(good, **{column: array})], spec, first_number=7)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("sim", "bcf37089d46b4de1356c765f3130f288470b3d9d05d57c449dd1b66162e70329"),
        ("robot", "d5a989b618464a6b148141dfac2f5c2ae61c9d555bb3e9b51f758a32a7d04137"),
    ],
)
def test_an_episode_has_the_digest_that_older_versions_gave_it(kind, told):
    spec = AgentSpec(
        task="t",
        robot="r",
        control_rate_hz=10,
        physics_rate_hz=10,
        observations=(ObservationField(name="x", shape=(2,), unit="1"),),
        action=ActionSpec(mode="effort", joints=("a",), unit="N"),
        firmware=FirmwareProfile(name="toy"),
    )
    step, reward = np.arange(3), np.zeros(3, np.float32)
    made = EpisodeSource(kind=kind, task="t", robot="r", created_utc="2026-01-01T00:00:00.000+00:00")
    episode = Episode(
        obs={"x": np.arange(6, dtype=np.float32).reshape(3, 2)},
        action=np.float32([[1], [2], [0]]),
        reward=reward,
        reward_known=known_rewards(made, reward),
        is_first=step == 0,
        is_last=step == 2,
        is_terminal=step < 0,
        source=made,
    )
    episode.require_valid(spec)
    assert digest(episode) == told


def test_a_learner_is_told_of_each_step_whether_its_reward_is_known(tmp_path: Path):
    import_recording(write(tmp_path / "one.mcap", tell("......")), tmp_path / "replay")
    (episode,) = EpisodeStore.open(tmp_path / "replay").episodes()
    sampler = SequenceSampler(SPEC, capacity_steps=100, length=5)
    sampler.add_episode(episode)
    batch = sampler.sample(2)
    np.testing.assert_array_equal(batch.reward_known, batch.is_first)
    assert batch.is_first[:, 0].all()


def test_a_replay_that_an_older_version_saved_knows_all_its_rewards(make_spec, make_episode):
    spec = make_spec()
    first, second, third = (make(spec, streams=1) for _ in range(3))
    episode = make_episode(spec)
    first.add_episode(dataclasses.replace(episode, reward_known=episode.is_first))
    state = first.state_dict()
    second.load_state_dict(state)
    assert second.state_dict()[KNOWN].tolist() == [True] + [False] * 9
    third.load_state_dict({name: array for name, array in state.items() if name != KNOWN})
    assert third.state_dict()[KNOWN].tolist() == [True] * 10


def test_an_export_tells_whose_rewards_are_known(tmp_path: Path):
    import_recording(write(tmp_path / "one.mcap", tell("....")), tmp_path / "replay")
    export(EpisodeStore.open(tmp_path / "replay"), tmp_path / "npz")
    assert np.load(tmp_path / "npz" / "episode_00000000.npz")["reward_known"].tolist() == [True] + [False] * 3
    assert "`reward_known` is false where" in (tmp_path / "npz" / "README.md").read_text()
