"""Joints by name: any order, any company; what is missing, double or short is told, and the rest passes as it is."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sensor_msgs.msg import JointState

from robot_wm.runtime.faults import Fault
from robot_wm.runtime.sensors import Sensors
from robot_wm.runtime.transform import ObservationTransform
from robot_wm.spec import ActionSpec, AgentSpec, FirmwareProfile, ObservationField
from robot_wm_ros import joint_state_binding
from robot_wm_ros.bindings import bind

JOINTS = ("shoulder", "elbow", "wrist")
NOW_S = 50.0


def field(name, unit, labels=JOINTS):
    return ObservationField(name=name, shape=(len(labels),), unit=unit, labels=labels, topic="joint_states")


def bind_joints(*fields):
    """The spec, its frame, and a function that reads one message."""
    spec = AgentSpec(
        task="test",
        robot="arm",
        control_rate_hz=50.0,
        physics_rate_hz=50.0,
        observations=fields,
        action=ActionSpec(mode="position", joints=JOINTS, unit="rad"),
        firmware=FirmwareProfile(name="test"),
    )
    frame, (source,) = bind(spec)
    return spec, frame, lambda message: source.read(message, NOW_S)


def state(names=JOINTS, position=(0.1, 0.2, 0.3), velocity=(1.0, 2.0, 3.0), effort=(10.0, 20.0, 30.0)):
    message = JointState(name=list(names), position=position, velocity=velocity, effort=effort)
    message.header.stamp.sec = int(NOW_S)
    return message


@given(data=st.data())
def test_any_order_and_any_company_of_joints_give_the_same_observation(data):
    _, frame, read = bind_joints(field("q", "rad"), field("v", "rad/s", ("wrist", "shoulder")), field("e", "N·m"))
    for _ in range(3):  # the places of one message must not be those of the next
        names = data.draw(st.permutations([*JOINTS, *data.draw(st.sampled_from([[], ["lidar"], ["a", "b"]]))]))
        value = {name: data.draw(st.floats(-10, 10)) for name in names}
        read(
            state(
                names,
                position=[value[name] for name in names],
                velocity=[2 * value[name] for name in names],
                effort=[3 * value[name] for name in names],
            )
        )
        assert frame.problem == ""
        np.testing.assert_array_equal(frame.observation["q"], np.float32([value[j] for j in JOINTS]))
        np.testing.assert_array_equal(frame.observation["v"], np.float32([2 * value["wrist"], 2 * value["shoulder"]]))
        np.testing.assert_array_equal(frame.observation["e"], np.float32([3 * value[j] for j in JOINTS]))


def test_arrays_are_the_spec_s_and_always_the_same():
    _, frame, read = bind_joints(field("q", "rad"))
    read(state())
    array = frame.observation["q"]
    assert (array.dtype, array.shape) == (np.float32, (3,))
    read(state(position=(4.0, 5.0, 6.0)))
    assert frame.observation["q"] is array
    np.testing.assert_array_equal(array, [4.0, 5.0, 6.0])


def test_prismatic_and_turning_joints_share_a_field():
    _, frame, read = bind_joints(field("v", "m/s, rad/s, rad/s"))
    read(state(position=()))
    np.testing.assert_array_equal(frame.observation["v"], [1.0, 2.0, 3.0])


@pytest.mark.parametrize("turns", [0, 1_000_000])
def test_sines_and_cosines_are_of_the_named_joint_s_position_however_often_it_turned(turns):
    _, frame, read = bind_joints(
        field("wrist_direction", "1", ("sin(wrist)", "cos(wrist)")), field("v", "rad/s", ("wrist",))
    )
    angle = 0.3 + 2 * math.pi * turns
    read(state(("wrist", "elbow"), position=(angle, 1.0), velocity=(7.0, 1.0), effort=()))
    np.testing.assert_allclose(frame.observation["wrist_direction"], [math.sin(0.3), math.cos(0.3)], atol=1e-7)
    np.testing.assert_array_equal(frame.observation["v"], [7.0])


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (state(("shoulder", "elbow"), position=(1, 2), velocity=(1, 2)), ["no joint 'wrist'"]),
        (state(("shoulder", "elbow", "hand")), ["no joint 'wrist'", "there: 'hand'"]),
        (state(()), ["no joint 'shoulder', 'elbow', 'wrist'"]),
        (state(("shoulder", "elbow", "wrist", "elbow")), ["more than one joint 'elbow'"]),
        (state(position=(1.0, 2.0)), ["3 names", "position has 2"]),
        (state(position=(1.0, 2.0, 3.0, 4.0)), ["3 names", "position has 4"]),
        (state(position=()), ["3 names", "position has 0"]),
        (state(velocity=()), ["3 names", "velocity has 0"]),
        # As many numbers as there should be, but not where they should be.
        (state(position=(1.0, 2.0, 3.0, 4.0, 5.0, 6.0), velocity=()), ["position has 6", "velocity has 0"]),
    ],
)
def test_what_does_not_fit_makes_the_fields_none_until_a_sound_message_comes(message, words):
    _, frame, read = bind_joints(field("q", "rad"), field("v", "rad/s"))
    read(state())
    message.header.stamp.sec = int(NOW_S)
    for _ in range(2):  # the second time the names are known already
        assert read(message) == NOW_S
        assert frame.observation == {"q": None, "v": None}
        assert frame.problem.startswith("joint_states: ")
        assert all(word in frame.problem for word in words), frame.problem
    read(state())
    assert frame.problem == ""
    np.testing.assert_array_equal(frame.observation["q"], np.float32([0.1, 0.2, 0.3]))
    np.testing.assert_array_equal(frame.observation["v"], [1.0, 2.0, 3.0])


def test_an_array_that_no_field_needs_may_be_empty():
    _, frame, read = bind_joints(field("q", "rad"))
    read(state(velocity=(), effort=()))
    assert frame.problem == ""


def test_a_flood_of_foreign_joints_makes_a_short_text():
    _, frame, read = bind_joints(field("q", "rad"))
    names = [f"joint_{'x' * 1000}_{index}" for index in range(5000)]
    read(state(names))
    assert len(frame.problem) < 1000
    assert "and 4992 more" in frame.problem


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300])
def test_what_is_not_finite_in_float32_is_passed_on_and_found_by_the_controller(value):
    spec, frame, read = bind_joints(field("q", "rad"), field("direction", "1", ("sin(wrist)", "cos(wrist)")))
    sensors = Sensors(spec, ObservationTransform(spec))
    read(state())
    assert sensors.read(frame.observation, NOW_S, frame.stamps_s) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(state(position=(0.0, value, value)))
    assert frame.problem == ""
    assert sensors.read(frame.observation, NOW_S, frame.stamps_s) == Fault.NOT_FINITE
    assert "q" in sensors.detail


def test_none_is_the_controller_s_missing_field():
    spec, frame, read = bind_joints(field("q", "rad"))
    sensors = Sensors(spec, ObservationTransform(spec))
    read(state(("shoulder", "elbow", "hand")))
    assert sensors.read(frame.observation, NOW_S, frame.stamps_s) == Fault.MISSING_FIELD


def part(names, stamp_s=NOW_S, **values):
    """A message of some joints, each at its place in JOINTS."""
    at = [float(JOINTS.index(name)) if name in JOINTS else 99.0 for name in names]
    message = state(names, **({"position": at, "velocity": at, "effort": at} | values))
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(round(stamp_s * 1e9), 10**9)
    return message


def test_an_arm_and_its_hand_that_publish_each_for_itself_are_put_together():
    _, frame, read = bind_joints(field("q", "rad", ("wrist", "shoulder")), field("e", "N·m", ("elbow",)))
    arm, hand = ("shoulder", "elbow"), ("finger", "wrist")
    read(part(arm, 50.00))
    assert frame.problem == "joint_states: no joint 'wrist'"
    assert read(part(hand, 50.01)) == 50.00  # as old as its oldest part
    assert frame.problem == ""
    for tick in range(1, 4):
        assert read(part(arm, 50.0 + 0.02 * tick)) == pytest.approx(50.01 + 0.02 * (tick - 1))
        assert read(part(hand, 50.01 + 0.02 * tick)) == pytest.approx(50.0 + 0.02 * tick)
    np.testing.assert_array_equal(frame.observation["q"], [2.0, 0.0])
    np.testing.assert_array_equal(frame.observation["e"], [1.0])
    assert frame.stamps_s == {"q": pytest.approx(50.06), "e": pytest.approx(50.06)}
    assert frame.problem == ""
    # One of them dies: what is known grows old, however often the other publishes.
    for tick in range(4, 9):
        assert read(part(arm, 50.0 + 0.02 * tick)) == pytest.approx(50.07)


def test_a_part_of_the_joints_with_sines_is_not_turned_twice():
    _, frame, read = bind_joints(field("d", "1", ("sin(wrist)", "sin(elbow)")))
    read(part(("wrist",)))
    read(part(("elbow",)))
    read(part(("elbow",)))
    np.testing.assert_allclose(frame.observation["d"], [math.sin(2.0), math.sin(1.0)], rtol=1e-6)


def test_messages_of_other_joints_alone_change_nothing_and_make_nobody_tick():
    _, frame, read = bind_joints(field("q", "rad"))
    read(part(JOINTS))
    before = dict(frame.stamps_s)
    assert math.isnan(read(part(("finger", "thumb"), 50.02, velocity=())))
    assert (frame.problem, frame.stamps_s) == ("", before)
    assert read(part(JOINTS, 50.04)) == pytest.approx(50.04)
    # But where our own are not there they are told, as what is there instead.
    _, frame, read = bind_joints(field("q", "rad"))
    read(part(("finger", "thumb")))
    assert "no joint 'shoulder', 'elbow', 'wrist'; joints there: 'finger', 'thumb'" in frame.problem


def test_who_drops_a_joint_is_the_same_source_with_less_to_tell_and_not_another_part():
    _, frame, read = bind_joints(field("q", "rad"))
    read(part(JOINTS))
    read(part(("shoulder", "elbow"), 50.02))
    assert frame.problem == "joint_states: no joint 'wrist'"
    assert frame.observation["q"] is None


def test_sources_are_lists_of_joints_that_have_none_in_common_and_still_come(monkeypatch):
    spec, _, _ = bind_joints(field("q", "rad"))
    _, (source,) = bind(spec)
    now_s = 10.0
    monkeypatch.setattr(joint_state_binding, "monotonic", lambda: now_s)

    def hear(*names):
        source.read(part(names, 0.0 if "finger" in names else NOW_S), NOW_S)

    assert source.sources() == 0
    for names in (("shoulder", "elbow"), ("wrist",), ("finger",)):
        hear(*names)
    assert source.sources() == 3  # one of them does not stamp
    hear(*JOINTS)
    assert source.sources() == 2
    now_s = 11.1
    hear(*JOINTS)
    assert source.sources() == 1
    for number in range(100):
        hear(f"finger_{number}")
    assert source.sources() == 17
