"""What is recorded for how long, when a file ends, which recordings go, and what is recorded beside the ticks."""

from __future__ import annotations

import fcntl
import os
import time
from dataclasses import replace

import pytest
from mcap.reader import make_reader
from recorder_ticks import SHA, add, make_tick, open_recorder, record, wait_for

from robot_wm.errors import UserError
from robot_wm.replay.mcap_import import import_recording
from robot_wm.replay.recording import read_recording
from robot_wm.runtime.modes import Mode
from robot_wm.runtime.recorder import TickRecorder
from robot_wm.runtime.recording_limits import RecordingLimits
from robot_wm.runtime.tick_log import Recorder, Topic

MIB = 2**20
DAY_S = 86_400


def plant(folder, name: str, mib: float = 1.0, age_days: float = 0.0):
    """A file of that size, last written so long ago."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(b"")
    os.truncate(path, int(mib * MIB))
    then_s = time.time() - age_days * DAY_S
    os.utime(path, (then_s, then_s))
    return path


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_oldest_recordings_go_until_the_rest_fits(tmp_path):
    for age in (3, 1, 2):
        plant(tmp_path, f"arm_2036070{9 - age}T000000Z.mcap", 4, age_days=age)
    open_files = os.listdir("/proc/self/fd")
    told = RecordingLimits(folder_mib=10).make_room(tmp_path)
    assert os.listdir("/proc/self/fd") == open_files
    assert told == ["arm_20360706T000000Z.mcap deleted: 12 MiB recorded, the limit is 10"]
    assert names(tmp_path) == ["arm_20360707T000000Z.mcap", "arm_20360708T000000Z.mcap"]
    assert RecordingLimits(folder_mib=8).make_room(tmp_path) == []


def test_recordings_that_are_too_old_go(tmp_path):
    for age in (40, 29):
        plant(tmp_path, f"arm_203607{age}T000000Z.mcap", age_days=age)
    assert RecordingLimits(folder_mib=1000).make_room(tmp_path) == []
    (line,) = RecordingLimits(max_age_days=30).make_room(tmp_path)
    assert line == "arm_20360740T000000Z.mcap deleted: 40.0 days old, the limit is 30"
    assert names(tmp_path) == ["arm_20360729T000000Z.mcap"]


def test_what_is_written_or_read_or_somebody_elses_stays(tmp_path):
    ours = [plant(tmp_path, f"arm_20360701T00000{n}Z.mcap{end}", 9, age_days=90 - n) for n, end in enumerate(
        (".part", "", ".part", ".part")
    )]  # fmt: skip
    others = ["notes.txt", "run.mcap", "arm_20360701.mcap", "arm_20360701T000000Z.mcap.zip"]
    for name in others:
        plant(tmp_path, name, 9, age_days=99)
    (tmp_path / "arm_20360701T000009Z.mcap").mkdir()
    (tmp_path / "arm_20360701T000008Z.mcap").symlink_to(tmp_path / "notes.txt")
    os.mkfifo(tmp_path / "arm_20360701T000007Z.mcap")
    before = set(names(tmp_path))
    with ours[0].open("rb") as writing, ours[1].open("rb") as reading:
        fcntl.flock(writing, fcntl.LOCK_EX)
        fcntl.flock(reading, fcntl.LOCK_SH)
        told = RecordingLimits(folder_mib=1, max_age_days=1).make_room(tmp_path)
    assert len(told) == 2
    assert set(names(tmp_path)) == before - {ours[2].name, ours[3].name}


def test_without_limits_nothing_is_deleted(tmp_path):
    plant(tmp_path, "arm_20360701T000000Z.mcap", 2000, age_days=3000)
    assert RecordingLimits().make_room(tmp_path) == []
    assert len(names(tmp_path)) == 1


@pytest.mark.parametrize("wrong", [{"file_mib": -1}, {"max_age_days": float("nan")}, {"idle_s": float("inf")}])
def test_limits_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UserError, match=f"recording: {next(iter(wrong))} must be at least 0"):
        RecordingLimits(**wrong)


def test_a_file_ends_at_half_of_the_folder(tmp_path):
    assert RecordingLimits().file_bytes == 1024 * MIB
    assert RecordingLimits(folder_mib=100).file_bytes == 50 * MIB
    assert RecordingLimits(file_mib=10, folder_mib=100).file_bytes == 10 * MIB
    assert RecordingLimits(file_mib=0).file_bytes == 0


class Small(RecordingLimits):
    """A file ends with every flush."""

    @property
    def file_bytes(self) -> int:
        return 1


def test_a_full_file_ends_and_the_next_one_begins(tmp_path, make_spec):
    spec = make_spec()
    recorder = open_recorder(tmp_path / "out", spec, limits=Small())
    for begin in range(0, 30, 10):
        for k in range(begin, begin + 10):
            assert add(recorder, *make_tick(spec, k), k)
        wait_for(lambda: recorder.written == begin + 10)  # noqa: B023
        wait_for(lambda: len(names(tmp_path / "out")) > begin // 10 + 1)  # noqa: B023
    recorder.close()
    assert (recorder.written, recorder.dropped, recorder.error) == (30, 0, "")
    files = sorted((tmp_path / "out").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert {path.suffix for path in files} == {".mcap"}
    read = [read_recording(path) for path in files]
    assert [tick for recording in read for tick in recording.ticks["tick"].tolist()] == list(range(1, 31))
    assert len({recording.id for recording in read}) == len(files) >= 4
    assert all(recording.damage == () for recording in read)
    assert all(recording.numbers.tolist() == list(range(len(recording.ticks))) for recording in read)
    assert f"{files[0].name} is full, {files[1].name} begins" in list(recorder.news())
    steps = sum(import_recording(path, tmp_path / "store").steps for path in files)
    assert steps == 30


def test_the_folder_keeps_to_its_limit_while_it_is_recorded(tmp_path, make_spec):
    spec, out = make_spec(), tmp_path / "out"
    old = plant(out, "arm_20300701T000000Z.mcap", 30)
    recorder = open_recorder(out, spec, limits=Small(folder_mib=20))
    assert not old.exists()
    later = plant(out, "arm_20300702T000000Z.mcap", 40, age_days=1)
    record(recorder, spec, 3)
    wait_for(lambda: not later.exists())
    recorder.close()
    assert recorder.path.name in names(out)
    told = [line for line in recorder.news() if "deleted" in line]
    assert told == [
        f"{path.name} deleted: {mib} MiB recorded, the limit is 20" for path, mib in ((old, 30), (later, 40))
    ]


def test_a_next_file_that_cannot_be_made_ends_the_recording(tmp_path, make_spec):
    spec, out = make_spec(), tmp_path / "out"
    recorder = open_recorder(out, spec, limits=Small())

    def full():
        raise OSError(28, "No space left on device")

    recorder._open_file = full
    record(recorder, spec, 5)
    wait_for(lambda: recorder.error)
    assert recorder.error == f"{recorder.path}: No space left on device"
    recorder.close()
    assert names(out) == [recorder.path.name]
    assert len(read_recording(recorder.path).ticks) == recorder.written


@pytest.mark.parametrize("idle", [Mode.DAMP, Mode.ESTOP, Mode.INACTIVE])
def test_nothing_is_recorded_while_nobody_drives_for_long(tmp_path, make_spec, idle):
    spec = make_spec()  # 50 Hz
    recorder = open_recorder(tmp_path / "out", spec, limits=RecordingLimits(idle_s=0.2))
    observation, command = make_tick(spec, 0)
    damped = replace(command, mode=idle, damp=True)
    modes = [command] * 5 + [damped] * 500 + [command] * 5 + [damped] * 3 + [command] * 5
    recorded = [
        add(recorder, observation, replace(given, tick=k + 1), k) for k, given in enumerate(modes)
    ]  # fmt: skip
    recorder.close()
    assert [k for k, given in enumerate(recorded) if not given] == list(range(15, 505))
    assert (recorder.rested, recorder.dropped, recorder.written) == (490, 0, 28)
    assert list(recorder.news()) == [
        f"recording rests: {idle.value} for 0.2 s",
        "recording goes on; 490 ticks were left out so far",
    ]
    result = import_recording(recorder.path, tmp_path / "store")
    assert (result.episodes, result.runs.paused, result.runs.missing) == (3, 490, 0)


def test_the_first_idle_tick_says_why_the_robot_stopped(tmp_path, make_spec):
    spec = make_spec()
    recorder = open_recorder(tmp_path, spec, limits=RecordingLimits(idle_s=0.0))
    observation, command = make_tick(spec, 0)
    for k in range(9):
        add(recorder, observation, replace(command, mode=Mode.ACTIVE if k < 3 else Mode.DAMP, tick=k + 1), k)
    recorder.close()
    assert (recorder.written, recorder.rested) == (4, 5)


IMAGE = Topic("/camera/image_raw", "sensor_msgs/msg/Image", "uint8[] data\n")
TEXT = Topic("/notes", "std_msgs/msg/String", "string data\n")


def test_other_topics_are_recorded_beside_and_left_out_by_an_import(tmp_path, make_spec):
    spec = make_spec()
    recorder = open_recorder(tmp_path / "out", spec)
    record(recorder, spec, 3)
    camera = recorder.beside.add_topic(IMAGE)
    assert recorder.beside.put(camera, b"\0\1\0\0one", 7)
    record(recorder, spec, 3)
    wait_for(lambda: recorder.written == 6)
    notes = recorder.beside.add_topic(TEXT)  # in a later chunk
    assert recorder.beside.put(notes, b"\0\1\0\0text", 8)
    assert recorder.beside.put(camera, b"\0\1\0\0two", 9)
    recorder.close()
    assert (recorder.error, recorder.beside.dropped) == ("", 0)
    with recorder.path.open("rb") as file:
        found = [
            (channel.topic, schema.name, schema.data, message.data[4:], message.log_time, message.sequence)
            for schema, channel, message in make_reader(file).iter_messages(topics=[IMAGE.name, TEXT.name])
        ]
    image, text = IMAGE.definition.encode(), TEXT.definition.encode()
    assert found == [
        (IMAGE.name, IMAGE.type_name, image, b"one", 7, 0),
        (TEXT.name, TEXT.type_name, text, b"text", 8, 0),
        (IMAGE.name, IMAGE.type_name, image, b"two", 9, 1),
    ]
    read = read_recording(recorder.path)
    assert (len(read.ticks), read.damage) == (6, ())


def test_the_queue_of_other_topics_is_bounded_and_counts_what_it_drops(tmp_path, make_spec):
    spec = make_spec()
    recorder = open_recorder(tmp_path, spec)
    recorder.beside._max_bytes = 100
    key = recorder.beside.add_topic(IMAGE)
    assert not recorder.beside.put(key, bytes(101), 1)
    assert recorder.beside.put(key, bytes(100), 1)
    wait_for(lambda: recorder.beside.put(key, bytes(60), 1))  # what was written makes room
    assert recorder.beside.dropped >= 1
    recorder.close()
    assert recorder.error == ""


def test_a_new_file_has_the_other_topics_too(tmp_path, make_spec):
    spec = make_spec()
    recorder = open_recorder(tmp_path, spec, limits=Small())
    key = recorder.beside.add_topic(IMAGE)
    for count in (1, 2):
        recorder.beside.put(key, b"\0\1\0\0x", count)
        add(recorder, *make_tick(spec, count), count)
        wait_for(lambda: len(list(tmp_path.iterdir())) > count)  # noqa: B023
    recorder.close()
    told = []
    for path in sorted(tmp_path.iterdir()):
        with path.open("rb") as file:
            told += [message.log_time for *_, message in make_reader(file).iter_messages(topics=[IMAGE.name])]
    assert sorted(told) == [1, 2]


def test_a_recording_names_its_robot_and_nothing_that_it_was_not_told(tmp_path, make_spec):
    spec = make_spec()
    said = Recorder(namespace="/left", agent="/left/agent", host="jetson", serial="A1-007")
    recorder, silent = open_recorder(tmp_path, spec, recorder=said), open_recorder(tmp_path, spec)
    for one in (recorder, silent):
        assert isinstance(one, TickRecorder)
        one.close()
    info, other = read_recording(recorder.path).info, read_recording(silent.path).info
    assert (info.namespace, info.agent, info.host, info.serial) == ("/left", "/left/agent", "jetson", "A1-007")
    assert info.bundle_sha256 == SHA
    assert (other.namespace, other.agent, other.host, other.serial) == ("", "", "", "")
    assert len(info.recording_id) == len(other.recording_id) == 32
    assert info.recording_id != other.recording_id
