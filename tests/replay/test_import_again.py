"""Which episodes are the same when a recording comes again: whole, in part, with other rewards, with ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from stories import SPEC, tell, write

from robot_wm.errors import UserError
from robot_wm.replay.mcap_import import import_recording
from robot_wm.replay.store import EpisodeStore
from robot_wm.runtime.tick_log import Recorder

ID = "1f" * 16
LEFT = Recorder(namespace="/left", agent="/left/agent", host="jetson", serial="A1-007")


def recording(story: str, **says):
    return tell(story, **{"recording_id": ID, "recorder": LEFT} | says)


def counts(result) -> tuple[int, int, int]:
    return result.added, result.replaced, result.already_there


def twice(obs, action):
    return 2.0 * np.ones(len(action))


def thrice(obs, action):
    return 3.0 * np.ones(len(action))


def falls(at: int, until: int | None = None):
    """A reward function of a task that has ended at tick ``at``, and is set up again at tick ``until``."""

    def judge(obs, action):
        tick = obs["mark"][:, 0]
        return tick, (tick >= at) & (tick < (until or np.inf))

    return judge


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "replay"


def lengths(into: Path) -> list[int]:
    return EpisodeStore.open(into).index.steps.tolist()


def rewards(into: Path) -> list[float]:
    return [float(episode.reward[0]) for episode in EpisodeStore.open(into).episodes()]


def test_other_rewards_take_the_old_ones_place_in_a_new_version(tmp_path: Path, into: Path):
    import_recording(write(tmp_path / "before.mcap", recording("....", recording_id="before")), into)
    path = write(tmp_path / "run.mcap", recording("...F..F....."))
    assert counts(import_recording(path, into)) == (3, 0, 0)
    import_recording(write(tmp_path / "behind.mcap", recording("......", recording_id="behind")), into)
    version = EpisodeStore.open(into).version
    result = import_recording(path, into, reward=twice)
    assert (counts(result), result.version) == ((3, 3, 0), version + 1)
    assert lengths(into) == [4, 3, 2, 5, 6]
    assert rewards(into) == [0, 2, 2, 2, 0]
    store = EpisodeStore.open(into)
    assert store.index.number.tolist() == [0, 1, 2, 3, 4]
    assert store.verify() == []
    # The same rewards once more change nothing; without any, what is there stays as it is.
    for again in (twice, None):
        result = import_recording(path, into, reward=again)
        assert (counts(result), result.version, result.episodes, result.steps) == ((0, 0, 3), version + 1, 3, 10)
    assert counts(import_recording(path, into, reward=thrice)) == (3, 3, 0)
    assert rewards(into) == [0, 3, 3, 3, 0]
    # Older versions keep theirs.
    assert [float(episode.reward[0]) for episode in EpisodeStore.open(into, version=version).episodes()] == [0] * 5


def test_a_renamed_recording_is_the_same_and_another_with_equal_ticks_is_not(tmp_path: Path, into: Path):
    import_recording(write(tmp_path / "run.mcap", recording("....")), into)
    assert counts(import_recording(write(tmp_path / "other_name.mcap", recording("....")), into)) == (0, 0, 1)
    assert counts(import_recording(write(tmp_path / "b.mcap", recording("....", recording_id="b")), into)) == (1, 0, 0)
    # Older recordings have no id: their content tells them.
    for name, added in (("c", 1), ("d", 0)):
        path = write(tmp_path / f"{name}.mcap", tell("...."))
        assert import_recording(path, into).added == added
    assert import_recording(write(tmp_path / "e.mcap", tell(".....")), into).added == 1


def test_a_part_of_a_recording_adds_what_is_not_there(tmp_path: Path, into: Path):
    whole = recording("." * 20 + "F" + "." * 9)
    first = write(tmp_path / "first.mcap", whole, only=slice(0, 12))
    middle = write(tmp_path / "middle.mcap", whole, only=slice(8, 24))
    all_of_it = write(tmp_path / "whole.mcap", whole)
    assert counts(import_recording(first, into)) == (1, 0, 0)
    assert counts(import_recording(middle, into)) == (2, 0, 1)
    assert lengths(into) == [12, 8, 3]
    assert counts(import_recording(all_of_it, into)) == (1, 0, 3)
    assert lengths(into) == [12, 8, 3, 6]
    # With rewards a part cannot take the place of what has more ticks than it has.
    before = EpisodeStore.open(into).version
    with pytest.raises(UserError, match=r"middle\.mcap: episode 0 of .* ticks 0 to 11 .* import the whole recording"):
        import_recording(middle, into, reward=twice)
    assert EpisodeStore.open(into).version == before
    assert counts(import_recording(all_of_it, into, reward=twice)) == (2, 4, 0)
    assert (lengths(into), rewards(into)) == ([20, 9], [2, 2])


def test_an_end_that_the_task_tells_is_terminal_and_ends_the_episode(tmp_path: Path, into: Path):
    path = write(tmp_path / "run.mcap", recording("." * 10))
    result = import_recording(path, into, reward=falls(3, until=6))
    assert (counts(result), result.terminated, result.after_end, result.steps) == ((2, 0, 0), 1, 2, 8)
    fell, again = EpisodeStore.open(into).episodes()
    assert (fell.length, fell.is_terminal.tolist()) == (4, [False, False, False, True])
    assert (again.length, again.is_terminal.any()) == (4, False)
    assert (fell.reward.tolist(), again.reward.tolist()) == ([0, 1, 2, 3], [6, 7, 8, 9])
    for episode, begin in ((fell, 0), (again, 6)):
        commands = [[begin + n, 0.5] for n in range(3)]
        np.testing.assert_array_equal(episode.action, np.float32([*commands, [0, 0]]))
        # The second does not know of the first.
        np.testing.assert_array_equal(episode.obs["last_action"], np.float32([[0, 0.5], *commands]))
        assert episode.source.recording is not None
        assert (episode.source.recording.first, episode.source.recording.last) == (0, 9)
        assert episode.source.recording.begin == begin
    # What lies behind an end is left out also when the recording comes again without the function.
    assert counts(import_recording(path, into)) == (0, 0, 2)
    # No end, and all of it is one episode again.
    assert counts(import_recording(path, into, reward=falls(100))) == (1, 2, 0)
    assert (lengths(into), EpisodeStore.open(into).index.terminated.tolist()) == ([10], [False])


def test_only_what_has_changed_of_a_stretch_gives_way(tmp_path: Path, into: Path):
    path = write(tmp_path / "run.mcap", recording("." * 10))
    import_recording(path, into, reward=falls(3, until=6))
    first = EpisodeStore.open(into).index.digest[0]
    assert counts(import_recording(path, into, reward=falls(3, until=7))) == (1, 1, 1)
    assert (lengths(into), EpisodeStore.open(into).index.digest[0]) == ([4, 3], first)


def test_an_end_at_the_first_step_is_no_episode(tmp_path: Path, into: Path):
    path = write(tmp_path / "run.mcap", recording("." * 6))
    result = import_recording(path, into, reward=falls(0, until=4))
    assert (result.episodes, result.terminated, lengths(into)) == (1, 0, [2])


@pytest.mark.parametrize(
    ("terminal", "message"),
    [
        (lambda steps: np.zeros(steps), r"returned float64 \(4,\) for terminal, not 4 bool"),
        (lambda steps: np.zeros(steps + 1, bool), r"returned bool \(5,\) for terminal, not 4 bool"),
        (lambda steps: None, r"returned object \(\) for terminal, not 4 bool"),
    ],
)
def test_a_wrong_end_is_refused(tmp_path: Path, into: Path, terminal, message: str):
    path = write(tmp_path / "run.mcap", recording("...."))
    with pytest.raises(UserError, match=message):
        import_recording(path, into, reward=lambda obs, action: (np.zeros(len(action)), terminal(len(action))))


def test_a_bridge_is_marked_and_repeats_what_was_known(tmp_path: Path, into: Path):
    result = import_recording(write(tmp_path / "run.mcap", recording("." * 20 + "ss" + "...")), into)
    assert (result.steps, result.runs.bridged_ticks) == (25, 2)
    assert "2 ticks skipped: 2 in 1 gaps bridged, cut at the other 0 places" in result.line()
    (episode,) = EpisodeStore.open(into).episodes()
    tick = [*range(20), 19, 19, 20, 21, 22]
    assert episode.obs["mark"][:, 0].tolist() == tick
    assert episode.obs["camera"][:, 0, 0, 0].tolist() == tick
    assert episode.action[:, 0].tolist() == [*tick[:-1], 0]
    assert episode.obs["last_action"][1:, 0].tolist() == tick[:-1]
    assert episode.source.recording is not None
    assert episode.source.recording.bridged == (20, 21)
    episode.require_valid(SPEC)


def test_an_episode_says_which_robot_recorded_it(tmp_path: Path, into: Path):
    result = import_recording(write(tmp_path / "run.mcap", recording("....")), into)
    assert result.recorder == "toy /left/agent on jetson serial A1-007"
    (episode,) = EpisodeStore.open(into).episodes()
    place = episode.source.recording
    assert place is not None
    assert (place.id, place.namespace, place.agent) == (ID, "/left", "/left/agent")
    assert (place.host, place.serial) == ("jetson", "A1-007")


def test_stores_that_both_have_a_recording_are_joined_without_doubles(tmp_path: Path, into: Path):
    path = write(tmp_path / "run.mcap", recording("...F...."))
    import_recording(path, into, reward=twice)
    import_recording(path, tmp_path / "other")
    import_recording(write(tmp_path / "more.mcap", recording(".....", recording_id="more")), tmp_path / "other")
    store, other = EpisodeStore.open(into), EpisodeStore.open(tmp_path / "other")
    result = store.merge(other)
    assert (result.added, result.already_there, result.replaced) == (1, 2, 0)
    assert rewards(into) == [2, 2, 0]
    assert (store.merge(other).added, len(EpisodeStore.open(into).index.number)) == (0, 3)


def test_a_damaged_episode_is_not_written_anew_in_silence(tmp_path: Path, into: Path):
    import_recording(write(tmp_path / "other.mcap", recording(".....", recording_id="other")), into)
    path = write(tmp_path / "run.mcap", recording("...."))
    import_recording(path, into)
    file = min((into / "data").iterdir(), key=lambda found: found.stat().st_mtime_ns)
    file.write_bytes(b"\0" * file.stat().st_size)
    before = EpisodeStore.open(into).version
    with pytest.raises(UserError, match="damaged"):
        import_recording(path, into, reward=twice)
    assert EpisodeStore.open(into).version == before
