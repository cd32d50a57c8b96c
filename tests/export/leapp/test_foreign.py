"""A stranger's policy under our controller: it computes what it was trained to, and commands what the robot may do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from robot_wm.errors import UserError
from robot_wm.replay.recording import read_recording
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.controller import Controller
from robot_wm.runtime.modes import Mode
from robot_wm.runtime.onnx_engine import OnnxEngine
from robot_wm.runtime.recorder import TickRecorder
from robot_wm.runtime.safety import SafetyConfig
from robot_wm.runtime.start import start_controller
from robot_wm.runtime.transform import ObservationTransform, to_command
from robot_wm.spec import AgentSpec, Source
from robot_wm.tasks import agent_spec, make_env
from robot_wm_export.leapp.foreign import ForeignReport, import_foreign
from robot_wm_export.leapp.package import read_package
from tests.export.leapp.conftest import A1_JOINTS, A1Policy, CartpolePolicy

WILD = 200.0


def spec_of(task: str) -> AgentSpec:
    env = make_env(task)
    try:
        return agent_spec(env)
    finally:
        env.close()


@pytest.fixture(scope="module")
def cartpole(cartpole_package, tmp_path_factory) -> tuple[Path, ForeignReport]:
    """The recurrent policy as a bundle, recorded while it balances."""
    out = tmp_path_factory.mktemp("bundle") / "cartpole.rwm"
    task = "cartpole_balance"
    return out, import_foreign(read_package(cartpole_package), spec_of(task), out, task=task)


@pytest.fixture(scope="module")
def a1(a1_package, tmp_path_factory) -> tuple[Path, ForeignReport]:
    """The velocity policy as a bundle for the A1; its package tells no rate."""
    out = tmp_path_factory.mktemp("bundle") / "a1.rwm"
    return out, import_foreign(read_package(a1_package), spec_of("a1_stand"), out, task=None, rate_hz=50.0)


@contextmanager
def running(bundle: Path) -> Iterator[tuple[OnnxEngine, ObservationTransform, AgentSpec]]:
    with Bundle.open(bundle) as opened:
        engine = OnnxEngine(opened.read(), opened.manifest.state)
        engine.activate()
        spec = opened.spec
        yield engine, ObservationTransform(spec, out={n: engine.inputs[f"obs/{n}"] for n in spec.model_inputs()}), spec


def felt_gravity(roll: float, pitch: float, yaw: float) -> tuple[np.ndarray, torch.Tensor]:
    """Gravity in the body's frame [3], and the quaternion (x, y, z, w) [1, 4] of the same attitude (z-y-x angles)."""
    half = np.array([roll, pitch, yaw]) / 2
    (cr, cp, cy), (sr, sp, sy) = np.cos(half), np.sin(half)
    quaternion = [sr * cp * cy - cr * sp * sy, cr * sp * cy + sr * cp * sy, cr * cp * sy - sr * sp * cy]
    quaternion.append(cr * cp * cy + sr * sp * sy)
    gravity = [np.sin(pitch), -np.sin(roll) * np.cos(pitch), -np.cos(roll) * np.cos(pitch)]
    return np.float32(gravity), torch.tensor([quaternion], dtype=torch.float32)


@torch.inference_mode()
def test_the_a1_s_targets_are_the_policy_s_joint_by_joint(a1):
    policy, rng = A1Policy(), np.random.default_rng(0)
    last = torch.zeros(1, 12)
    with running(a1[0]) as (engine, transform, spec):
        assert spec.action.joints != A1_JOINTS
        order = [A1_JOINTS.index(joint) for joint in spec.action.joints]
        for tick in range(40):
            is_first = tick % 15 == 0
            gravity, quaternion = felt_gravity(*rng.uniform((-0.6, -0.6, -3.0), (0.6, 0.6, 3.0)))
            frame = {field.name: rng.normal(size=field.shape).astype(np.float32) for field in spec.observations}
            frame["projected_gravity"] = gravity
            transform.push(frame, is_first)
            engine.inputs["is_first"][0] = is_first
            engine.infer()
            # Their joints stand in another order than ours.
            theirs = {
                name: torch.from_numpy(frame[name][[spec.action.joints.index(joint) for joint in A1_JOINTS]])[None]
                for name in ("joint_position", "joint_velocity")
            }
            seen = [torch.from_numpy(frame[name])[None] for name in ("angular_velocity", "command")]
            last = torch.zeros(1, 12) if is_first else last
            target, last = policy(seen[0], quaternion, seen[1], *theirs.values(), last)
            expected = target.numpy()[0, order]
            assert to_command(spec.action, engine.outputs["action"][0]) == pytest.approx(expected, abs=2e-5)


