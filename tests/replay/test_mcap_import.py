"""What is in the episodes of a recording, and that an import is one commit or nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from stories import SHA, SPEC, tell, write

from robot_wm.errors import UserError
from robot_wm.replay.mcap_import import episodes, import_recording
from robot_wm.replay.recording import TickRecording
from robot_wm.replay.runs import find_runs
from robot_wm.replay.store import EpisodeStore
from robot_wm.replay.table import VersionedTable
from robot_wm.spec import ActionSpec


def found(recording: TickRecording, **options) -> list:
    return list(episodes(recording, find_runs(recording).slices, **options))


def test_what_is_in_an_episode():
    recording = tell("F....F...")
    one, other = found(recording)
    # Commands of ticks 1 to 4; what came of the last was not seen.
    np.testing.assert_array_equal(one.action, np.float32([[1, 0.5], [2, 0.5], [3, 0.5], [0, 0]]))
    np.testing.assert_array_equal(one.obs["last_action"], np.float32([[0, 0.5], [1, 0.5], [2, 0.5], [3, 0.5]]))
    np.testing.assert_array_equal(one.obs["mark"], np.float32([[1, -1], [2, -2], [3, -3], [4, -4]]))
    # The operator may ask for -0.5 to 1 m/s forward and for -2 to 2 m/s to the left.
    np.testing.assert_array_equal(one.obs["wish"], np.float32([[1, -1], [1, -2], [1, -2], [1, -2]]))
    assert one.obs["camera"][:, 0, 0, 0].tolist() == [1, 2, 3, 4]
    assert one.is_first.tolist() == [True, False, False, False]
    assert one.is_last.tolist() == [False, False, False, True]
    assert one.is_terminal.tolist() == [False] * 4
    assert (one.reward.dtype, one.reward.tolist()) == (np.float32, [0] * 4)
    # The second does not know of the first.
    np.testing.assert_array_equal(other.action, np.float32([[6, 0.5], [7, 0.5], [0, 0]]))
    np.testing.assert_array_equal(other.obs["last_action"], np.float32([[0, 0.5], [6, 0.5], [7, 0.5]]))
    assert other.obs["camera"][:, 0, 0, 0].tolist() == [6, 7, 8]
    for episode in (one, other):
        episode.require_valid(recording.spec)


def test_where_an_episode_comes_from():
    sources = [episode.source for episode in found(tell("....F..."))]
    assert {(s.kind, s.task, s.robot, s.policy, s.seed) for s in sources} == {("robot", "drive", "toy", SHA, None)}
    # The recording begins 40 ms before a full second; their last ticks are 3 and 7, each published after 2 ms.
    assert sources[0].created_utc == "2036-07-18T13:20:00.022+00:00"
    assert sources[1].created_utc == "2036-07-18T13:20:00.102+00:00"


def test_operators_are_cut_to_both_ends_of_their_range():
    recording = tell("...")
    recording.ticks["observation.wish"] = [[-7, 7], [-0.5, 2], [0.25, -0.25]]
    (episode,) = found(recording)
    np.testing.assert_array_equal(episode.obs["wish"], np.float32([[-0.5, 2], [-0.5, 2], [0.25, -0.25]]))


def test_the_last_action_of_choices_begins_with_none():
    spec = SPEC.model_copy(update={"action": ActionSpec(mode="discrete", joints=("left", "right"), unit="1")})
    recording = tell("...", spec)
    recording.ticks["command"] = [[0, 1], [1, 0], [0, 1]]
    (episode,) = found(recording)
    episode.require_valid(spec)
    assert episode.action.tolist() == [[0, 1], [1, 0], [0, 0]]
    assert episode.obs["last_action"].tolist() == [[0, 0], [0, 1], [1, 0]]


def test_rewards_are_of_what_the_episode_holds():
    given_arguments = []

    def reward(obs, action):
        given_arguments.append((obs, action))
        return obs["mark"][:, 0] + action[:, 0].astype(np.float64)

    one, other = found(tell("...F.."), reward=reward)
    assert (one.reward.dtype, one.reward.tolist()) == (np.float32, [0 + 0, 1 + 1, 2 + 0])
    assert other.reward.tolist() == [4 + 4, 5 + 0]
    for episode, (obs, action) in zip((one, other), given_arguments, strict=True):
        assert obs.keys() == episode.obs.keys() == {"mark", "wish", "last_action", "camera"}
        np.testing.assert_array_equal(action, episode.action)


@pytest.mark.parametrize("change", [lambda obs, action: obs["mark"], lambda obs, action: action])
def test_a_reward_function_cannot_change_the_episode(change: Callable):
    def reward(obs, action):
        change(obs, action)[:] *= 2
        return np.zeros(len(action))

    with pytest.raises(ValueError, match="read-only"):
        found(tell("..."), reward=reward)


@pytest.fixture
def stored(tmp_path: Path) -> EpisodeStore:
    """A store with two episodes of another recording."""
    import_recording(write(tmp_path / "first.mcap", tell("...F...")), tmp_path / "replay")
    return EpisodeStore.open(tmp_path / "replay")


def state(store: EpisodeStore) -> tuple[int, Sequence[str], list[str]]:
    """Version, episodes and what lies beside the store."""
    return store.refresh(), list(store.index.digest), sorted(path.name for path in store.path.parent.iterdir())


# More episodes than are committed at once, so that some are on disk already when the last comes.
MANY = "..I" * 40


def test_an_import_is_one_commit(tmp_path: Path, stored: EpisodeStore):
    recording = tell(MANY)
    path = write(tmp_path / "many.mcap", recording)
    version, digests, beside = state(stored)
    result = import_recording(path, stored.path)
    assert (result.version, result.ticks, result.episodes, result.steps) == (version + 1, 120, 40, 80)
    assert (result.added, result.already_there, result.damage) == (40, 0, ())
    now, all_digests, beside_now = state(stored)
    assert (now, all_digests[:2], len(all_digests), beside_now) == (version + 1, digests, 42, beside)
    for episode, expected in zip(list(stored.episodes())[2:], found(recording), strict=True):
        assert episode.source == expected.source
        for name, column in expected.columns().items():
            np.testing.assert_array_equal(episode.columns()[name], column)
    # What is there is left out, and then there is nothing to commit.
    again = import_recording(path, stored.path)
    assert (again.version, again.episodes, again.added, again.already_there) == (version + 1, 40, 0, 40)
    assert state(stored) == (version + 1, all_digests, beside)


def test_the_store_is_made_if_there_is_none(tmp_path: Path):
    into = tmp_path / "new" / "folder" / "replay"
    result = import_recording(write(tmp_path / "run.mcap", tell("....F.")), into)
    store = EpisodeStore.open(into, SPEC)
    assert (result.version, store.version, store.index.steps.tolist()) == (2, 2, [4])
    assert [path.name for path in store.path.parent.iterdir()] == ["replay"]


@pytest.mark.parametrize("story", ["", "F.F", "DDDD"])
def test_where_nothing_was_driven_nothing_is_added(tmp_path: Path, stored: EpisodeStore, story: str):
    path = write(tmp_path / "rest.mcap", tell(story))
    before = state(stored)
    result = import_recording(path, stored.path)
    assert (result.episodes, result.added, result.version) == (0, 0, before[0])
    assert state(stored) == before
    assert import_recording(path, tmp_path / "other").version == 1


def at_the_last(wrong: Callable[[int], object]) -> Callable:
    """A reward function that is sound for 39 episodes."""
    calls = iter(range(40))

    def reward(obs, action):
        return np.ones(len(action)) if next(calls) < 39 else wrong(len(action))

    return reward


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda steps: np.ones(steps + 1), UserError, r"the reward function returned float64 \(3,\), not 2 numbers"),
        (lambda steps: 1.0, UserError, r"returned float64 \(\), not 2 numbers"),
        (lambda steps: None, UserError, r"returned object \(\), not 2 numbers"),
        (lambda steps: ["a"] * steps, UserError, r"returned <U1 \(2,\), not 2 numbers"),
        (lambda steps: [0.0, np.nan], UserError, "reward: not finite at step 1"),
        (lambda steps: 1 / 0, ZeroDivisionError, "division"),  # as it is, so that its writer sees where
    ],
)
def test_a_reward_function_that_fails_adds_nothing(tmp_path: Path, stored: EpisodeStore, wrong, error, message: str):
    path = write(tmp_path / "many.mcap", tell(MANY))
    before = state(stored)
    with pytest.raises(error, match=message):
        import_recording(path, stored.path, reward=at_the_last(wrong))
    assert state(stored) == before
    with pytest.raises(error, match=message):
        import_recording(path, tmp_path / "new", reward=at_the_last(wrong))
    assert list(EpisodeStore.open(tmp_path / "new").episodes()) == []


def test_a_disk_that_is_full_at_the_end_adds_nothing(tmp_path: Path, stored: EpisodeStore, monkeypatch):
    path = write(tmp_path / "many.mcap", tell(MANY))
    before, append = state(stored), VersionedTable.append

    def full(table, data, doing, **options):
        if table.location == stored.location:
            raise UserError(f"{doing}: No space left on device")
        return append(table, data, doing, **options)

    monkeypatch.setattr(VersionedTable, "append", full)
    with pytest.raises(UserError, match="No space left"):
        import_recording(path, stored.path)
    assert state(stored) == before
    monkeypatch.undo()
    assert import_recording(path, stored.path).added == 40


def test_a_folder_beside_the_store_that_cannot_be_made_is_told(tmp_path: Path):
    path, long = write(tmp_path / "run.mcap", tell("...")), "s" * 250  # what is put beside it has a longer name
    with pytest.raises(UserError, match="cannot be written: File name too long"):
        import_recording(path, tmp_path / long)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"robot": "other"}, r"run\.mcap: made for another agent: robot: 'toy' != 'other'"),
        ({"control_rate_hz": 100.0}, r"control_rate_hz: 50\.0 != 100\.0"),
    ],
)
def test_another_agents_recording_is_refused(tmp_path: Path, stored: EpisodeStore, changes: dict, message: str):
    path = write(tmp_path / "run.mcap", tell("...", SPEC.model_copy(update=changes)))
    before = state(stored)
    with pytest.raises(UserError, match=message):
        import_recording(path, stored.path)
    assert state(stored) == before


def test_what_is_refused_leaves_no_store(tmp_path: Path):
    (tmp_path / "text.mcap").write_text("not an MCAP")
    with pytest.raises(UserError, match=r"text\.mcap: not an MCAP file"):
        import_recording(tmp_path / "text.mcap", tmp_path / "replay")
    path = write(tmp_path / "run.mcap", tell("..."))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="other: exists and is no replay store"):
        import_recording(path, tmp_path / "other")
    assert sorted(found.name for found in tmp_path.rglob("*")) == ["notes.txt", "other", "run.mcap", "text.mcap"]
