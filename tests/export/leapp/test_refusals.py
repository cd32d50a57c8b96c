"""What does not fit is told, and nothing is written: a package is a stranger's file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import leapp
import onnx
import pytest
import torch
import yaml
from leapp import annotate

from robot_wm.errors import UserError
from robot_wm.firmware.loading import load_robot
from robot_wm.tasks import agent_spec, make_env
from robot_wm_export.leapp.derived import derived_spec
from robot_wm_export.leapp.foreign import import_foreign
from robot_wm_export.leapp.mapping import Orientation, plan_of
from robot_wm_export.leapp.package import read_package

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def specs() -> dict[str, Any]:
    """The contracts of the tasks that are asked for."""
    found = {}
    for task in ("a1_stand", "cartpole_balance", "panda_reach"):
        env = make_env(task)
        found[task] = agent_spec(env)
        env.close()
    return found


def node(body: dict[str, Any]) -> dict[str, Any]:
    return next(iter(body["models"].values()))


def tensor(name: str, key: str, value: Any) -> Edit:
    """A key of one tensor is another; None: it is not there."""

    def edit(body: dict[str, Any]) -> None:
        (found,) = (one for one in (*node(body)["inputs"], *node(body)["outputs"]) if one["name"] == name)
        found.pop(key, None)
        if value is not None:
            found[key] = value

    return edit


def pipeline(key: str, value: Any) -> Edit:
    def edit(body: dict[str, Any]) -> None:
        body["pipeline"][key] = value

    return edit


def parameter(key: str, value: str) -> Edit:
    def edit(body: dict[str, Any]) -> None:
        node(body)["parameters"][key] = value

    return edit


def version(body: dict[str, Any]) -> None:
    body["system information"]["leapp config version"] = "2.0"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (tensor("joint_pos", "kind", "state/battery"), "kind state/battery is not known here"),
        (tensor("joint_pos", "kind", None), "joint_pos: has no kind, and no observation of 2 elements has its name"),
        (tensor("joint_pos", "element_names", None), "joint_pos: kind state/joint/position needs element_names"),
        (tensor("joint_pos", "element_names", [["slider", "elbow"]]), "state/joint/position of elbow: robot cartpole"),
        (tensor("joint_pos", "kind", "state/joint/effort"), "observes no such element in N·m or N"),
        (tensor("joint_pos", "units", "deg"), "joint_pos: is in deg"),
        (tensor("joint_pos", "shape", [1, "N"]), "inputs.0.shape.1"),
        (tensor("joint_effort", "shape", [1, 1, 1]), "joint_effort is ('float32', (1, 1)) in the graph"),
        (tensor("joint_pos", "dtype", "float64"), "joint_pos: float64; float32 numbers and uint8 images"),
        (tensor("joint_pos", "element_names", ["__temporal_axis__", ["a"]]), "joint_pos: has an axis of time"),
        (tensor("joint_effort", "kind", "target/joint/position"), "the robot takes target/joint/effort"),
        (tensor("joint_effort", "kind", "target/body/position"), "is of the kind target/body/position"),
        (tensor("joint_effort", "kind", None), "joint_effort: has no kind"),
        (tensor("joint_effort", "element_names", None), "joints are matched by name, never by index"),
        (tensor("joint_effort", "element_names", [["wheel"]]), "joint wheel is none of cartpole's: slider"),
        (tensor("joint_effort", "units", "mN"), "is in mN, the robot's command in N"),
        (pipeline("configs", {"frequency": 60.0}), "computed at 60 Hz, cartpole_balance at 50 Hz"),
        (pipeline("configs", {}), "does not tell its rate; --rate says it"),
        (pipeline("inputs", {"cartpole": ["joint_pos"]}), "joint_vel is fed twice, by nobody"),
        (pipeline("outputs", {}), "joint slider is not commanded"),
        (pipeline("outputs", {"cartpole": ["nobody"]}), "cartpole/nobody is no output"),
        (pipeline("initial_values", None), "initial value of cartpole/actor_state_in"),
        (pipeline("initial_values", "../x.safetensors"), "is not a file of the package"),
        (parameter("model_path", "/etc/passwd"), "is not a file of the package"),
        (parameter("sha256sum", "0" * 64), "was changed: its SHA-256 is"),
        (parameter("backend", "jit"), "is TorchScript, which is code and is not loaded from others"),
        (version, "leapp config version is 2.0"),
    ],
)
def test_a_package_that_does_not_fit_is_refused(cartpole_package, changed, specs, tmp_path, edit, message):
    package, out = changed(cartpole_package, edit), tmp_path / "out.rwm"
    with pytest.raises(UserError) as error:
        import_foreign(read_package(package), specs["cartpole_balance"], out, task=None)
    assert message in str(error.value)
    assert not out.exists()


def test_another_robot_s_policy_is_refused_by_the_joint(cartpole_package, specs, tmp_path):
    with pytest.raises(UserError, match="of slider, hinge: robot a1, task a1_stand, observes no such"):
        import_foreign(read_package(cartpole_package), specs["a1_stand"], tmp_path / "out.rwm", task=None)


def test_gains_that_are_not_the_drives_are_refused(a1_package, specs, tmp_path):
    spec = specs["a1_stand"]
    soft = spec.firmware.model_copy(update={"kp": (20.0,) * 11 + (25.0,)})
    other = spec.model_copy(update={"firmware": soft})
    with pytest.raises(UserError, match=r"trained with kp 20 N·m/rad of RL_lower_joint, a1_kp20_kd05 has 25.0"):
        import_foreign(read_package(a1_package), other, tmp_path / "out.rwm", task=None, rate_hz=50.0)


def test_what_the_world_s_frame_tells_is_refused(a1_package, changed, specs):
    edit = tensor("robot_root_ang_vel_b", "isaaclab_connection", "state:robot:root_ang_vel_w")
    with pytest.raises(UserError, match="in the world's frame"):
        plan_of(read_package(changed(a1_package, edit)), specs["a1_stand"], rate_hz=50.0)


def test_a_quaternion_goes_by_its_names(a1_package, changed, specs):
    edit = tensor("robot_root_quat_w", "element_names", [["w", "x", "y", "z"]])
    plan = plan_of(read_package(changed(a1_package, edit)), specs["a1_stand"], rate_hz=50.0)
    assert plan.sources["Isaac-Velocity-Flat-A1-v0/robot_root_quat_w"] == Orientation((3, 0, 1, 2))


def _rewritten(package: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    (path,), (description,) = package.glob("*.onnx"), package.glob("*.yaml")
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    body = yaml.safe_load(description.read_text())
    node(body)["parameters"]["sha256sum"] = hashlib.sha256(path.read_bytes()).hexdigest()
    description.write_text(yaml.safe_dump(body, sort_keys=False))


def by_heading(model: onnx.ModelProto) -> None:
    """The target hangs on the quaternion's qz, too."""
    graph = model.graph
    graph.initializer.append(onnx.helper.make_tensor("third", onnx.TensorProto.INT64, [1], [2]))
    (out,) = (value.name for value in graph.output if value.name == "joint_pos_target")
    (maker,) = (one for one in graph.node if out in one.output)
    maker.output[list(maker.output).index(out)] = "target_before"
    graph.node.append(onnx.helper.make_node("Gather", ["robot_root_quat_w", "third"], ["qz"], axis=1))
    graph.node.append(onnx.helper.make_node("Add", ["target_before", "qz"], [out]))


