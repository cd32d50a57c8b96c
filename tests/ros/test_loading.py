"""The node's parameters choose the engine, and an agent starts with it or not at all."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from robot_wm.errors import UserError
from robot_wm.firmware.loading import load_robot, robot_yaml
from robot_wm.runtime import engines
from robot_wm.runtime.onnx_engine import OnnxEngine
from robot_wm.tasks import agent_spec, make_env
from robot_wm_ros import loading, parameters
from robot_wm_ros.parameters import AgentParameters


@pytest.fixture(scope="module")
def load(make_bundle):
    """Load an agent with some parameters other than the defaults, and give it back again."""
    path = str(make_bundle("cartpole_balance"))

    def load(**given) -> type:
        with ExitStack() as undo:
            chosen = AgentParameters.of(parameters._DEFAULTS | {"bundle": path, "allow_unsigned": True, **given})
            return type(loading.load_agent(chosen, undo, print).controller.engine)

    return load


def test_by_default_onnx_runtime_computes(load):
    assert load() is OnnxEngine


def test_the_parameters_reach_the_engine(load, monkeypatch):
    asked = []

    def make(kind, bundle, **options):
        asked.append((kind, options))
        return OnnxEngine(bundle.read(), bundle.manifest.state)

    monkeypatch.setattr(loading, "make_engine", make)
    load(engine="tensorrt", engine_dir="/srv/engines", threads=2)
    load(engine="tensorrt")
    assert asked == [
        ("tensorrt", {"precision": "fp32", "threads": 2, "engine_dir": Path("/srv/engines")}),
        ("tensorrt", {"precision": "fp32", "threads": 1, "engine_dir": None}),
    ]


def test_what_cannot_be_is_refused_in_one_line(load, monkeypatch):
    for name in ("tensorrt", "tensorrt_lean"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match="TensorRT cannot be used here"):
        load(engine="tensorrt")
    with pytest.raises(UserError, match="precision int8: the bundle has fp32"):
        load(precision="int8")
    with pytest.raises(UserError, match="parameter precision: 'fp8' is not one of fp32, fp16, int8"):
        load(precision="fp8")
    with pytest.raises(UserError, match="parameter engine: 'torch' is not one of onnx, tensorrt"):
        load(engine="torch")


def test_the_node_offers_every_engine_there_is():
    row = next(row for row in parameters._DECLARATIONS if row.name == "engine")
    assert row.choices == engines.ENGINES == ("onnx", "tensorrt")


def test_a_robot_runs_what_somebody_signed_unless_it_is_told_otherwise(load):
    with pytest.raises(UserError, match=r"parameter public_key: is not set; .*allow_unsigned"):
        load(allow_unsigned=False)


def test_a_bundle_that_is_older_than_the_robot_s_minimum_is_refused(load, tmp_path):
    load(min_bundle_version=0)
    with pytest.raises(UserError, match="bundle_version 0 is older than this robot's min_bundle_version 1"):
        load(min_bundle_version=1)
    robot = load_robot("cartpole").model_copy(update={"min_bundle_version": 2})
    path = tmp_path / "cart.yaml"
    path.write_text(robot_yaml(robot))
    with pytest.raises(UserError, match="min_bundle_version 2"):
        load(robot_config=str(path))
    with pytest.raises(UserError, match="min_bundle_version 2"):
        load(robot_config=str(path), min_bundle_version=1)  # the higher one counts


@pytest.fixture
def configs(monkeypatch):
    """The safety of every agent that is loaded."""
    found = []
    real = loading.start_controller
    monkeypatch.setattr(loading, "start_controller", lambda *a, **k: found.append(k["config"]) or real(*a, **k))
    return found


def test_a_robot_states_how_far_and_how_long_its_joints_may_be_off(load, tmp_path, configs):
    robot = load_robot("cartpole")
    joint = robot.joints["slider"].model_copy(update={"following_error": 2.5})
    path = tmp_path / "cart.yaml"
    path.write_text(robot_yaml(robot.model_copy(update={"following_s": 0.4, "joints": {"slider": joint}})))
    load(robot_config=str(path))
    load(robot_config="cartpole")
    load()
    assert [(config.following_s, config.following_errors) for config in configs] == [
        (0.4, {"slider": 2.5}), (1.0, {}), (1.0, {})
    ]  # fmt: skip
    car = load_robot("racecar")
    joints = dict(car.joints)
    for number, name in enumerate(car.couplings["drive"]):
        error = [None, 3.0, 2.0, 4.0][number]
        joints[name] = joints[name].model_copy(update={"following_error": error})
    assert car.model_copy(update={"joints": joints}).following_errors(("drive", "steering")) == {"drive": 2.0}


def test_a_robot_that_bears_a_load_holds_when_it_is_stopped(load, tmp_path, configs):
    for when_stopped in ("damp", "hold_and_brake"):
        path = tmp_path / f"{when_stopped}.yaml"
        path.write_text(robot_yaml(load_robot("cartpole").model_copy(update={"when_stopped": when_stopped})))
        load(robot_config=str(path))
    load()
    assert [config.hold_when_stopped for config in configs] == [False, True, False]


@pytest.mark.parametrize(("given_s", "mode", "expected_s"), [
    (-1.0, "position", 1.0), (-1.0, "velocity", 1.0), (-1.0, "effort", 0.0),
    (0.5, "position", 0.5), (0.5, "effort", 0.5), (0.0, "position", 0.0),
])  # fmt: skip
def test_the_soft_start_is_the_task_s_unless_one_is_given(given_s, mode, expected_s):
    given = AgentParameters.of(parameters._DEFAULTS | {"soft_start_s": given_s})
    action = agent_spec_of("cartpole_balance").action.model_copy(update={"mode": mode})
    assert given.safety_for(action).soft_start_s == expected_s


def agent_spec_of(task):
    env = make_env(task)
    try:
        return agent_spec(env)
    finally:
        env.close()


def test_less_than_no_soft_start_is_refused():
    with pytest.raises(UserError, match=r"soft_start_s: -0\.5 s"):
        AgentParameters.of(parameters._DEFAULTS | {"soft_start_s": -0.5})


def test_the_start_pose_is_by_joint_and_only_for_positions():
    given = AgentParameters.of(parameters._DEFAULTS | {"start_pose": ["slider=0.5"], "start_speed": 0.1})
    action = agent_spec_of("cartpole_balance").action
    config = given.safety_for(action.model_copy(update={"mode": "position"}))
    assert (config.start_speed, dict(config.start_pose)) == (0.1, {"slider": 0.5})
    with pytest.raises(UserError, match="start_pose: commands of effort have no pose to go to"):
        given.safety_for(action)


def test_a_robot_reacts_to_falls_where_it_is_asked_to_and_into_its_own_crouch():
    assert not AgentParameters.of(parameters._DEFAULTS).safety.reacts_to_fall
    given = {"react_to_fall": True, "crouch_pose": ["knee=-2.6", "hip=1.4"], "crouch_s": 0.2}
    safety = AgentParameters.of(parameters._DEFAULTS | given).safety
    assert (safety.reacts_to_fall, dict(safety.crouch_pose), safety.crouch_s) == (True, {"knee": -2.6, "hip": 1.4}, 0.2)
    with pytest.raises(UserError, match=r"parameter crouch_pose: 'knee' is not joint=position in rad"):
        AgentParameters.of(parameters._DEFAULTS | {"crouch_pose": ["knee"]})


@pytest.mark.parametrize("item", ["slider", "slider=", "=0.5", "slider=half", "slider=nan", "slider=0.5 rad"])
def test_a_start_pose_that_cannot_be_read_is_refused_with_its_unit(item):
    with pytest.raises(UserError, match=r"parameter start_pose: .* is not joint=position in rad"):
        AgentParameters.of(parameters._DEFAULTS | {"start_pose": ["wheel=1", item]})
    with pytest.raises(UserError, match=r"'wheel=2' is not .*, each joint once"):
        AgentParameters.of(parameters._DEFAULTS | {"start_pose": ["wheel=1", "wheel=2"]})
