"""Whether an agent belongs on a robot: real pairs do, and each planted fault is named with both values and units."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_wm.errors import UserError
from robot_wm.firmware import check as check_module
from robot_wm.firmware.check import check_robot, require_ends, require_robot
from robot_wm.firmware.loading import load_robot
from robot_wm.firmware.nested import beyond, range_of
from robot_wm.firmware.robot_model import RobotConfig
from robot_wm.runtime.limits import command_limits
from robot_wm.spec import AgentSpec, JointLimits

ROBOTS = ("a1", "panda", "cartpole", "racecar")


def with_joint(robot: RobotConfig, name: str, **changes: object) -> RobotConfig:
    joint = robot.joints[name]
    return robot.model_copy(update={"joints": robot.joints | {name: joint.model_copy(update=changes)}})


def with_limits(robot: RobotConfig, name: str, **changes: object) -> RobotConfig:
    return with_joint(robot, name, limits=robot.joints[name].limits.model_copy(update=changes))


def with_action(spec: AgentSpec, **changes: object) -> AgentSpec:
    return spec.model_copy(update={"action": spec.action.model_copy(update=changes)})


@pytest.mark.parametrize("name", ROBOTS)
def test_the_agents_that_are_trained_here_belong_on_their_robots(name, specs):
    robot = load_robot(name)
    assert check_robot(specs[name], robot) == []
    require_robot(specs[name], robot, origin="agent.rwm")


@pytest.mark.parametrize("name", ROBOTS)
def test_they_belong_on_no_other(name, specs):
    for other in set(ROBOTS) - {name}:
        assert check_robot(specs[other], load_robot(name)) != []


def test_a_joint_with_ends_is_driven_only_where_the_agent_or_its_drive_knows_them(specs):
    seeing = next(field for field in specs["racecar"].observations if field.is_image)
    blind = specs["racecar"].model_copy(update={"observations": (seeing,)})
    robot = load_robot("racecar")
    require_ends(blind, robot, origin="agent.rwm")
    wanted = r"agent\.rwm: nothing keeps steering from the ends of the range: no field with the role joint_position"
    free = with_limits(robot, robot.joints_of("steering")[-1], position=None)
    for unkept in (None, free, load_robot("cartpole")):
        with pytest.raises(UserError, match=wanted):
            require_ends(blind, unkept, origin="agent.rwm")
    for name in ROBOTS:
        if any(field.role == "joint_position" for field in specs[name].observations):
            require_ends(specs[name], None, origin="agent.rwm")


def only(violations):
    assert len(violations) == 1, [str(violation) for violation in violations]
    return str(violations[0])


def test_positions_are_commanded_only_where_a_field_says_where_each_joint_is(specs, a1):
    fields = tuple(field.model_copy(update={"role": None}) for field in specs["a1"].observations)
    violations = check_robot(specs["a1"].model_copy(update={"observations": fields}), a1)
    assert [violation.rule for violation in violations] == ["position known"] * 12
    assert "FR_hip_joint" in str(violations[0])
    fields = tuple(field.model_copy(update={"role": None}) for field in specs["panda"].observations)
    assert check_robot(specs["panda"].model_copy(update={"observations": fields}), load_robot("panda")) == []


def test_urdf_within_firmware(specs, a1):
    text = only(check_robot(specs["a1"], with_joint(a1, "FL_lower_joint", urdf=JointLimits(effort=20.0))))
    assert "FL_lower_joint effort" in text
    assert "URDF allows ±20 N·m" in text
    assert "firmware has ±33.5 N·m" in text
    assert "URDF ⊇ firmware" in text


def test_a_given_urdf_replaces_the_repeated_limits(specs, a1):
    limits = {name: joint.urdf for name, joint in a1.joints.items()}
    assert check_robot(specs["a1"], a1, urdf=limits) == []
    narrow = limits | {"RR_hip_joint": JointLimits(position=(-0.5, 0.5))}
    text = only(check_robot(specs["a1"], a1, urdf=narrow))
    assert "RR_hip_joint position" in text
    assert "[" not in text.split("URDF allows ")[1].split(" rad")[0]  # written as ±0.5
    assert "±0.5 rad" in text
    del narrow["RR_hip_joint"]
    assert "the URDF has no such joint" in only(check_robot(specs["a1"], a1, urdf=narrow))


def test_firmware_narrower_than_the_spec_is_named_for_spec_and_filter(specs, a1):
    violations = check_robot(specs["a1"], with_limits(a1, "FR_upper_joint", position=(-1.0, 4.0)))
    assert {violation.rule for violation in violations} == {"firmware ⊇ AgentSpec", "firmware ⊇ safety filter"}
    assert "[-1, 4] rad" in str(violations[0])
    assert "[-1.0471975512, 4.18879020479] rad" in str(violations[0])


@pytest.mark.parametrize("position", [(-1.0, 4.2), (-1.1, 4.0)], ids=["lower end", "upper end"])
def test_each_end_of_a_range_counts(position, specs, a1):
    violations = check_robot(specs["a1"], with_limits(a1, "FR_upper_joint", position=position))
    rules = [violation.rule for violation in violations]
    # One end reaches beyond the description, the other stops short of what the agent may ask for.
    assert rules == ["URDF ⊇ firmware", "firmware ⊇ AgentSpec", "firmware ⊇ safety filter"]


def test_a_limit_that_the_spec_lacks_is_unlimited(specs, a1):
    limits = tuple(limit.model_copy(update={"velocity": None}) for limit in specs["a1"].action.limits)
    violations = check_robot(with_action(specs["a1"], limits=limits), a1)
    assert len(violations) == 12
    assert "AgentSpec has unlimited, but firmware allows ±21 rad/s" in str(violations[0])


def test_a_rate_of_the_firmware_bounds_the_agent(specs, a1):
    violations = [str(v) for v in check_robot(specs["a1"], with_limits(a1, "FR_hip_joint", rate=10.0))]
    assert len(violations) == 2
    assert "FR_hip_joint rate: AgentSpec has unlimited, but firmware allows ±10 rad/s" in violations[0]
    assert "lets 20.9" in violations[1]  # the filter's own step: the velocity limit, rounded inwards
    assert "firmware ⊇ safety filter" in violations[1]


@pytest.mark.parametrize("mode", ["velocity", "effort"])
def test_a_spec_without_limits_is_held_to_what_it_may_ask_for(mode, specs):
    name, robot = ("cartpole", "cartpole") if mode == "effort" else ("panda", "panda")
    config = load_robot(robot)
    spec = with_action(specs[name], limits=(), scale=(100.0,))
    violations = [str(v) for v in check_robot(spec, config) if v.rule == "firmware ⊇ safety filter"]
    assert violations
    assert all("±100 " in text for text in violations)


def test_the_filter_is_compared_with_the_spec_itself(specs, a1):
    """A filter that let too much through: planted, since ours rounds inwards."""
    honest = command_limits(specs["a1"])
    wide = dataclasses.replace(honest, high=honest.high + np.float32(0.1), step=honest.step * 2)
    assert list(check_module._filter_limits(specs["a1"], a1, honest)) == []
    found = [str(violation) for violation in check_module._filter_limits(specs["a1"], a1, wide)]
    assert any("AgentSpec ⊇ safety filter" in text and "FR_hip_joint position" in text for text in found)


def test_limits_that_the_filter_refuses_are_a_violation_and_no_crash(specs, a1):
    limits = (JointLimits(position=(0.1, 0.1 + 1e-12), velocity=21.0, effort=33.5), *specs["a1"].action.limits[1:])
    rules = [violation.rule for violation in check_robot(with_action(specs["a1"], limits=limits), a1)]
    assert "AgentSpec ⊇ safety filter" in rules


@pytest.mark.parametrize(("gain", "unit"), [("kp", "N·m/rad"), ("kd", "N·m·s/rad")])
def test_other_gains_than_trained_with(gain, unit, specs, a1):
    text = only(check_robot(specs["a1"], with_joint(a1, "RL_lower_joint", **{gain: 21.5})))
    trained = {"kp": "20", "kd": "0.5"}[gain]
    assert f"RL_lower_joint.{gain}: the agent was trained with {trained} {unit}" in text
    assert f"the robot's drive has 21.5 {unit}" in text


def test_gains_of_every_coupled_joint_count(specs):
    robot = with_joint(load_robot("racecar"), "right_front_wheel_joint", kd=0.2)
    assert "right_front_wheel_joint.kd" in only(check_robot(specs["racecar"], robot))


def test_an_agent_that_names_no_gains_is_refused(specs, a1):
    firmware = specs["a1"].firmware.model_copy(update={"kp": ()})
    text = only(check_robot(specs["a1"].model_copy(update={"firmware": firmware}), a1))
    assert "firmware.kp" in text


def test_sliding_joints_have_gains_in_newtons(specs):
    robot = with_joint(load_robot("cartpole"), "slider", kd=3.0)
    assert "3 N·s/m" in only(check_robot(specs["cartpole"], robot))


@pytest.mark.parametrize(
    ("timeout_s", "rule"), [(0.02, "watchdog > control period"), (0.01, "watchdog > control period"), (0.6, "too long")]
)
def test_watchdogs(timeout_s, rule, specs, a1):
    text = only(check_robot(specs["a1"], a1.model_copy(update={"command_timeout_s": timeout_s})))
    assert rule in text
    assert f"{timeout_s:g} s" in text
    assert ("0.02 s" if timeout_s < 0.1 else "0.5 s") in text
    text = only(check_robot(specs["a1"], with_joint(a1, "FL_hip_joint", watchdog_s=timeout_s)))
    assert "FL_hip_joint.watchdog_s" in text


def test_an_unknown_joint_and_only_that(specs, a1):
    joints = ("FR_hip_motor", *specs["a1"].action.joints[1:])
    text = only(check_robot(with_action(specs["a1"], joints=joints), a1))
    assert text.startswith("FR_hip_motor: the agent commands it, but the robot has FR_hip_joint, FR_upper_joint")


def test_the_order_of_joints_is_the_agents_own_affair(specs, a1):
    spec, order = specs["a1"], np.random.default_rng(0).permutation(12)
    turned = with_action(
        spec,
        joints=tuple(spec.action.joints[i] for i in order),
        limits=tuple(spec.action.limits[i] for i in order),
        scale=tuple(spec.action.scale[i] for i in order),
        offset=tuple(spec.action.offset[i] for i in order),
    )
    assert check_robot(turned, a1) == []


def test_mode_name_profile_rate_and_unit(specs, a1):
    spec = specs["a1"]
    velocity_only = a1.model_copy(update={"control_modes": ("velocity",), "action_mode": "velocity"})
    assert "the agent gives position, but the robot takes velocity" in only(check_robot(spec, velocity_only))
    assert "'a1_kp20_kd05'" in only(check_robot(spec, a1.model_copy(update={"firmware": "other"})))
    assert "'a1'" in only(check_robot(spec.model_copy(update={"robot": "go1"}), a1))
    assert "100 Hz" in only(check_robot(spec, a1.model_copy(update={"control_rate_hz": 100.0})))
    degrees = check_robot(with_action(spec, unit="deg"), a1)
    assert len(degrees) == 12
    assert "in rad" in str(degrees[0])


def test_a_discrete_agent_is_named_not_crashed_on(specs, a1):
    action = specs["a1"].action.model_copy(update={"mode": "discrete", "limits": (), "unit": "1"})
    violations = check_robot(specs["a1"].model_copy(update={"action": action}), a1)
    assert any(violation.rule == "control mode allowed" for violation in violations)


def test_require_names_them_all_in_one_line(specs, a1):
    robot = with_joint(with_joint(a1, "FR_hip_joint", kp=1.0), "FL_hip_joint", kd=9.0)
    with pytest.raises(UserError) as caught:
        require_robot(specs["a1"], robot, origin="agent.rwm")
    text = str(caught.value)
    assert text.startswith("agent.rwm: not for robot a1: ")
    assert "FR_hip_joint.kp" in text
    assert "FL_hip_joint.kd" in text
    assert "\n" not in text


positive = st.floats(1e-3, 1e3)
ranges = st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)).filter(lambda r: r[0] < r[1])
some_limits = st.builds(
    JointLimits,
    position=st.none() | ranges,
    velocity=st.none() | positive,
    effort=st.none() | positive,
    rate=st.none() | positive,
)


@given(some_limits)
def test_every_limit_contains_itself(limits):
    assert list(beyond(limits, limits)) == []


@given(some_limits, some_limits, some_limits)
def test_nesting_is_transitive(outer, middle, inner):
    if not list(beyond(outer, middle)) and not list(beyond(middle, inner)):
        assert list(beyond(outer, inner)) == []


@given(some_limits, some_limits, st.sampled_from(["position", "velocity", "effort", "rate"]), st.floats(0, 1))
def test_nested_means_that_no_inner_value_is_outside(outer, inner, quantity, part):
    """The definition, sampled: a value that the inner layer allows and the outer does not is found, no other."""
    wide, narrow = range_of(outer, quantity), range_of(inner, quantity)
    found = quantity in [name for name, _, _ in beyond(outer, inner)]
    if wide is None:
        assert not found
    elif narrow is None:
        assert found
    else:
        ends = (narrow[0], narrow[1], narrow[0] + part * (narrow[1] - narrow[0]))
        outside = any(not wide[0] <= min(max(value, narrow[0]), narrow[1]) <= wide[1] for value in ends)
        assert found == outside
