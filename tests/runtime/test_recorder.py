"""The recorder never holds the tick up, counts what it drops, and other people's readers get every tick."""

from __future__ import annotations

import errno
import math
import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from recorder_ticks import BEGIN_NS, PERIOD_NS, SHA, add, make_tick, open_recorder, record, wait_for
from rosbags.highlevel import AnyReader

from robot_wm.errors import UserError
from robot_wm.replay.recording import read_recording
from robot_wm.runtime import mcap_file
from robot_wm.runtime.faults import Fault
from robot_wm.runtime.mcap_file import PART
from robot_wm.runtime.modes import Mode
from robot_wm.spec import AgentSpec, ObservationField


@pytest.fixture
def seeing(make_spec) -> AgentSpec:
    """A spec with two cameras and a name that ROS does not take."""
    spec = make_spec()
    extra = (
        ObservationField(name="Camera", shape=(4, 5, 3), dtype="uint8", unit="1", frame="head"),
        ObservationField(name="depth", shape=(3, 2, 1), dtype="uint8", unit="1"),
        ObservationField(name="Tool__Pose", shape=(7,), unit="1"),
    )
    return spec.model_copy(update={"observations": spec.observations + extra})


@pytest.mark.parametrize("rival", ["begins", "ends"])
def test_a_name_that_another_recorder_takes_at_this_moment_is_its_own(tmp_path, make_spec, monkeypatch, rival):
    opened, theirs = os.open, []

    def taken(path, *rest):
        if not theirs:
            part = Path(path)
            theirs.append(part if rival == "begins" else part.with_suffix(""))
            theirs[0].write_text("theirs")
        return opened(path, *rest)

    monkeypatch.setattr(mcap_file.os, "open", taken)
    recorder = open_recorder(tmp_path, make_spec())
    recorder.close()
    assert theirs[0].read_text() == "theirs"
    assert recorder.path.name == theirs[0].name.removesuffix(PART).replace("Z.mcap", "Z_2.mcap")
    assert sorted(tmp_path.iterdir()) == sorted([theirs[0], recorder.path])