def with_loop(model: onnx.ModelProto) -> None:
    for name in ("then_branch", "else_branch"):
        value = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
        body = onnx.helper.make_graph([], name, [], [value])
        model.graph.node[0].attribute.append(onnx.helper.make_attribute(name, body))


def of_another_domain(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.somebody"


def open_shape(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (by_heading, "the policy goes by the robot's heading"),
        (with_loop, "a loop or a branch"),
        (of_another_domain, "is not one of ONNX"),
        (open_shape, "('float32', ('batch', 3)) in the graph"),
    ],
)
def test_a_graph_that_no_robot_should_be_given_is_refused(a1_package, changed, specs, tmp_path, change, message):
    package, out = changed(a1_package, lambda body: None), tmp_path / "out.rwm"
    _rewritten(package, change)
    with pytest.raises(UserError) as error:
        import_foreign(read_package(package), specs["a1_stand"], out, task=None, rate_hz=50.0)
    assert message in str(error.value)
    assert not out.exists()


def test_real_torchscript_is_not_loaded(tmp_path):
    leapp.start(str(tmp_path / "script"))
    seen = annotate.input_tensors("policy", {"x": torch.zeros(1, 2)})
    annotate.output_tensors("policy", {"y": seen * 2}, export_with="jit")
    leapp.stop()
    leapp.compile_graph(visualize=False)
    with pytest.raises(UserError, match="is TorchScript, which is code"):
        read_package(tmp_path / "script")


def test_a_link_out_of_the_package_is_not_followed(cartpole_package, changed):
    package = changed(cartpole_package, lambda body: None)
    (model,) = package.glob("*.onnx")
    model.unlink()
    model.symlink_to(next(cartpole_package.glob("*.onnx")))
    with pytest.raises(UserError, match="cannot read it"):
        read_package(package)


def test_a_robot_without_a_task_gets_a_contract_of_both(a1_package):
    robot = load_robot("a1")
    spec = derived_spec(read_package(a1_package), robot, rate_hz=50.0)
    fields = {field.name: field for field in spec.observations}
    assert list(fields) == ["joint_position", "joint_velocity", "angular_velocity", "projected_gravity", "command"]
    assert spec.action.joints[:4] == ("FL_hip_joint", "FR_hip_joint", "RL_hip_joint", "RR_hip_joint")
    assert (spec.robot, spec.firmware.name, spec.firmware.kp) == (robot.robot, robot.firmware, (20.0,) * 12)
    for joint, offset, scale in zip(spec.action.joints, spec.action.offset, spec.action.scale, strict=True):
        low, high = robot.joints[joint].limits.position
        assert (offset - scale, offset + scale) == pytest.approx((low, high))
    assert plan_of(read_package(a1_package), spec, rate_hz=50.0).targets
    with pytest.raises(UserError, match="does not tell its rate"):
        derived_spec(read_package(a1_package), robot)
    with pytest.raises(UserError, match="position is commanded; cartpole takes effort"):
        derived_spec(read_package(a1_package), load_robot("cartpole"), rate_hz=50.0)
    panda = load_robot("panda").model_copy(update={"control_modes": ("position",)})
    with pytest.raises(UserError, match="joint FL_hip_joint is none of panda's"):
        derived_spec(read_package(a1_package), panda, rate_hz=50.0)