@torch.inference_mode()
def test_a_hidden_state_is_carried_and_forgotten(cartpole):
    policy, rng = CartpolePolicy(), np.random.default_rng(1)
    hidden, seen_hidden = torch.zeros(1, 1, 6), set()
    with running(cartpole[0]) as (engine, transform, spec):
        for tick in range(40):
            frame = {field.name: rng.normal(size=1, scale=0.1).astype(np.float32) for field in spec.observations}
            is_first = tick % 15 == 0
            transform.push(frame, is_first)
            engine.inputs["is_first"][0] = is_first
            engine.infer()
            position, velocity = (
                torch.from_numpy(np.concatenate([frame[f"cart_{what}"], frame[f"pole_{of}"]]))[None]
                for what, of in (("position", "angle"), ("velocity", "velocity"))
            )
            force, hidden = policy(position, velocity, torch.full((1, 1, 6), 0.5) if is_first else hidden)
            assert to_command(spec.action, engine.outputs["action"][0]) == pytest.approx(force.numpy()[0], abs=1e-5)
            (state,) = (engine.read_state(name) for name in ("actor_state_in",))
            assert state.ravel() == pytest.approx(hidden.numpy().ravel(), abs=1e-6)
            seen_hidden.add(state.tobytes())
    assert len(seen_hidden) == 40


def test_it_balances_under_our_controller_and_its_recording_is_read_again(cartpole, tmp_path):
    env, spec = make_env("cartpole_balance", seed=3), spec_of("cartpole_balance")
    commands, angles = [], []
    with Bundle.open(cartpole[0]) as opened:
        recorder = TickRecorder(tmp_path, spec, bundle_sha256=opened.manifest_sha256)
        with start_controller(opened, engine=OnnxEngine(opened.read(), opened.manifest.state)) as controller:
            observation, _ = env.reset(seed=3)
            controller.enable()
            for tick in range(200):
                command = controller.step(observation, tick * spec.control_period_s)
                stamp_ns = 2_100_000_000 * 10**9 + tick * 20_000_000
                recorder.add(observation, command, stamp_ns=stamp_ns, receipt_ns=stamp_ns, publish_ns=stamp_ns)
                commands.append(command.command.copy())
                observation, *_ = env.step(command.command.copy())
                angles.append(abs(float(observation["pole_angle"][0])))
            assert controller.mode is Mode.ACTIVE
        recorder.close()
    env.close()
    assert max(angles) < 0.3  # it falls in a second when nobody balances it
    (path,) = tmp_path.glob("*.mcap")
    recording = read_recording(path)
    assert recording.damage == ()
    assert recording.info.bundle_sha256 == opened.manifest_sha256
    assert recording.ticks["command"] == pytest.approx(np.array(commands))


def test_wild_commands_are_cut_to_what_the_robot_may_do(a1):
    out, report = a1
    spec = report.manifest.spec
    rng = np.random.default_rng(2)
    limits = np.array([joint.position for joint in spec.action.limits])
    reach = np.abs(np.array(spec.action.scale)) * spec.action.clip
    asked, given = [], []
    with Bundle.open(out) as opened, Controller(opened, config=SafetyConfig(soft_start_s=0.0)) as it:
        it.enable()
        for tick in range(50):
            frame = {
                field.name: rng.normal(field.offset, WILD, field.shape).astype(np.float32)
                for field in spec.observations
                if field.source is not Source.LAST_ACTION
            }
            frame["joint_position"] = np.float32(spec.action.offset)
            command = it.step(frame, tick * spec.control_period_s)
            asked.append(np.abs(command.raw_action).max())
            given.append(command.command.copy())
        assert it.mode is Mode.ACTIVE
    assert min(asked) > 3  # policy units, of which 1 is all that the agent may ask for
    assert (given >= limits[:, 0] - 1e-6).all()
    assert (given <= limits[:, 1] + 1e-6).all()
    assert (np.abs(given - np.array(spec.action.offset)) <= reach + 1e-5).all()
    assert np.ptp(given, axis=0).max() > 0.1


def test_what_came_from_where_and_how_well_it_agrees_is_in_the_manifest(cartpole, cartpole_package):
    out, report = cartpole
    with Bundle.open(out) as opened:
        manifest = opened.manifest
    assert manifest == report.manifest
    assert (manifest.kind, manifest.spec) == ("leapp", spec_of("cartpole_balance"))
    lineage = manifest.lineage.model_dump()["leapp"]
    assert lineage["played"] == "cartpole_balance"
    assert list(lineage["models"]) == ["cartpole"]
    assert lineage["frequency_hz"] == 50.0
    (parity,) = manifest.parity.results.values()
    assert set(parity.largest_error) == {"action", "next/actor_state_in"}
    assert max(parity.largest_error.values()) < 1e-5
    assert report.share_beyond == 0.0
    assert (cartpole_package / "log.txt").exists()  # leapp's own, which is no part of it
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "parity.npz", "policy.op17.onnx"]


def test_a_taken_name_is_refused(cartpole, cartpole_package):
    with pytest.raises(UserError, match="exists"):
        import_foreign(read_package(cartpole_package), spec_of("cartpole_balance"), cartpole[0], task=None)