def test_three_readers_get_every_tick_as_it_was(tmp_path, seeing):
    recorder = open_recorder(tmp_path / "new" / "folder", seeing)
    assert recorder.path.name.startswith("arm_reach_2")
    assert [p.name for p in recorder.path.parent.iterdir()] == [recorder.path.name + ".part"]
    record(recorder, seeing, 60)
    recorder.close()
    assert (recorder.written, recorder.dropped, recorder.error) == (60, 0, "")
    assert [p.name for p in recorder.path.parent.iterdir()] == [recorder.path.name]
    own = read_recording(recorder.path)
    assert own.damage == ()
    assert own.spec == seeing
    assert (own.info.bundle_sha256, own.info.robot, own.info.task) == (SHA, "arm", "arm_reach")
    with AnyReader([recorder.path]) as reader:
        by_rosbags = [(c.topic, time_ns, reader.deserialize(raw, c.msgtype)) for c, time_ns, raw in reader.messages()]
    with recorder.path.open("rb") as file:
        decoded = make_reader(file, decoder_factories=[DecoderFactory()]).iter_decoded_messages()
        by_mcap = [(channel.topic, message.log_time, value) for _, channel, message, value in decoded]
    for messages in (by_rosbags, by_mcap):
        ticks = [(at, tick) for topic, at, tick in messages if topic == "/agent/tick"]
        cameras = [image for topic, _, image in messages if topic == "/agent/image/camera"]
        depths = [image for topic, _, image in messages if topic == "/agent/image/depth"]
        assert len(messages) == 60 * 3 + 3  # that the recording begins, and of whom, and that the agent is active
        (about,) = [message for topic, _, message in messages if topic == "/agent/info"]
        assert [field.name for field in about.observation] == ["joint_position", "gyro", "Tool__Pose"]
        for k, ((at, tick), camera, depth) in enumerate(zip(ticks, cameras, depths, strict=True)):
            observation, command = make_tick(seeing, k)
            stamp_ns = BEGIN_NS + k * PERIOD_NS
            assert tick.header.stamp.sec * 10**9 + tick.header.stamp.nanosec == stamp_ns
            assert (at, tick.receipt_ns, tick.publish_ns) == (stamp_ns + 1000, stamp_ns + 1000, stamp_ns + 2000)
            assert (tick.tick, tick.value, tick.surprise) == (k + 1, command.value, command.surprise)
            assert (tick.observe_ns, tick.infer_ns, tick.total_ns) == (5000 + k, 97_001, 123_456)
            assert (tick.mode, bool(tick.damp), tick.fault_bits) == (2, False, 0)
            assert [field.name for field in tick.observation] == ["joint_position", "gyro", "Tool__Pose"]
            for value, expected in (
                (tick.command, command.command),
                (tick.raw_action, command.raw_action),
                *((field.values, observation[field.name]) for field in tick.observation),
            ):
                np.testing.assert_array_equal(np.float32(value), expected)
            for image, name, encoding, frame in ((camera, "Camera", "rgb8", "head"), (depth, "depth", "mono8", "")):
                assert (image.encoding, image.header.frame_id) == (encoding, frame)
                assert image.header.stamp.nanosec == tick.header.stamp.nanosec
                shape = (image.height, image.width, image.step // image.width)
                np.testing.assert_array_equal(
                    np.frombuffer(bytes(image.data), np.uint8).reshape(shape), observation[name]
                )
    with recorder.path.open("rb") as file:
        reader = make_reader(file)
        assert reader.get_header().profile == "ros2"
        assert {schema.encoding for schema in reader.get_summary().schemas.values()} == {"ros2msg"}
        assert [m.metadata["bundle_sha256"] for m in reader.iter_metadata() if m.name == "robot_wm"] == [SHA]


def test_what_an_observation_lacks_reads_nan(tmp_path, seeing):
    observation, command = make_tick(seeing, 0)
    odd = [
        observation | {"gyro": None},
        {name: value for name, value in observation.items() if name not in ("gyro", "Camera")},
        observation | {"gyro": np.zeros(4, np.float32)},
        observation | {"gyro": "fast", "Camera": np.zeros((4, 5, 3), np.float32)},
        observation | {"gyro": np.array([1.5, 1e300, -2])},  # what the controller casts, as it casts it
        observation | {"gyro": np.array([1, 2, 3]), "depth": None},
    ]
    recorder = open_recorder(tmp_path, seeing)
    for k, frame in enumerate(odd):
        assert add(recorder, frame, command, k)
    recorder.close()
    read = read_recording(recorder.path)
    gyro = read.ticks["observation.gyro"]
    assert np.isnan(gyro[:4]).all()
    np.testing.assert_array_equal(gyro[4:], np.float32([[1.5, math.inf, -2], [1, 2, 3]]))
    np.testing.assert_array_equal(read.ticks["observation.joint_position"][3], observation["joint_position"])
    assert (sorted(read.images["Camera"]), sorted(read.images["depth"])) == ([0, 2, 4, 5], [0, 1, 2, 3, 4])


def test_the_log_tells_changes_in_words(tmp_path, make_spec):
    spec = make_spec()
    observation, command = make_tick(spec, 0)
    told = [
        (Mode.SOFT_START, 0, ""),
        (Mode.SOFT_START, 0, ""),
        (Mode.ACTIVE, 0, ""),
        (Mode.HOLD, int(Fault.STALE | Fault.JUMP), "gyro: 0.2 s old"),
        (Mode.HOLD, int(Fault.STALE | Fault.JUMP), "gyro: 0.3 s old"),
        (Mode.HOLD, 0, ""),
        (Mode.DAMP, int(Fault.STALE), "gyro: 0.4 s old"),
        (Mode.ESTOP, 0, ""),
    ]
    recorder = open_recorder(tmp_path, spec)
    for k, (mode, bits, detail) in enumerate(told):
        add(recorder, observation, replace(command, mode=mode, fault_bits=bits, detail=detail), k)
    recorder.close()
    with AnyReader([recorder.path]) as reader:
        logs = [reader.deserialize(raw, c.msgtype) for c, _, raw in reader.messages() if c.topic == "/agent/log"]
    begun = f"recording of arm_reach on arm, bundle {SHA}"
    assert sorted((log.stamp.nanosec // PERIOD_NS, log.level, log.msg) for log in logs if log.msg != begun) == [
        (0, 20, "soft_start"),
        (2, 20, "active"),
        (3, 30, "hold: STALE, JUMP (gyro: 0.2 s old)"),
        (5, 30, "hold"),
        (6, 40, "damp: STALE (gyro: 0.4 s old)"),
        (7, 40, "estop"),
    ]
    assert [log.level for log in logs if log.msg == begun] == [20]


def test_a_stalled_disk_drops_ticks_and_counts_them(tmp_path, make_spec):
    """The file's thread stands still; every call of `add` returns all the same, and what was accepted stays whole."""
    spec = make_spec()
    recorder = open_recorder(tmp_path, spec, queue_ticks=16)
    stalled, go_on = threading.Event(), threading.Event()
    write = recorder._file.add

    def stall(*arguments, **keywords):
        stalled.set()
        go_on.wait()
        write(*arguments, **keywords)

    recorder._file.add = stall
    assert add(recorder, *make_tick(spec, 0), 0)
    assert stalled.wait(30)
    accepted = [k for k in range(1, 300) if add(recorder, *make_tick(spec, k), k)]
    assert accepted == list(range(1, 16))  # the one that the thread holds has its slot still
    assert recorder.dropped == 284
    go_on.set()
    recorder.close()
    assert (recorder.written, recorder.dropped, recorder.error) == (16, 284, "")
    ticks = read_recording(recorder.path).ticks
    assert ticks["tick"].tolist() == list(range(1, 17))
    for k in range(16):
        np.testing.assert_array_equal(ticks["observation.gyro"][k], make_tick(spec, k)[0]["gyro"])


def test_the_queue_of_images_is_bounded_in_bytes(tmp_path, make_spec):
    camera = ObservationField(name="camera", shape=(480, 640, 3), dtype="uint8", unit="1")
    spec = make_spec()
    recorder = open_recorder(tmp_path, spec.model_copy(update={"observations": (*spec.observations, camera)}))
    assert recorder._images[0][1].nbytes <= 64 * 2**20
    recorder.close()


def test_ticks_are_in_the_file_within_a_second(tmp_path, make_spec):
    spec = make_spec()
    recorder = open_recorder(tmp_path, spec)
    record(recorder, spec, 10)
    wait_for(lambda: recorder.written == 10)  # without another tick, and without close
    part = recorder.path.with_name(recorder.path.name + ".part")
    copy = tmp_path / "copy.mcap.part"
    copy.write_bytes(part.read_bytes())
    assert len(read_recording(copy).ticks) == 10
    recorder.close()


def test_closed_is_closed(tmp_path, make_spec):
    spec = make_spec()
    recorder, other = open_recorder(tmp_path, spec), open_recorder(tmp_path, spec)
    assert recorder.path != other.path
    record(recorder, spec, 2)
    for _ in range(2):
        recorder.close()
        other.close()
    assert not add(recorder, *make_tick(spec, 2), 2)
    assert (recorder.written, recorder.dropped, recorder.error) == (2, 1, "")
    assert len(list(tmp_path.glob("*.mcap"))) == 2
    assert len(read_recording(other.path).ticks) == 0


def test_a_stamp_beyond_ros_time_is_a_dropped_tick(tmp_path, make_spec):
    recorder = open_recorder(tmp_path, make_spec())
    observation, command = make_tick(make_spec(), 0)
    assert not recorder.add(observation, command, stamp_ns=2**62, receipt_ns=0, publish_ns=0)
    assert not recorder.add(observation, command, stamp_ns=0, receipt_ns=2**64, publish_ns=0)
    assert recorder.add(observation, command, stamp_ns=-1, receipt_ns=-1, publish_ns=-1)
    recorder.close()
    assert (recorder.written, recorder.dropped, recorder.error) == (1, 2, "")


@pytest.mark.parametrize("planted", [RuntimeError("planted"), OSError(errno.EIO, os.strerror(errno.EIO))])
def test_whatever_fails_ends_the_recording_and_is_told(tmp_path, make_spec, planted):
    spec = make_spec()
    recorder = open_recorder(tmp_path, spec)
    record(recorder, spec, 5)
    wait_for(lambda: recorder.written == 5)

    def fail(*arguments, **keywords):
        raise planted

    recorder._file.add = fail
    assert add(recorder, *make_tick(spec, 5), 5)
    wait_for(lambda: recorder.error)
    told = "Input/output error" if isinstance(planted, OSError) else "RuntimeError('planted')"
    assert recorder.error == f"{recorder.path}: {told}"
    assert not add(recorder, *make_tick(spec, 6), 6)
    recorder.close()
    assert (recorder.written, recorder.dropped) == (5, 2)
    assert len(read_recording(recorder.path).ticks) == 5


def test_a_folder_that_cannot_be_made_is_named(tmp_path, make_spec):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/here: cannot record here: Not a directory"):
        open_recorder(tmp_path / "file" / "here", make_spec())
    with pytest.raises(UserError, match="at least 1 tick, got 0"):
        open_recorder(tmp_path, make_spec(), queue_ticks=0)
