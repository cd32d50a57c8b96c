"""`robot-wm run`: an A1 that trots by the clock, filmed, commanded, in either engine; refusals before anything runs."""

from __future__ import annotations

import ctypes.util
import json
import math
import os
import resource
import subprocess
import sys
from types import SimpleNamespace

import imageio.v3 as imageio
import numpy as np
import onnxruntime as ort
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from onnx import TensorProto, helper, numpy_helper

from robot_wm.cli import run as robot_wm
from robot_wm.errors import UserError
from robot_wm.evaluation.video import check_video, open_video, status
from robot_wm.runtime.bundle_writer import write_bundle
from robot_wm.runtime.command import Command
from robot_wm.runtime.faults import Fault
from robot_wm.runtime.graph_tensors import StateTensor, TensorSpec
from robot_wm.runtime.manifest import POLICY_OP17, Lineage
from robot_wm.runtime.modes import Mode
from robot_wm.runtime.parity_recording import Recording
from robot_wm.runtime.parity_section import Parity
from robot_wm.tasks import agent_spec, make_env

TICKS = 256
STEPS_HZ, CONTROL_HZ = 2.5, 50.0
DIAGONALS = (0.0, math.pi, math.pi, 0.0)  # phases of FR, FL, RR, RL
SWING = (0.0, 0.5, 1.0)  # of hip, thigh and calf, in model units


def trot(spec):
    """action = swing * sin(phase + ticks), growing over the first second; state/ticks counts."""
    node, info, floats = helper.make_node, helper.make_tensor_value_info, TensorProto.FLOAT
    inputs = [info(f"obs/{name}", floats, [1, *entry.shape]) for name, entry in spec.model_inputs().items()]
    inputs += [info("is_first", floats, [1]), info("state/ticks", floats, [1])]
    outputs = [info("action", floats, [1, 12]), info("value", floats, [1]), info("surprise", floats, [1])]
    outputs += [info("next/ticks", floats, [1])]
    values = {
        "one": np.float32([1]),
        "rate": np.float32([2 * math.pi * STEPS_HZ / CONTROL_HZ]),
        "growth": np.float32([1 / CONTROL_HZ]),
        "phase": np.float32([np.repeat(DIAGONALS, 3)]),
        "swing": np.float32([SWING * 4]),
    }
    nodes = [
        node("Sub", ["one", "is_first"], ["keep"]),
        node("Mul", ["state/ticks", "keep"], ["ticks"]),
        node("Add", ["ticks", "one"], ["next/ticks"]),
        node("Mul", ["ticks", "rate"], ["turned"]),
        node("Add", ["turned", "phase"], ["angle"]),
        node("Sin", ["angle"], ["wave"]),
        node("Mul", ["ticks", "growth"], ["grown"]),
        node("Min", ["grown", "one"], ["share"]),
        node("Mul", ["wave", "swing"], ["whole"]),
        node("Mul", ["whole", "share"], ["action"]),
        node("Identity", ["is_first"], ["value"]),
        node("Identity", ["is_first"], ["surprise"]),
    ]
    constants = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "tick", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


@pytest.fixture(scope="module")
def bundle_path(tmp_path_factory):
    env = make_env("a1_velocity")
    spec = agent_spec(env)
    env.close()
    graph = trot(spec)
    inputs = {
        f"obs/{name}": np.zeros((TICKS, 1, *entry.shape), np.float32) for name, entry in spec.model_inputs().items()
    }
    inputs |= {
        "is_first": np.zeros((TICKS, 1), np.float32),
        "state/ticks": np.arange(TICKS, dtype=np.float32)[:, None],
    }
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_outputs()]
    rows = [session.run(names, {name: value[tick] for name, value in inputs.items()}) for tick in range(TICKS)]
    out = tmp_path_factory.mktemp("bundles") / "trot.rwm"
    write_bundle(
        out,
        kind="dreamer",
        spec=spec,
        state=(StateTensor(name="ticks", input="state/ticks", output="next/ticks", shape=(1,)),),
        noise=(),
        outputs=(
            TensorSpec(name="action", shape=(1, 12)),
            TensorSpec(name="value", shape=(1,)),
            TensorSpec(name="surprise", shape=(1,)),
        ),
        draws=(),
        surprise_unit="nats",
        graphs={POLICY_OP17: graph},
        recording=Recording(
            inputs=inputs,
            outputs={name: np.stack([row[index] for row in rows]) for index, name in enumerate(names)},
        ),
        parity=Parity(ticks=TICKS, results={}),
        lineage=Lineage(config={"task": "a1_velocity", "task_options": {"observation": "proprio"}}),
        sign_key=Ed25519PrivateKey.generate(),
    )
    return out


