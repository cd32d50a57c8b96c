"""Exhibits that files show, before any robot is asked: refused when the agent is configured. Threads: README.md."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from museum_rig import with_gains, zoo_bundle
from onnx import numpy_helper
from planted_bundle import TICKS, write_planted_bundle

from robot_wm.errors import UserError
from robot_wm.firmware.check import require_robot
from robot_wm.firmware.loading import load_robot
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.engines import make_engine
from robot_wm.runtime.manifest import MANIFEST, POLICY_OP17
from robot_wm.runtime.onnx_engine import OnnxEngine
from robot_wm.runtime.start import start_controller
from robot_wm.runtime.transform import ObservationTransform
from robot_wm.spec import AgentSpec, require_same
from robot_wm.zoo.catalog import Zoo


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """A zoo agent's bundle as a folder, to be tampered with."""
    folder = tmp_path / "agent.rwm"
    with zipfile.ZipFile(Zoo.shipped().bundle("a1_velocity")) as archive:
        archive.extractall(folder)
    return folder


def edit(folder: Path, change: Callable[[dict], None]) -> None:
    path = folder / MANIFEST
    body = json.loads(path.read_bytes())
    change(body)
    path.write_text(json.dumps(body))


def with_other_weights(graph: bytes) -> bytes:
    """The same graph after a few more updates: one of its weights is another by 5 %."""
    model = onnx.load_from_string(graph)
    largest = max(model.graph.initializer, key=lambda entry: len(entry.raw_data))
    largest.CopyFrom(numpy_helper.from_array(1.05 * numpy_helper.to_array(largest), largest.name))
    return model.SerializeToString()


def test_a_policy_of_yesterday_with_the_spec_of_today(unpacked):
    def newer_spec(body: dict) -> None:
        body["spec"]["action"]["scale"] = [0.25] * 12

    edit(unpacked, newer_spec)
    with pytest.raises(UserError, match=r"spec_sha256 is .*, but the spec in the manifest hashes to"):
        Bundle.open(unpacked)


def test_a_policy_of_yesterday_in_the_bundle_of_today(unpacked):
    graph = unpacked / POLICY_OP17
    graph.write_bytes(with_other_weights(graph.read_bytes()))
    with pytest.raises(UserError, match=POLICY_OP17):
        Bundle.open(unpacked)


def test_hashes_made_anew_by_hand_need_the_key_too(unpacked):
    def forge(body: dict) -> None:
        body["spec"]["action"]["scale"] = [0.25] * 12
        body["spec_sha256"] = AgentSpec.model_validate(body["spec"]).content_hash()

    edit(unpacked, forge)
    with pytest.raises(UserError, match="signature"):
        Bundle.open(unpacked, Zoo.shipped().public_key)


def test_a_robot_that_was_built_for_another_spec_is_told_the_field():
    spec = zoo_bundle("a1_velocity").spec
    newer = spec.model_copy(update={"action": spec.action.model_copy(update={"scale": (0.25,) * 12})})
    with pytest.raises(UserError, match=r"action\.scale: .*0\.125.* != .*0\.25"):
        require_same(spec, newer, origin="robot")


def test_an_engine_of_yesterday_with_the_graph_of_today():
    bundle = zoo_bundle("a1_velocity")
    old = OnnxEngine(with_other_weights(bundle.read()), bundle.manifest.state)
    with pytest.raises(UserError, match=r"at tick \d+: expected .*, got .*build the engine anew"):
        start_controller(bundle, engine=old)


def test_an_engine_of_the_bundles_own_graph_is_started():
    bundle = zoo_bundle("a1_velocity")
    start_controller(bundle, engine=make_engine("onnx", bundle, precision="fp32")).deactivate()


def rolled_out(spec: AgentSpec, *, newest_first: bool) -> dict[str, np.ndarray]:
    """Ticks of one episode of noise, with their history as the library lays it, or the other way round."""
    rng, transform = np.random.default_rng(0), ObservationTransform(spec)
    recorded = {
        f"obs/{name}": np.empty((TICKS, 1, *entry.shape), np.float32) for name, entry in spec.model_inputs().items()
    }
    for tick in range(TICKS):
        frame = {field.name: rng.uniform(-0.5, 0.5, field.shape).astype(np.float32) for field in spec.observations}
        for name, value in transform.push(frame, tick == 0).items():
            frames = value.reshape(spec.history_length, -1)
            recorded[f"obs/{name}"][tick, 0] = (frames[::-1] if newest_first else frames).ravel()
    is_first = np.zeros((TICKS, 1), np.float32)
    is_first[0] = 1.0
    return recorded | {"is_first": is_first}


def with_history(spec: AgentSpec) -> AgentSpec:
    return spec.model_copy(update={"history_length": 4})


def test_a_history_with_the_newest_frame_first(tmp_path):
    bundle = write_planted_bundle(
        tmp_path / "agent.rwm", with_history, lambda spec: rolled_out(spec, newest_first=True)
    )
    with (
        Bundle.open(bundle) as opened,
        pytest.raises(UserError, match="obs/angular_velocity: its 4 frames were recorded newest first"),
    ):
        start_controller(opened)


def test_a_history_in_its_order_is_started(tmp_path):
    bundle = write_planted_bundle(
        tmp_path / "agent.rwm", with_history, lambda spec: rolled_out(spec, newest_first=False)
    )
    with Bundle.open(bundle) as opened:
        start_controller(opened).deactivate()


def test_gains_in_another_order_than_the_robots():
    bundle = zoo_bundle("a1_velocity")
    robot = load_robot("a1")
    require_robot(bundle.spec, robot, origin="agent")
    # Trained with stiffer calves, and written down in an order that puts them first.
    kp = [40.0, 20.0, 20.0] * 4
    with pytest.raises(UserError, match=r"FR_hip_joint\.kp: .*20 N·m/rad.*trained with 40 N·m/rad"):
        require_robot(with_gains(bundle, tuple(kp), bundle.spec.firmware.kd).spec, robot, origin="agent")


def test_a_robot_at_another_control_rate():
    robot = load_robot("a1").model_copy(update={"control_rate_hz": 100.0})
    with pytest.raises(UserError, match=r"control_rate_hz: the agent's is 50 Hz, but the robot's is 100 Hz"):
        require_robot(zoo_bundle("a1_velocity").spec, robot, origin="agent")
