"""A bundle whose graph is a known linear balancer drives the real cartpole through the real controller."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from onnx import TensorProto, helper, numpy_helper

from robot_wm.cli import run as robot_wm
from robot_wm.errors import UserError
from robot_wm.evaluation.closed_loop import run_closed_loop
from robot_wm.evaluation.task_flags import task_options
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.bundle_writer import write_bundle
from robot_wm.runtime.graph_tensors import StateTensor, TensorSpec
from robot_wm.runtime.manifest import POLICY_OP17, Lineage
from robot_wm.runtime.onnx_engine import OnnxEngine
from robot_wm.runtime.parity_recording import Recording
from robot_wm.runtime.parity_section import Parity
from robot_wm.runtime.safety import SafetyConfig
from robot_wm.runtime.start import start_controller
from robot_wm.tasks import agent_spec, make_env

TICKS = 256
AT_ONCE = SafetyConfig(soft_start_s=0)
# Feedback on the scaled fields, in model units: position, angle and their velocities.
GAINS = {"cart_position": 0.4, "pole_angle": 3.0, "cart_velocity": 0.8, "pole_velocity": 2.0}


def balancer(spec, gains):
    """action = clip(sum of gain * field); state/ticks counts, so that there is a state."""
    node, info, floats = helper.make_node, helper.make_tensor_value_info, TensorProto.FLOAT
    inputs = [info(f"obs/{name}", floats, [1, *entry.shape]) for name, entry in spec.model_inputs().items()]
    inputs += [info("is_first", floats, [1]), info("state/ticks", floats, [1])]
    outputs = [info("action", floats, [1, 1]), info("value", floats, [1]), info("surprise", floats, [1])]
    outputs += [info("next/ticks", floats, [1])]
    values = {name: np.float32([[gains[name]]]) for name in spec.model_inputs()} | {
        "low": np.float32(-1),
        "high": np.float32(1),
        "one": np.float32([1]),
    }
    nodes = [node("Mul", [f"obs/{name}", name], [f"part_{name}"]) for name in spec.model_inputs()]
    nodes += [
        node("Sum", [f"part_{name}" for name in spec.model_inputs()], ["wish"]),
        node("Clip", ["wish", "low", "high"], ["action"]),
        node("Sub", ["one", "is_first"], ["keep"]),
        node("Mul", ["state/ticks", "keep"], ["ticks"]),
        node("Add", ["ticks", "one"], ["next/ticks"]),
        node("Identity", ["next/ticks"], ["value"]),
        node("Identity", ["is_first"], ["surprise"]),
    ]
    constants = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "tick", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


@pytest.fixture(scope="module")
def spec():
    env = make_env("cartpole_balance")
    yield agent_spec(env)
    env.close()


@pytest.fixture(scope="module")
def private_key():
    return Ed25519PrivateKey.generate()


def write(out, spec, gains, lineage, sign_key=None):
    """A bundle of the balancer."""
    rng = np.random.default_rng(0)
    inputs = {f"obs/{name}": rng.normal(size=(TICKS, 1, 1)).astype(np.float32) for name in spec.model_inputs()}
    inputs |= {"is_first": np.zeros((TICKS, 1), np.float32), "state/ticks": np.zeros((TICKS, 1), np.float32)}
    graph = balancer(spec, gains)
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_outputs()]
    rows = [session.run(names, {name: value[tick] for name, value in inputs.items()}) for tick in range(TICKS)]
    write_bundle(
        out,
        kind="dreamer",
        spec=spec,
        state=(StateTensor(name="ticks", input="state/ticks", output="next/ticks", shape=(1,)),),
        noise=(),
        outputs=(
            TensorSpec(name="action", shape=(1, 1)),
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
        lineage=lineage,
        sign_key=sign_key,
    )
    return out


@pytest.fixture(scope="module")
def bundle_path(spec, private_key, tmp_path_factory):
    lineage = Lineage(config={"task": "cartpole_balance", "task_options": {"observation": "proprio"}})
    return write(tmp_path_factory.mktemp("bundles") / "agent.rwm", spec, GAINS, lineage, private_key)


@pytest.fixture
def env():
    env = make_env("cartpole_balance", seed=5)
    yield env
    env.close()


@pytest.fixture
def controller(bundle_path):
    with Bundle.open(bundle_path) as bundle, start_controller(bundle, config=AT_ONCE) as controller:
        yield controller


def test_the_balancer_balances_and_every_tick_is_accounted_for(controller, env):
    heard = []
    result = run_closed_loop(
        controller, env, episodes=2, realtime=False, seed=3, on_tick=lambda command, _: heard.append(command.value)
    )
    assert all(episode.episode_return > 450 for episode in result.episodes)
    assert [episode.ticks for episode in result.episodes] == [500, 500]
    assert heard == [*range(1, 501)] * 2  # the state was reset by is_first at the second episode
    assert result.modes == {"active": 1000}
    assert result.faults == {}
    assert result.latency.count == len(result.latency_us) == len(result.surprise) == 1000
    assert result.surprise.sum() == 2
    figures = result.as_dict(bins=8)
    assert figures["success_rate"] is None
    assert figures["return_mean"] == pytest.approx(np.mean([e.episode_return for e in result.episodes]))
    assert sum(figures["latency_histogram"]["counts"]) == 1000
    json.dumps(figures)


def test_the_same_seed_gives_the_same_run(controller, env):
    first, second = (run_closed_loop(controller, env, realtime=False, seed=9, max_episode_s=1.0) for _ in range(2))
    assert first.returns == second.returns
    assert first.episodes[0].ticks == 50


def test_real_time_takes_its_time(controller, env):
    begin_s = time.monotonic()
    result = run_closed_loop(controller, env, realtime=True, max_episode_s=0.5)
    assert time.monotonic() - begin_s >= 24 * 0.02  # the first of 25 ticks is due at once
    assert len(result.wake_up_us) == 25
    assert (result.wake_up_us >= 0).all()


def test_a_simulator_slower_than_the_clock_misses_deadlines_and_says_so(controller, env):
    slow = run_closed_loop(controller, env, realtime=True, max_episode_s=0.1, on_tick=lambda *_: time.sleep(0.05))
    assert slow.deadline_misses >= 4  # every tick but the first begins late


def test_another_agents_environment_is_refused(controller):
    other = make_env("cartpole_swingup")
    try:
        with pytest.raises(UserError, match="pole_angle"):
            run_closed_loop(controller, other)
    finally:
        other.close()


def test_a_latched_stop_is_not_overridden(controller, env):
    controller.estop()
    with pytest.raises(UserError, match="latched"):
        run_closed_loop(controller, env, realtime=False)


def test_an_engine_that_computes_something_else_never_drives(bundle_path, spec):
    with Bundle.open(bundle_path) as bundle:
        wrong = OnnxEngine(balancer(spec, GAINS | {"pole_angle": 2.99}), bundle.manifest.state)
        with pytest.raises(UserError, match="action"):
            start_controller(bundle, engine=wrong)
        assert not wrong.inputs  # nothing stays active


STUMBLER = "gym:told_envs:told/Stumbler-v0"


@pytest.fixture
def stumbler(tmp_path, monkeypatch):
    """A bundle for a robot that stumbles."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    env = make_env(STUMBLER)
    env.close()
    lineage = Lineage(config={"task": STUMBLER, "task_options": {}})
    return write(tmp_path / "stumbler.rwm", agent_spec(env), {"steps": 0.0}, lineage)


