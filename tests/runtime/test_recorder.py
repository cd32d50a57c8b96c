"""The recorder never holds the tick up, counts what it drops, and leaves a file that can be read whatever happens."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rosbags.highlevel import AnyReader

from robot_wm.errors import UserError
from robot_wm.replay.mcap_import import import_recording
from robot_wm.replay.recording import read_recording
from robot_wm.replay.store import EpisodeStore
from robot_wm.runtime.controller import Command, Controller
from robot_wm.runtime.faults import Fault
from robot_wm.runtime.modes import Mode
from robot_wm.runtime.recorder import TickRecorder
from robot_wm.runtime.safety import SafetyConfig
from robot_wm.spec import AgentSpec, ObservationField
from robot_wm.tasks import agent_spec, make_env

SHA = "5" * 64
BEGIN_NS = 2_100_000_000 * 10**9  # 2036: after the message that a recording begins with
PERIOD_NS = 20_000_000


def open_recorder(folder: Path, spec: AgentSpec, **options) -> TickRecorder:
    return TickRecorder(folder, SimpleNamespace(spec=spec), bundle_sha256=SHA, **options)


def make_tick(spec: AgentSpec, k: int) -> tuple[dict[str, np.ndarray], Command]:
    """Tick k with values that say k."""
    rng = np.random.default_rng(k)
    observation = {
        field.name: rng.integers(0, 256, field.shape, dtype=np.uint8)
        if field.is_image
        else rng.normal(k, 1, field.shape).astype(np.float32)
        for field in spec.observations
        if field.source != "last_action"
    }
    vector = rng.normal(size=(3, spec.action_dim)).astype(np.float32)
    return observation, Command(
        command=vector[0],
        action=vector[1],
        raw_action=vector[2],
        tick=k + 1,
        mode=Mode.ACTIVE,
        damp=False,
        value=rng.normal(),
        surprise=rng.normal(),
        observe_us=k * 1e-3 + 5,
        infer_us=97.001,
        total_us=123.456,
    )


def add(recorder: TickRecorder, observation, command: Command, k: int) -> bool:
    stamp_ns = BEGIN_NS + k * PERIOD_NS
    return recorder.add(
        observation, command, stamp_ns=stamp_ns, receipt_ns=stamp_ns + 1_000, publish_ns=stamp_ns + 2_000
    )


def record(recorder: TickRecorder, spec: AgentSpec, ticks: int) -> None:
    for k in range(ticks):
        assert add(recorder, *make_tick(spec, k), k)


def wait_for(condition, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


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
        assert len(messages) == 60 * 3 + 2  # and that the recording begins, and that the agent is active
        for k, ((at, tick), camera, depth) in enumerate(zip(ticks, cameras, depths, strict=True)):
            observation, command = make_tick(seeing, k)
            stamp_ns = BEGIN_NS + k * PERIOD_NS
            assert tick.header.stamp.sec * 10**9 + tick.header.stamp.nanosec == stamp_ns
            assert (at, tick.receipt_ns, tick.publish_ns) == (stamp_ns + 1000, stamp_ns + 1000, stamp_ns + 2000)
            assert (tick.tick, tick.value, tick.surprise) == (k + 1, command.value, command.surprise)
            assert (tick.observe_ns, tick.infer_ns, tick.total_ns) == (5000 + k, 97_001, 123_456)
            assert (tick.mode, bool(tick.damp), tick.fault_bits) == (2, False, 0)
            for value, expected in (
                (tick.command, command.command),
                (tick.raw_action, command.raw_action),
                (tick.observation.joint_position, observation["joint_position"]),
                (tick.observation.gyro, observation["gyro"]),
                (tick.observation.tool_pose, observation["Tool__Pose"]),
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


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def readable_ticks(path: Path) -> list[int]:
    """Tick numbers in a file, as three readers agree."""
    own = read_recording(path)
    assert own.damage == ()
    with AnyReader([path]) as reader:
        messages = [(c, raw) for c, _, raw in reader.messages() if c.topic == "/agent/tick"]
        by_rosbags = [reader.deserialize(raw, c.msgtype).tick for c, raw in messages]
    with path.open("rb") as file:
        decoded = make_reader(file, decoder_factories=[DecoderFactory()]).iter_decoded_messages(topics=["/agent/tick"])
        by_mcap = [tick.tick for _, _, _, tick in decoded]
    assert own.ticks["tick"].tolist() == by_rosbags == by_mcap
    return by_rosbags


def test_a_full_disk_ends_the_recording_not_the_tick(small_disk, make_spec):
    spec = make_spec()
    recorder = open_recorder(small_disk, spec)
    calls = 0
    while not recorder.error:
        add(recorder, *make_tick(spec, calls), calls)
        calls += 1
        time.sleep(2e-4)
    assert "No space left on device" in recorder.error
    assert not add(recorder, *make_tick(spec, calls), calls)
    recorder.close()
    assert recorder.written + recorder.dropped == calls + 1
    assert recorder.path.exists()
    ticks = readable_ticks(recorder.path)
    assert len(ticks) == recorder.written > 1000
    assert ticks == sorted(set(ticks))


def test_a_disk_that_is_full_when_the_recording_is_closed(small_disk, make_spec):
    spec = make_spec()
    recorder = open_recorder(small_disk, spec)
    part, calls = recorder.path.with_name(recorder.path.name + ".part"), 0
    # What is left of the file's last page must take its end, but not its index.
    while not 100 < -part.stat().st_size % 4096 < 1500:
        assert add(recorder, *make_tick(spec, calls), calls)
        calls += 1
        wait_for(lambda: recorder.written == calls)  # noqa: B023
    fill(small_disk / "filler")
    recorder.close()
    assert "No space left on device" in recorder.error
    assert (recorder.written, recorder.dropped) == (calls, 0)
    assert readable_ticks(recorder.path) == list(range(1, calls + 1))


def test_no_file_is_left_where_the_disk_is_full_already(small_disk, make_spec):
    fill(small_disk / "filler")
    with pytest.raises(UserError, match=r"disk: cannot record here: No space left on device"):
        open_recorder(small_disk, make_spec())
    assert [p.name for p in small_disk.iterdir()] == ["filler"]


def fill(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while os.write(descriptor, bytes(4096)):
            pass
    os.close(descriptor)


CHILD = """
import importlib.util, resource, signal, sys, time
from pathlib import Path
loader = importlib.util.spec_from_file_location("test_recorder", sys.argv[1])
test = importlib.util.module_from_spec(loader)
loader.loader.exec_module(test)
from robot_wm.spec import AgentSpec
spec = AgentSpec.load(Path(sys.argv[2]))
recorder = test.open_recorder(Path(sys.argv[3]), spec)
for k in range(500):
    test.add(recorder, *test.make_tick(spec, k), k)
    time.sleep(1e-4)
