"""Joints are read from the fields that the spec marks, by name; nothing that merely looks like one is believed."""

from __future__ import annotations

import numpy as np
import pytest

from robot_wm.errors import UserError
from robot_wm.runtime.controller import Controller
from robot_wm.runtime.joints import JointReadings, require_placed
from robot_wm.runtime.modes import Mode
from robot_wm.runtime.safety import SafetyConfig
from robot_wm.spec import ActionSpec, JointRole, ObservationField

NAMES = ("shoulder", "elbow")
PERIOD_S = 0.02


def field(name, role=None, unit="rad", labels=NAMES):
    return ObservationField(name=name, shape=(len(labels),), unit=unit, labels=labels, role=role)


def action(mode):
    unit = {"position": "rad", "velocity": "rad/s", "effort": "N·m"}[mode]
    return ActionSpec(mode=mode, joints=NAMES, unit=unit)


@pytest.fixture
def read(make_spec):
    """``read(mode, fields, *frames)``: positions, speeds and efforts after the frames, values end to end each."""

    def of(mode, fields, *frames):
        flat = np.zeros(sum(entry.shape[0] for entry in fields), np.float32)
        readings = JointReadings(make_spec(action=action(mode), observations=fields), flat)
        for tick, frame in enumerate(frames):
            flat[:] = frame
            readings.take(tick * PERIOD_S)
        return readings

    return of


def test_joints_are_found_by_name_behind_other_fields_and_beside_other_joints(read):
    fields = (
        field("goal"),
        field("dq", JointRole.VELOCITY, "rad/s", ("wrist", "elbow", "shoulder")),
        field("q", JointRole.POSITION, "rad", ("elbow", "finger", "shoulder")),
        field("tau", JointRole.EFFORT, "N·m"),
    )
    found = read("effort", fields, [9, 9, 0, 1, 2, 3, 9, 4, 5, 6])
    np.testing.assert_array_equal([found.position, found.speed, found.effort], [[4, 3], [2, 1], [5, 6]])
    assert found.fields == {"dq", "q", "tau"}


def test_of_position_commands_only_positions_are_read(read):
    found = read("position", (field("q", JointRole.POSITION), field("dq", JointRole.VELOCITY, "rad/s")), [1, 2, 3, 4])
    np.testing.assert_array_equal(found.position, [1, 2])
    assert np.isnan(found.speed).all()
    assert found.fields == {"q"}


def test_a_joint_that_the_field_does_not_name_is_not_known_and_its_speed_comes_from_where_it_was(read):
    """As on a car: the wheels tell their speed, the steering its angle."""
    fields = (
        field("wheel", JointRole.VELOCITY, "rad/s", ("shoulder",)),
        field("steering", JointRole.POSITION, "rad", ("elbow",)),
    )
    found = read("velocity", fields, [7, 1.0], [8, 1.1])
    np.testing.assert_array_equal(found.position, np.float32([np.nan, 1.1]))
    np.testing.assert_allclose(found.speed, [8, 5], rtol=1e-5)


def test_a_speed_is_that_between_two_samples_and_is_not_known_before(make_spec):
    fields = (field("q", JointRole.POSITION),)
    flat = np.zeros(2, np.float32)
    readings = JointReadings(make_spec(action=action("velocity"), observations=fields), flat)

    def speed(now_s, *positions):
        flat[:] = positions
        readings.take(now_s)
        return readings.speed.tolist()

    assert np.isnan(speed(5.0, 3.0, 1.0)).all()
    np.testing.assert_allclose(speed(5.02, 3.1, 0.9), [5, -5], rtol=1e-4)
    np.testing.assert_allclose(speed(5.025, 3.1, 0.9), [5, -5], rtol=1e-4)  # a tick out of turn, the sample again
    np.testing.assert_allclose(speed(5.04, 3.2 - 2 * np.pi, 0.9), [5, 0], atol=1e-3)  # a turn is no speed
    np.testing.assert_allclose(speed(5.0525, 3.3 - 2 * np.pi, 0.9), [8, 0], atol=1e-3)  # more than half a period
    readings.forget()
    assert np.isnan(speed(1.0, 0.0, 0.0)).all()
    np.testing.assert_allclose(speed(1.02, 0.1, 0.0), [5, 0], rtol=1e-4)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ((field("q"),), "shoulder, elbow"),
        ((field("goal"), field("q", JointRole.POSITION, labels=("elbow", "wrist"))), "shoulder"),
        ((field("dq", JointRole.VELOCITY, "rad/s"),), "shoulder, elbow"),
    ],
)
def test_no_robot_is_told_positions_without_the_field_that_says_where_each_joint_is(make_spec, fields, named):
    with pytest.raises(UserError, match=f"no field with the role joint_position tells where {named} is"):
        require_placed(make_spec(observations=fields))
    for mode in ("velocity", "effort"):
        require_placed(make_spec(observations=fields, action=action(mode)))
    require_placed(make_spec(observations=(field("goal"), field("q", JointRole.POSITION))))


@pytest.mark.parametrize("goal_first", [True, False])
def test_the_first_command_begins_at_the_marked_field_and_not_at_a_goal_that_looks_like_it(
    make_agent, make_spec, goal_first
):
    q, goal = field("q", JointRole.POSITION), field("goal")
    spec = make_spec(observations=(goal, q) if goal_first else (q, goal))
    with Controller(make_agent(spec), config=SafetyConfig(soft_start_s=1.0)) as controller:
        controller.enable()
        command = controller.step({"goal": np.float32([0.7, 0.7]), "q": np.float32([-0.3, 2.0])}, 0.0)
        assert (command.mode, command.damp) == (Mode.SOFT_START, False)
        np.testing.assert_allclose(command.command, [-0.3, 2.0], atol=0.1)


def test_without_a_marked_field_a_simulated_robot_is_driven_from_rest(make_agent, make_spec):
    spec = make_spec(observations=(field("q"),))
    with Controller(make_agent(spec)) as controller:
        controller.enable()
        assert controller.step({"q": np.float32([0.5, 0.5])}, 0.0).damp is False