def expected(lengths):
    """What the Stumbler's figures come to over episodes of these lengths."""
    falls, minutes = sum(n < 6 for n in lengths), sum(lengths) / 20 / 60
    return {
        "figures": {"height_m": pytest.approx(sum(n * n / 8 for n in lengths) / sum(lengths)), "late": 3.0},
        "falls": falls,
        "falls_per_episode": pytest.approx(falls / len(lengths)),
        "falls_per_robot_minute": pytest.approx(falls / minutes),
        "robot_minutes": pytest.approx(minutes),
        "lengths": lengths,
    }


@pytest.mark.parametrize("command", ["run", "eval"])
def test_commands_tell_the_tasks_figures(stumbler, command, capsys):
    realtime = ["--no-realtime"] if command == "run" else []
    assert robot_wm([command, "--bundle", str(stumbler), "--episodes", "9", "--seed", "1", "--json", *realtime]) == 0
    told = json.loads(capsys.readouterr().out)
    lengths = told["lengths"]
    assert 0 < sum(n < 6 for n in lengths) < 9  # some fall
    assert {name: told[name] for name in expected(lengths)} == expected(lengths)
    assert sum(lengths) == sum(told["returns"])


def test_a_table_shows_each_figure_on_a_line(stumbler, capsys):
    assert robot_wm(["eval", "--bundle", str(stumbler), "--episodes", "2"]) == 0
    assert any("height_m 0." in line for line in capsys.readouterr().out.splitlines())