test.wait_for(lambda: recorder.written == 500)
calls = 500
if sys.argv[4] == "kill":
    for calls in range(500, 510):
        test.add(recorder, *test.make_tick(spec, calls), calls)
    print("written", flush=True)
    time.sleep(60)
else:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = recorder.path.with_name(recorder.path.name + ".part").stat().st_size + int(sys.argv[4])
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    while not recorder.error:
        test.add(recorder, *test.make_tick(spec, calls), calls)
        calls += 1
        time.sleep(1e-3)
recorder.close()
print(recorder.written, recorder.dropped, calls, recorder.error)
"""


def run_child(tmp_path: Path, spec: AgentSpec, how: str) -> subprocess.Popen:
    (tmp_path / "spec.json").write_text(spec.to_json())
    arguments = [__file__, str(tmp_path / "spec.json"), str(tmp_path / "out"), how]
    return subprocess.Popen([sys.executable, "-c", CHILD, *arguments], stdout=subprocess.PIPE, text=True)


def test_a_file_that_may_not_grow_ends_the_recording(tmp_path, make_spec):
    """As a full disk, where nothing can be mounted."""
    out, _ = run_child(tmp_path, make_spec(), "1000").communicate(timeout=120)
    written, dropped, calls, error = out.split(maxsplit=3)
    assert "File too large" in error
    assert int(written) + int(dropped) == int(calls)
    (path,) = (tmp_path / "out").iterdir()
    assert path.name.endswith(".mcap")
    assert readable_ticks(path) == list(range(1, int(written) + 1))
    assert int(written) >= 500


def test_a_file_that_cannot_even_be_ended_stays_a_part(tmp_path, make_spec):
    out, _ = run_child(tmp_path, make_spec(), "0").communicate(timeout=120)
    assert out.startswith("500 ")
    (path,) = (tmp_path / "out").iterdir()
    assert path.name.endswith(".mcap.part")
    assert out.endswith(f"File too large; it stays {path.name}\n")
    assert read_recording(path).ticks["tick"].tolist() == list(range(1, 501))


def test_a_killed_recorder_leaves_what_was_flushed(tmp_path, make_spec):
    child = run_child(tmp_path, make_spec(), "kill")
    assert child.stdout.readline() == "written\n"
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=60)
    (path,) = (tmp_path / "out").iterdir()
    assert path.name.endswith(".mcap.part")
    read = read_recording(path)
    assert 500 <= len(read.ticks) <= 510
    assert read.ticks["tick"].tolist() == list(range(1, len(read.ticks) + 1))
    assert [words.split(";")[0] for words in read.damage] == ["was never finished"]
    result = import_recording(path, tmp_path / "store")
    assert (result.added, result.steps) == (1, len(read.ticks))


def drive(agent, env, folder: Path, *, ticks: int, faulty: dict[int, str]) -> tuple[list, list, TickRecorder]:
    """Run a controller over a simulated robot and record it: observations, commands and whether each was followed."""
    period_s = agent.manifest.spec.control_period_s
    seen, commands = [], []
    recorder = TickRecorder(folder, agent.manifest, bundle_sha256=SHA)
    with Controller(agent, config=SafetyConfig(soft_start_s=0.1, hold_s=0.1, recover_ticks=2)) as controller:
        controller.enable()
        observation, _ = env.reset(seed=3)
        for k in range(ticks):
            observation = {name: np.array(value) for name, value in observation.items()}
            if k in faulty:
                observation[faulty[k]] = np.full_like(observation[faulty[k]], np.nan)
            command = controller.step(observation, k * period_s)
            stamp_ns = BEGIN_NS + round(k * period_s * 1e9)
            assert recorder.add(
                observation, command, stamp_ns=stamp_ns, receipt_ns=stamp_ns + 100, publish_ns=stamp_ns + 200
            )
            seen.append(observation)
            commands.append((command.command.copy(), not command.fault_bits and not command.damp))
            observation, *_ = env.step(command.command.copy())
    recorder.close()
    return seen, commands, recorder


def check_episodes(spec: AgentSpec, seen: list, commands: list, found: list, starts: list[tuple[int, int]]) -> None:
    assert [episode.length for episode in found] == [b - a for a, b in starts]
    for episode, (a, b) in zip(found, starts, strict=True):
        assert all(followed for _, followed in commands[a:b])
        action = np.stack([command for command, _ in commands[a:b]])
        action[-1] = 0
        np.testing.assert_array_equal(episode.action, action)
        for field in spec.observations:
            if field.source != "last_action":
                np.testing.assert_array_equal(episode.obs[field.name], [frame[field.name] for frame in seen[a:b]])
        assert not episode.reward.any()
        assert not episode.is_terminal.any()
        source = episode.source
        assert (source.kind, source.task, source.robot, source.policy) == ("robot", spec.task, spec.robot, SHA)


def test_a_driven_simulated_robot_becomes_episodes_bit_for_bit(tmp_path, make_agent):
    with make_env("cartpole_balance", seed=0) as env:
        spec = agent_spec(env)
        first = spec.observations[0].name
        seen, commands, recorder = drive(
            make_agent(spec), env, tmp_path / "out", ticks=120, faulty={40: first, 80: first, 81: first}
        )
    store = EpisodeStore.create(tmp_path / "store", spec)
    result = import_recording(recorder.path, store.path)
    store.refresh()
    followed = np.array([follows for _, follows in commands])
    assert np.flatnonzero(~followed).tolist() == [40, 80, 81]
    check_episodes(spec, seen, commands, list(store.episodes()), [(0, 40), (41, 80), (82, 120)])
    assert (result.ticks, result.episodes, result.steps, result.added) == (120, 3, 117, 3)
    assert (result.runs.not_driven, result.runs.missing) == (3, 0)


def test_the_last_action_of_an_episode_is_what_the_model_was_told(tmp_path, make_spec, make_agent):
    """The stand-in's surprise is the sum of |state/action|: what the controller wrote back as executed."""

    class Still:
        """A robot that stays where it is."""

        def reset(self, *, seed):
            return {"joint_position": np.float32([0.1, 0.2]), "gyro": np.float32([0, 0, seed])}, {}

        def step(self, command):
            return self.reset(seed=1)[0], 0.0, False, False, {}

    spec = make_spec()
    seen, commands, recorder = drive(make_agent(spec), Still(), tmp_path / "out", ticks=40, faulty={20: "gyro"})
    import_recording(recorder.path, tmp_path / "store")
    found = list(EpisodeStore.open(tmp_path / "store").episodes())
    # The first sound tick says where the arm is, from there on it follows: so no tick but the faulty one is left out.
    check_episodes(spec, seen, commands, found, [(0, 20), (21, 40)])
    for episode, begin in zip(found, (0, 21), strict=True):
        rest = np.float32([0.1, 0.8])  # the offset: the zero action's command
        before = [rest] + [command for command, _ in commands[begin : begin + episode.length - 1]]
        np.testing.assert_array_equal(episode.obs["last_action"], before)
