"""Bundle → LEAPP → bundle: the same agent, and in between a package that leapp's own runtime computes alike."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import yaml
from onnx import numpy_helper
from safetensors.numpy import load_file, save_file

from robot_wm.errors import UserError
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.manifest import POLICY_OP17
from robot_wm.runtime.noise import NoiseSource
from robot_wm.runtime.onnx_engine import OnnxEngine
from robot_wm.runtime.signature import generate_key
from robot_wm.runtime.transform import ObservationTransform, to_command
from robot_wm.zoo.catalog import locate_bundle
from robot_wm_export.export import export_agent
from robot_wm_export.leapp.check import check_with_leapp, compare_with_leapp, draw_observations
from robot_wm_export.leapp.ours import is_ours, restore
from robot_wm_export.leapp.package import read_package
from robot_wm_export.leapp.writing import LeappReport, export_leapp

TICKS = 512


@pytest.fixture(scope="module")
def signed(proprio, tmp_path_factory) -> tuple[Path, Path, LeappReport]:
    """A signed bundle with a history of two frames, its public key, and its package."""
    folder = tmp_path_factory.mktemp("signed")
    public = generate_key(folder / "robot.pem")
    bundle = folder / "agent.rwm"
    arguments = (proprio.agent, proprio.spec, proprio.rollout, {"git_commit": "abc", "steps": 7}, bundle)
    export_agent(*arguments, folder / "robot.pem", profiles=(POLICY_OP17,))
    with Bundle.open(bundle, public) as opened:
        return bundle, public, export_leapp(opened, folder / "agent.leapp")


@pytest.fixture(scope="module")
def back(signed) -> Path:
    """What came back."""
    _, _, report = signed
    out = report.path.parent / "back.rwm"
    restore(read_package(report.path), out)
    return out


def test_the_bundle_comes_back_byte_for_byte_and_its_signature_with_it(signed, back):
    bundle, public, _ = signed
    names = {path.name for path in bundle.iterdir()}
    assert {path.name for path in back.iterdir()} == names >= {"policy.op17.onnx", "parity.npz", "manifest.sig"}
    for name in names:
        assert (back / name).read_bytes() == (bundle / name).read_bytes(), name
    with Bundle.open(back, public) as opened:
        assert opened.signature_checked


def test_no_draw_and_no_bit_differs_over_512_ticks(signed, back):
    bundle, _, report = signed
    with Bundle.open(bundle) as one, Bundle.open(back) as two:
        engines = [OnnxEngine(each.read(), each.manifest.state) for each in (one, two)]
        manifest = one.manifest
    graph = (report.path / "policy.onnx").read_bytes()
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    state = {
        key.split("/")[1]: value for key, value in load_file(report.path / "agent_initial_values.safetensors").items()
    }
    feedback = yaml.safe_load(report.description.read_text())["pipeline"]["feedback_flow"]
    feedback = {source.split("/")[1]: target.split("/")[1] for source, (target,) in feedback.items()}
    for engine in engines:
        engine.activate()
    transforms = [
        ObservationTransform(manifest.spec, out={n: engine.inputs[f"obs/{n}"] for n in manifest.spec.model_inputs()})
        for engine in engines
    ]
    noises = [NoiseSource(manifest.noise, engine.inputs, 3) for engine in engines]
    names = [output.name for output in session.get_outputs()]
    drawn = draw_observations(manifest.spec, TICKS, seed=1)
    drawn_classes = set()
    for tick in range(TICKS):
        frame = {name: values[tick] for name, values in drawn.items()}
        for engine, transform, noise in zip(engines, transforms, noises, strict=True):
            transform.push(frame, tick == 0)
            engine.inputs["is_first"][0] = float(tick == 0)
            noise.draw()
            engine.infer()
        state |= {n.name.replace("/", "_"): engines[0].inputs[n.name].copy() for n in manifest.noise}
        made = dict(zip(names, session.run(names, frame | state), strict=True))
        state = {target: made[source] for source, target in feedback.items()}
        for name, value in engines[0].outputs.items():
            assert np.array_equal(value, engines[1].outputs[name]), (tick, name)
        action = np.clip(engines[0].outputs["action"], -1, 1)
        assert np.array_equal(made["joint_command"], to_command(manifest.spec.action, action)), tick
        for entry in manifest.state:
            assert np.array_equal(made[f"next_{entry.name}"], engines[0].read_state(entry.name)), (tick, entry.name)
        drawn_classes.add(engines[0].read_state("stoch").tobytes())
    assert len(drawn_classes) > 20  # there was something to draw


@pytest.mark.parametrize("noise_seed", [3, None], ids=["sampled", "greedy"])
def test_leapp_s_own_runtime_draws_the_same_over_512_ticks(signed, noise_seed):
    bundle, _, report = signed
    with Bundle.open(bundle) as opened:
        found = compare_with_leapp(report.description, opened, ticks=TICKS, noise_seed=noise_seed)
    assert (found.ticks, found.draws, found.differing_draws) == (TICKS, 4 * TICKS, 0)
    assert found.largest_difference < 1e-5
    assert report.check is not None
    assert report.check.differing_draws == 0


@pytest.mark.parametrize("kind", ["both", "muzero_discrete"])
def test_images_and_choices_go_both_ways(make_case, kind, tmp_path):
    case = make_case(kind)
    bundle = tmp_path / "agent.rwm"
    export_agent(case.agent, case.spec, case.rollout, {}, bundle, profiles=(POLICY_OP17,))
    with Bundle.open(bundle) as opened:
        report = export_leapp(opened, tmp_path / "agent.leapp")
        assert report.check is not None
        assert report.check.differing_draws == 0
        restore(read_package(report.path), tmp_path / "back.rwm")
        assert (tmp_path / "back.rwm" / "manifest.json").read_bytes() == (bundle / "manifest.json").read_bytes()
        assert any("sampling" in line for line in report.lost)


@pytest.fixture(scope="module")
def a1_stand(tmp_path_factory) -> LeappReport:
    """The zoo's agent, which sees a command, its last action and an IMU."""
    with Bundle.open(*locate_bundle(Path("zoo:a1_stand"), None)) as opened:
        return export_leapp(opened, tmp_path_factory.mktemp("zoo") / "a1_stand.leapp")