def test_an_episode_that_is_cut_short_tells_its_figures_so_far(stumbler):
    env = make_env(STUMBLER)
    with Bundle.open(stumbler) as bundle, start_controller(bundle, config=AT_ONCE) as controller:
        result = run_closed_loop(controller, env, realtime=False, seed=1, max_episode_s=0.1)
    figures = result.episodes[0].figures
    assert (figures["fall"], figures["height_m"]) == (0, 2 / 8)
    assert np.isnan(figures["late"])
    assert result.summary()["figures"]["late"] is None


def test_an_evaluated_episode_lasts_no_longer_than_it_may(stumbler, capsys):
    arguments = ["eval", "--bundle", str(stumbler), "--episodes", "9", "--seed", "1", "--json", "--episode-steps", "5"]
    assert robot_wm(arguments) == 0
    told = capsys.readouterr()
    result = json.loads(told.out)
    assert max(result["lengths"]) == 5
    assert 0 < result["cut_off"] < 9
    # Those that fall after five steps at the latest end by themselves.
    assert result["cut_off"] == 9 - result["falls"]
    assert f"{result['cut_off']} of 9 episodes had not ended after 5 steps" in told.err


def test_latencies_have_flags_of_their_own(bundle_path, capsys):
    arguments = ["eval", "--bundle", str(bundle_path), "--episodes", "1", "--json"]
    assert robot_wm([*arguments, "--observation-latency-s", "0.1", "--action-latency-s", "0.02"]) == 0
    late = json.loads(capsys.readouterr().out)
    assert late["sensor_model"] == {"observation_latency_s": 0.1, "action_latency_s": 0.02}
    assert robot_wm(arguments) == 0
    assert json.loads(capsys.readouterr().out)["returns"] != late["returns"]


def test_the_backend_has_a_flag_of_its_own(bundle_path, capsys):
    arguments = ["eval", "--bundle", str(bundle_path), "--episodes", "1", "--json"]
    assert robot_wm([*arguments, "--backend", "pybullet"]) == 0
    assert json.loads(capsys.readouterr().out)["backend"] == "pybullet"
    assert robot_wm([*arguments, "--backend", "abacus"]) == 2
    assert "'abacus' is not installed" in capsys.readouterr().err
    assert robot_wm([*arguments, "--backend", "pybullet", "--option.backend", "pybullet"]) == 2
    assert "give one of them" in capsys.readouterr().err


def test_run_command(bundle_path, private_key, tmp_path, capsys):
    public = tmp_path / "key.pub.pem"
    public.write_bytes(private_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    video = tmp_path / "run.mp4"
    arguments = ["run", "--bundle", str(bundle_path), "--public-key", str(public), "--seconds", "0.4", "--json"]
    assert robot_wm([*arguments, "--video", str(video)]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["ticks"], figures["episodes"], figures["backend"]) == (20, 1, "pybullet")
    assert figures["realtime"] is False
    assert b"ftyp" in video.read_bytes()[:16]
    assert set(tmp_path.iterdir()) == {video, public}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--task", "cartpole_swingup"], "pole_angle"),
        (["--option.observation", "image"], "camera"),
        (["--episodes", "0"], "episodes"),
        (["--video", "run.txt"], "mp4"),
        (["--public-key", "gone.pem"], "gone.pem"),
    ],
)
def test_run_refuses_in_one_line(bundle_path, arguments, words, capsys):
    assert robot_wm(["run", "--bundle", str(bundle_path), *arguments]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""


def test_options_come_from_the_lineage_of_the_same_task():
    config = {"task": "a", "task_options": {"observation": "image"}}
    assert task_options(config, "a") == {"observation": "image"}
    assert task_options(config, "b") == task_options({}, "a") == {}