def refused(arguments, capsys):
    """The one line that a refusal prints."""
    assert robot_wm(["run", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = [line for line in captured.err.splitlines() if line.strip()]
    assert len(lines) == 1, lines
    return lines[0]


def figures(bundle_path, capsys, *arguments):
    common = ("--bundle", bundle_path, "--seed", 2, "--no-realtime", "--json")
    assert robot_wm(["run", *map(str, (*common, *arguments))]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_commanded_trot_is_filmed_with_its_numbers(bundle_path, tmp_path, capsys):
    video = tmp_path / "new" / "trot.mp4"
    arguments = ("--command", "0.8,0,0", "--video", video)
    assert robot_wm(["run", "--bundle", str(bundle_path), "--seconds", "0.24", "--json", *map(str, arguments)]) == 0
    assert json.loads(capsys.readouterr().out)["ticks"] == 12
    frames = imageio.imread(video).astype(int)
    assert frames.shape == (6, 480, 640, 3)  # every second tick of 50 Hz
    assert list(video.parent.iterdir()) == [video]
    times, gauges = frames[:, :20, 590:], frames[:, :60, :300]
    for corner in (times, gauges):
        assert (corner < 80).any(axis=(1, 2, 3)).all()  # ink on every picture
        assert (np.abs(np.diff(corner, axis=0)) > 40).any(axis=(1, 2, 3)).all()  # and other numbers on each
    assert np.abs(np.diff(frames[:, 200:400], axis=0)).mean() > 0.2  # the robot moves


def test_the_command_is_what_the_task_asks_for(bundle_path, capsys):
    returns = {
        command: figures(bundle_path, capsys, "--seconds", 2.0, "--command", command)["return_mean"]
        for command in ("0.7,0,0", "-0.7,0,0")
    }
    assert returns["0.7,0,0"] > 1.5 * returns["-0.7,0,0"]  # the trot goes ahead, whatever is asked
    by_option = figures(bundle_path, capsys, "--seconds", 2.0, "--option.command", "0.7,0,0")
    assert by_option["return_mean"] == returns["0.7,0,0"]


def test_the_backend_is_the_one_asked_for(bundle_path, capsys):
    pytest.importorskip("mujoco")
    names = {name: figures(bundle_path, capsys, "--seconds", 0.2, "--backend", name) for name in ("pybullet", "mujoco")}
    assert {name: result["backend"] for name, result in names.items()} == {"pybullet": "pybullet", "mujoco": "mujoco"}
    assert names["pybullet"]["return_mean"] != names["mujoco"]["return_mean"]


def test_latencies_are_those_asked_for(bundle_path, capsys):
    """A trot by the clock hears nothing, so it does not matter what it hears late; late commands are another gait."""
    results = [
        figures(bundle_path, capsys, "--seconds", 1.0, *given)
        for given in (
            (),
            ("--observation-latency-s", 0.02),
            ("--action-latency-s", 0.02),
            ("--option.sensor-model", "{action_latency_s: 0.02}"),
        )
    ]
    exact, unheard, late, spelt = (result["return_mean"] for result in results)
    assert exact == unheard
    assert exact != late == spelt
    assert "sensor_model" not in results[0]
    assert [result["sensor_model"] for result in results[1:]] == [
        {"observation_latency_s": 0.02},
        {"action_latency_s": 0.02},
        {"action_latency_s": 0.02},
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--command", "2,0,0"), "linear_x: 2 m/s is not within [-1, 1]"),
        (("--command", "0,-1.5,0"), "linear_y: -1.5 m/s"),
        (("--command", "0,0,nan"), "angular_z: nan rad/s"),
        (("--command", "0,0,fast"), "angular_z: 'fast' is not a number, rad/s"),
        (("--command", "0.5,0"), "'0.5,0' is not 3 numbers (linear_x m/s, linear_y m/s, angular_z rad/s)"),
        (("--command", "0,0,0", "--option.command", "1,0,0"), "--command and --option.command: give one"),
        (("--backend", "pybullet", "--option.backend", "mujoco"), "--backend and --option.backend: give one"),
        (("--backend", "bullet9"), "'bullet9' is not installed; known backends:"),
        (("--task", "gym:gymnasium:CartPole-v1", "--backend", "pybullet"), "--backend: for our own tasks"),
        (("--task", "gym:gymnasium:CartPole-v1", "--action-latency-s", "0.1"), "--action-latency-s: for our own tasks"),
        (("--observation-latency-s", "11"), "observation_latency_s must be within [0, 10] s, got 11.0"),
        (
            ("--observation-latency-s", "0.1", "--option.sensor-model", "{}"),
            "--observation-latency-s and --option.sensor-model: give one of them",
        ),
        (("--option.sensor-model", "{jitter: 1}"), "option sensor_model: jitter: Unexpected keyword argument"),
        (("--option.sensor-model", "{noise_std: {ears: 1}}"), "noise_std ears: no sensor of this task reads it"),
        (("--task", "gym:gymnasium:CartPole-v1", "--gui"), "only our own tasks have a window"),
        (("--seconds", "inf"), 'Invalid value "inf" for --seconds. Must be < inf'),
        (("--soft-start-s", "inf"), "for --soft-start-s. Must be < inf"),
        (("--gui",), "no display for a window: DISPLAY is not set"),
        (("--gui", "--video", "run.mp4"), "--gui and --video: one at a time"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(bundle_path, arguments, words, monkeypatch, capsys):
    monkeypatch.delenv("DISPLAY", raising=False)
    assert words in refused(("--bundle", bundle_path, *arguments), capsys)


def test_a_task_that_follows_no_command_says_so(tmp_path, capsys):
    from robot_wm.evaluation.task_flags import short_options

    with pytest.raises(UserError, match="--command: task cartpole_balance follows no command"):
        short_options("cartpole_balance", SimpleNamespace(commands=()), {}, backend=None, command="1,0,0")


def test_a_video_that_cannot_be_written_is_told_before_anything_runs(tmp_path, capsys):
    gone = ("--bundle", tmp_path / "gone.rwm")  # nothing that runs would get past this
    file, folder = tmp_path / "file", tmp_path / "folder.mp4"
    file.write_text("")
    folder.mkdir()
    assert "a file name ending in .mp4 is needed" in refused((*gone, "--video", tmp_path / "run.avi"), capsys)
    assert "is a folder" in refused((*gone, "--video", folder), capsys)
    assert "its folder cannot be written" in refused((*gone, "--video", file / "run.mp4"), capsys)
    assert "its folder cannot be written" in refused((*gone, "--video", "/proc/nowhere/run.mp4"), capsys)
    assert "gone.rwm" in refused((*gone, "--video", tmp_path / "run.mp4"), capsys)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder.mp4"}


@pytest.mark.parametrize("program", ["/nonexistent", "/bin/false", "/bin/true", "no_program"])
def test_an_ffmpeg_that_does_not_work_is_told_before_anything_runs(program, tmp_path, monkeypatch, capsys):
    (tmp_path / "no_program").write_text("")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / program))
    line = refused(("--bundle", tmp_path / "gone.rwm", "--video", tmp_path / "run.mp4"), capsys)
    assert "ffmpeg cannot write it" in line
    assert "IMAGEIO_FFMPEG_EXE" in line
    assert [path.name for path in tmp_path.iterdir()] == ["no_program"]


def test_a_program_that_is_no_ffmpeg_is_told_at_the_first_call_of_a_process(tmp_path):
    # imageio asks a program once for its version, and fails in another way while it has not.
    arguments = ["run", "--bundle", str(tmp_path / "gone.rwm"), "--video", str(tmp_path / "run.mp4")]
    code = f"import sys; from robot_wm.cli import run; sys.exit(run({arguments!r}))"
    environment = os.environ | {"IMAGEIO_FFMPEG_EXE": "/bin/false"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "ffmpeg cannot write it (IndexError" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_picture_that_does_not_fit_leaves_no_file(tmp_path):
    def write():
        with open_video(tmp_path / "run.mp4", rate_hz=25.0) as add_frame:
            for side in (32, 64):
                add_frame(np.zeros((side, side, 3), np.uint8))

    with pytest.raises(UserError, match=r"run\.mp4: ffmpeg cannot write it \(ValueError"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_video_that_can_be_written_leaves_nothing_yet(tmp_path):
    check_video(tmp_path / "videos" / "run.mp4")
    assert list((tmp_path / "videos").iterdir()) == []


def test_a_mode_and_a_fault_stand_on_the_picture_only_where_there_is_one():
    command = Command(command=np.zeros(1), action=np.zeros(1), raw_action=np.zeros(1), mode=Mode.ACTIVE)
    assert status(command, time_s=1.234, episode_return=5.67) == {"time": "1.23 s", "return": "5.7"}
    command.mode, command.fault_bits, command.detail = Mode.SOFT_START, int(Fault.STALE), "imu/data is late"
    assert status(command, time_s=0.0, episode_return=0.0) == {
        "time": "0.00 s",
        "return": "0.0",
        "mode": "soft start",
        "fault": "imu/data is late",
    }


def test_mujoco_films_too(bundle_path, tmp_path, capsys):
    pytest.importorskip("mujoco")
    if ctypes.util.find_library("EGL") is None:
        pytest.skip("MuJoCo needs libEGL to draw without a display")
    video = tmp_path / "trot.mp4"
    figures(bundle_path, capsys, "--seconds", 0.2, "--backend", "mujoco", "--video", video)
    assert imageio.imread(video).shape == (5, 480, 640, 3)


@pytest.mark.parametrize("frames", [3, 40])
def test_a_video_that_does_not_fit_is_told_and_not_left_there(tmp_path, frames):
    """The size limit of a process stands for a full disk; imageio does not look how its ffmpeg ended."""

    def write():
        rng = np.random.default_rng(0)
        with open_video(tmp_path / "run.mp4", rate_hz=25.0) as add_frame:
            for _ in range(frames):
                add_frame(rng.integers(0, 256, (96, 96, 3), dtype=np.uint8))

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**13, limits[1]))
    try:
        with pytest.raises(UserError, match=r"run\.mp4: ffmpeg cannot write it"):
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