def test_what_a_robot_sees_and_does_has_leapp_s_names(a1_stand):
    body = yaml.safe_load(a1_stand.description.read_text())
    node, pipeline = body["models"]["policy"], body["pipeline"]
    told = {entry["name"]: entry for entry in (*node["inputs"], *node["outputs"])}
    kinds = {name: told[name].get("kind") for name in pipeline["inputs"]["policy"]}
    assert kinds == {
        "angular_velocity": "state/body/angular_velocity",
        "projected_gravity": "state/vector3d",
        "command": "command/body/velocity",
        "joint_position": "state/joint/position",
        "joint_velocity": "state/joint/velocity",
    }
    assert told["command"]["element_names"] == [["lin_vel_x", "lin_vel_y", "ang_vel_z"]]
    assert told["joint_position"]["element_names"][0][:2] == ["FR_hip_joint", "FR_upper_joint"]
    assert told["joint_command"]["kind"] == "target/joint/position"
    assert told["joint_command"]["units"] == told["joint_position"]["units"] == "rad"
    assert {"kp", "kd"} <= set(pipeline["outputs"]["policy"])
    assert pipeline["feedback_flow"]["policy/joint_command"] == ["policy/last_action"]
    assert pipeline["configs"]["frequency"] == 50.0
    assert a1_stand.without_kind == ()
    assert a1_stand.check is not None
    assert a1_stand.check.largest_difference < 1e-5


def _rehashed(package: Path, model: onnx.ModelProto) -> None:
    content = model.SerializeToString(deterministic=True)
    (package / "policy.onnx").write_bytes(content)
    (description,) = package.glob("*.yaml")
    body = yaml.safe_load(description.read_text())
    body["models"]["policy"]["parameters"]["sha256sum"] = hashlib.sha256(content).hexdigest()
    description.write_text(yaml.safe_dump(body))


def test_a_weight_that_somebody_changed_is_found_whatever_the_description_says(signed, tmp_path):
    package = Path(shutil.copytree(signed[2].path, tmp_path / "agent.leapp"))
    model = onnx.load(package / "policy.onnx")
    weight = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = numpy_helper.to_array(weight).copy()
    values.flat[0] += 1e-3
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    _rehashed(package, model)
    with pytest.raises(UserError, match="was changed since it was exported"):
        restore(read_package(package), tmp_path / "back.rwm")
    assert not (tmp_path / "back.rwm").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [("manifest.json", "another bundle's"), ("parity.npz", "was changed")],
)
def test_a_side_file_that_somebody_changed_is_found(signed, tmp_path, name, message):
    package = Path(shutil.copytree(signed[2].path, tmp_path / "agent.leapp"))
    path = package / "robot_wm" / name
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        restore(read_package(package), tmp_path / "back.rwm")
    assert not (tmp_path / "back.rwm").exists()


def test_a_package_that_computes_something_else_is_found(signed, tmp_path):
    """No first tick: the history starts with zeros."""
    bundle, _, report = signed
    package = Path(shutil.copytree(report.path, tmp_path / "agent.leapp"))
    path = package / "agent_initial_values.safetensors"
    values = load_file(path)
    values["policy/episode_start"] = np.zeros(1, dtype=np.float32)
    save_file(values, path)
    with Bundle.open(bundle) as opened, pytest.raises(UserError, match=r"is off by .* from the bundle's"):
        check_with_leapp(package / report.description.name, opened)


def test_a_taken_name_is_refused_and_what_is_there_stays(signed, tmp_path):
    bundle, _, _ = signed
    (tmp_path / "agent.leapp").mkdir()
    with Bundle.open(bundle) as opened, pytest.raises(UserError, match="exists"):
        export_leapp(opened, tmp_path / "agent.leapp")
    assert list((tmp_path / "agent.leapp").iterdir()) == []


def test_a_stranger_s_package_is_told_from_ours(signed, cartpole_package):
    assert is_ours(read_package(signed[2].path))
    assert not is_ours(read_package(cartpole_package))
