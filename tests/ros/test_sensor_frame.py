"""When a value is of, and what becomes of a command when its operator is gone."""

import math

import pytest
from geometry_msgs.msg import PoseStamped, Twist, TwistStamped, Vector3
from sensor_msgs.msg import JointState
from small_specs import JOINT, NOW_S, PLACES, TARGET, VELOCITY, spec_of, speeds, stamped

from robot_wm.runtime.faults import Fault
from robot_wm.runtime.sensors import Sensors
from robot_wm.runtime.transform import ObservationTransform
from robot_wm_ros.bindings import bind


@pytest.mark.parametrize(
    ("stamp_s", "source", "expected_s", "words"),
    [
        (49.987654321, "header", 49.987654321, ""),
        (49.5, "header", 49.5, "0.5 s behind"),
        (50.5, "header", 50.5, "0.5 s ahead of"),
        (0.0, "header", 0.0, "stamp_source:=receipt"),
        (0.0, "receipt", NOW_S, ""),
        (49.5, "receipt", NOW_S, ""),
    ],
)
def test_a_value_s_time_is_its_header_s_or_that_of_its_receipt(stamp_s, source, expected_s, words):
    frame, (joints,) = bind(spec_of(JOINT), stamp_source=source)
    assert math.isnan(frame.stamps_s["q"])
    assert frame.observation["q"] is None
    message = stamped(JointState(name=["wheel"], position=[1.0]), stamp_s)
    assert joints.read(message, NOW_S) == pytest.approx(expected_s, abs=1e-8)
    assert frame.stamps_s["q"] == pytest.approx(expected_s, abs=1e-8)
    assert frame.observation["q"].tolist() == [1.0]
    assert (words in frame.problem) if words else frame.problem == ""


class Driven:
    """A robot with one joint and a velocity command, ticked by hand."""

    def __init__(self, commands, command_field=VELOCITY, **options):
        spec = spec_of(JOINT, command_field, commands=commands)
        self.frame, inputs = bind(spec, **options)
        self.inputs = {source.topic: source for source in inputs}
        self.sensors = Sensors(spec, ObservationTransform(spec))

    def tick(self, now_s):
        """Faults of one tick with joint states of now, and the command that it saw."""
        self.inputs["joint_states"].read(stamped(JointState(name=["wheel"], position=[1.0]), now_s), now_s)
        self.frame.refresh(now_s)
        value = self.frame.observation["command"]
        return self.sensors.read(self.frame.observation, now_s, self.frame.stamps_s), (
            None if value is None else value.tolist()
        )


def twist(stamp_s=None):
    plain = Twist(linear=Vector3(x=0.5, y=0.25), angular=Vector3(z=-0.125))
    return plain if stamp_s is None else stamped(TwistStamped(twist=plain), stamp_s)


@pytest.mark.parametrize("message", [twist(), twist(NOW_S)])
def test_a_velocity_command_is_read_with_and_without_a_stamp(message):
    driven = Driven(speeds())
    driven.inputs["cmd_vel"].read(message, NOW_S)
    assert driven.tick(NOW_S) == (0, [0.5, 0.25, -0.125])


def test_a_robot_stands_when_its_operator_is_gone_and_goes_on_when_he_is_back():
    driven = Driven(speeds())
    assert driven.tick(NOW_S) == (0, [0.0, 0.0, 0.0])  # nobody yet
    driven.inputs["cmd_vel"].read(twist(), NOW_S + 0.1)
    assert driven.tick(NOW_S + 0.6) == (0, [0.5, 0.25, -0.125])
    assert driven.tick(NOW_S + 0.7) == (0, [0.0, 0.0, 0.0])
    # This one was stamped before the tick that saw zeros: late, but neither too old nor a clock that went back.
    driven.inputs["cmd_vel"].read(twist(NOW_S + 0.65), NOW_S + 0.71)
    assert driven.tick(NOW_S + 0.72) == (0, [0.5, 0.25, -0.125])


@pytest.mark.parametrize("skew_s", [-3.0, 3.0])
def test_an_operator_s_clock_that_is_wrong_makes_the_robot_stand_and_is_told(skew_s):
    driven = Driven(speeds())
    driven.inputs["cmd_vel"].read(twist(NOW_S + skew_s), NOW_S)
    assert driven.tick(NOW_S) == (0, [0.0, 0.0, 0.0])
    assert "cmd_vel: header.stamp is 3 s" in driven.frame.problem


def test_a_command_that_is_not_finite_is_a_fault_until_it_is_too_old():
    driven = Driven(speeds())
    driven.inputs["cmd_vel"].read(Twist(linear=Vector3(x=math.nan)), NOW_S)
    assert driven.tick(NOW_S + 0.1)[0] == Fault.NOT_FINITE
    assert driven.tick(NOW_S + 0.6) == (0, [0.0, 0.0, 0.0])


@pytest.mark.parametrize(
    ("commands", "command_field", "options"),
    [
        (speeds(), VELOCITY, {"command_timeout": "fault"}),
        (speeds(low=0.1), VELOCITY, {}),  # standing is not what it was trained for
        (PLACES, TARGET, {}),  # the origin is a place like any other
    ],
)
def test_every_other_command_gets_stale(commands, command_field, options):
    driven = Driven(commands, command_field, **options)
    assert driven.tick(NOW_S)[0] == Fault.STALE | Fault.MISSING_FIELD
    topic = command_field.topic
    driven.inputs[topic].read(twist() if topic == "cmd_vel" else stamped(PoseStamped()), NOW_S)
    assert driven.tick(NOW_S + 0.4)[0] == 0
    assert driven.tick(NOW_S + 0.6)[0] == Fault.STALE
