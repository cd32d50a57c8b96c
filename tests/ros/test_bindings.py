"""Which message fills which field, component by component; and what no message can fill."""

import math

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped, Quaternion, Twist, TwistStamped, Vector3
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from nav_msgs.msg import Odometry
from sensor_msgs.msg import Image, Imu, JointState
from small_specs import JOINT, NOW_S, PLACES, TARGET, VELOCITY, XYZ, field, read, spec_of, speeds, stamped
from std_msgs.msg import Float64MultiArray

from robot_wm.errors import UserError
from robot_wm.spec import ObservationField
from robot_wm.tasks import agent_spec, make_env
from robot_wm_ros.bindings import bind
from robot_wm_ros.imu_binding import projected_gravity
from robot_wm_ros.qos import CAMERA, REQUESTS, SENSORS

PICTURE = ObservationField(name="camera", shape=(3, 2, 3), dtype="uint8", unit="1", topic="front/image_raw")


def test_an_imu_s_vectors_by_unit_and_label():
    message = stamped(
        Imu(
            angular_velocity=Vector3(x=1.0, y=2.0, z=3.0),
            linear_acceleration=Vector3(x=4.0, y=5.0, z=6.0),
            orientation=Quaternion(x=0.5, y=-0.5, z=0.5, w=0.5),
        )
    )
    frame = read(
        [
            field("angular_velocity", "imu/data", "rad/s", XYZ),
            field("yaw_rate", "imu/data", "rad/s", ("yaw",)),
            field("linear_acceleration", "imu/data", "m/s²", ("z", "x")),
            field("orientation", "imu/data", "1", ("x", "y", "z", "w")),
        ],
        message,
    )
    assert {name: value.tolist() for name, value in frame.observation.items()} == {
        "angular_velocity": [1.0, 2.0, 3.0],
        "yaw_rate": [3.0],
        "linear_acceleration": [6.0, 4.0],
        "orientation": [0.5, -0.5, 0.5, 0.5],
    }


def rotation(axis, angle):
    """Rodrigues' formula: the matrix [3, 3] that turns by ``angle`` about the unit vector ``axis``."""
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


@given(
    axis=arrays(float, 3, elements=st.floats(-1, 1)).filter(lambda v: np.linalg.norm(v) > 0.1),
    angle=st.floats(-4, 4),
    length=st.floats(0.5, 2.0),
)
def test_gravity_is_minus_the_world_s_z_axis_seen_from_the_body(axis, angle, length):
    axis = axis / np.linalg.norm(axis)
    quaternion = length * np.array([*(math.sin(angle / 2) * axis), math.cos(angle / 2)])
    expected = rotation(axis, angle).T @ [0.0, 0.0, -1.0]
    np.testing.assert_allclose(projected_gravity(*quaternion), expected, atol=1e-12)


def test_gravity_of_a_robot_that_lies_on_its_left_side_points_to_its_left():
    half = math.sqrt(0.5)
    message = stamped(Imu(orientation=Quaternion(x=-half, w=half)))  # rolled by -90 degrees
    frame = read([field("projected_gravity", "imu/data", "1", XYZ)], message)
    np.testing.assert_allclose(frame.observation["projected_gravity"], [0.0, 1.0, 0.0], atol=1e-7)


@pytest.mark.parametrize(
    ("vector", "change"),
    [
        ("orientation", lambda imu: imu.orientation_covariance.__setitem__(0, -1.0)),
        ("orientation", lambda imu: setattr(imu, "orientation", Quaternion(w=0.0))),
        ("orientation", lambda imu: setattr(imu, "orientation", Quaternion(x=math.nan))),
        ("orientation", lambda imu: setattr(imu, "orientation", Quaternion(x=1e200))),
        ("angular_velocity", lambda imu: imu.angular_velocity_covariance.__setitem__(0, -1.0)),
    ],
)
def test_what_an_imu_does_not_measure_cannot_be_read(vector, change):
    message = stamped(Imu())
    change(message)
    rates = field("angular_velocity", "imu/data", "rad/s", XYZ)
    frame = read([rates, field("projected_gravity", "imu/data", "1", XYZ)], message)
    assert frame.observation == {"angular_velocity": None, "projected_gravity": None}
    assert f"imu/data: the IMU gives no {vector}" in frame.problem
    # Who does not need an orientation does not miss it.
    assert (read([rates], message).problem == "") is (vector == "orientation")


def test_odometry_gives_velocities_of_the_base_and_its_pose():
    message = stamped(Odometry())
    message.twist.twist.linear = Vector3(x=1.0, y=2.0, z=3.0)
    message.twist.twist.angular = Vector3(x=4.0, y=5.0, z=6.0)
    message.pose.pose.position.x, message.pose.pose.position.z = 7.0, 8.0
    frame = read(
        [
            field("velocity", "odom", "m/s", ("forward", "left", "up")),
            field("turning", "odom", "rad/s", ("yaw",)),
            field("place", "odom", "m", ("z", "x")),
            field("turn", "odom", "1", ("w",)),
        ],
        message,
    )
    values = [frame.observation[name].tolist() for name in ("velocity", "turning", "place", "turn")]
    assert values == [[1.0, 2.0, 3.0], [6.0], [8.0, 7.0], [1.0]]


@pytest.mark.parametrize("topic", ["tool_pose", "target_pose", "goal_pose", "arm/tool_pose", "pose"])
@pytest.mark.parametrize(
    ("got", "wanted", "sound"),
    [
        ("base_link", "base_link", True),
        ("", "base_link", True),
        ("map", "", True),
        ("robot1/base_link", "base_link", True),
        ("map", "base_link", False),
        ("my_base_link", "base_link", False),
    ],
)
def test_a_pose_counts_in_the_field_s_frame_only(topic, got, wanted, sound):
    message = stamped(PoseStamped())
    message.header.frame_id = got
    message.pose.position.x, message.pose.position.y = 1.0, 2.0
    frame = read([field("goal", topic, "m", ("left", "forward"), frame=wanted)], message)
    if sound:
        assert frame.observation["goal"].tolist() == [2.0, 1.0]
    else:
        assert frame.observation["goal"] is None
        assert all(word in frame.problem for word in (topic, repr(got), repr(wanted)))


def test_any_other_topic_carries_bare_numbers():
    forces = field("foot_force", "foot_forces", "N", ("a", "b"))
    frame = read([forces], Float64MultiArray(data=[1.0, 2.0]))
    assert frame.observation["foot_force"].tolist() == [1.0, 2.0]
    assert frame.stamps_s["foot_force"] == NOW_S
    frame = read([forces], Float64MultiArray(data=[1.0, 2.0, 3.0]))
    assert frame.observation["foot_force"] is None
    assert frame.problem == "foot_forces: 3 values, foot_force needs 2"


def test_inputs_of_every_task():
    expected = {
        "a1_velocity": {"imu/data": Imu, "cmd_vel": Twist, "joint_states": JointState},
        "a1_stand": {"imu/data": Imu, "cmd_vel": Twist, "joint_states": JointState},
        "cartpole_balance": {"joint_states": JointState},
        "cartpole_swingup": {"joint_states": JointState},
        "panda_reach": {"joint_states": JointState, "tool_pose": PoseStamped, "target_pose": PoseStamped},
        "racecar_goal": {"joint_states": JointState, "odom": Odometry, "imu/data": Imu, "goal_pose": PoseStamped},
    }
    for task, topics in expected.items():
        env = make_env(task, observation="both")
        spec = agent_spec(env)
        env.close()
        frame, inputs = bind(spec)
        assert {source.topic: source.message_type for source in inputs} == {**topics, "camera/image_raw": Image}
        assert [source.topic for source in inputs if source.is_trigger] == ["joint_states"]
        assert {name for source in inputs for name in source.fields} == frame.observation.keys()
        assert "last_action" not in frame.observation


def test_an_input_s_quality_of_service_age_and_trigger():
    fast = field("a", "imu/data", "rad/s", XYZ, max_age_s=0.05)
    slow = field("b", "imu/data", "m/s²", XYZ, max_age_s=0.2)
    spec = spec_of(TARGET, PICTURE, slow, fast, commands=PLACES)
    target, camera, imu = bind(spec)[1]
    assert (target.qos, camera.qos, imu.qos) == (REQUESTS, CAMERA, SENSORS)
    assert (imu.max_age_s, imu.fields) == (0.05, ("b", "a"))
    # Without joint states the first sensor is the one that makes the agent tick.
    assert [source.is_trigger for source in (target, camera, imu)] == [False, True, False]


@pytest.mark.parametrize("kind", ["twist", "auto", "twist_stamped"])
def test_the_type_of_the_velocity_command_can_be_chosen(kind):
    spec = spec_of(JOINT, VELOCITY, commands=speeds())
    message_type = bind(spec, command_velocity_type=kind)[1][1].message_type
    assert message_type is (TwistStamped if kind == "twist_stamped" else Twist)


@pytest.mark.parametrize(
    "bad",
    [
        field("q", "joint_states", "deg", ("wheel",)),
        ObservationField(name="q", topic="joint_states", unit="rad", shape=(1,)),
        field("q", "joint_states", "rad", ("sin(wheel)",)),
        field("q", "joint_states", "1", ("sin(wheel)", "wheel")),
        field("q", "joint_states", "rad, rad/s, rad", ("a", "b")),
        field("q", "imu/data", "T", XYZ),
        field("q", "imu/data", "1", (*XYZ[:2], "forward")),
        field("projected_gravity", "imu/data", "m/s²", XYZ),
        field("projected_gravity", "imu/data", "1", ("z", "y", "x")),
        field("q", "odom", "m/s", ("roll",)),
        ObservationField(name="q", topic="odom", unit="m/s", shape=(3,)),
        field("q", "tool_pose", "rad", ("yaw",)),
        field("q", "cmd_vel", "m/s", ("forward",)),
        field("q", "cmd_vel", "m/s", ("angular_z",)),
        field("q", "", "rad", ("wheel",)),
        ObservationField(name="q", topic="image", unit="1", dtype="uint8", shape=(4, 4, 2)),
    ],
)
def test_a_field_that_no_message_can_fill_is_refused_with_its_name_topic_unit_and_labels(bad):
    with pytest.raises(UserError) as error:
        bind(spec_of(bad))
    assert str(error.value).startswith(f"observation {bad.name}: topic {bad.topic!r}, unit {bad.unit!r}, labels [")
    assert all(repr(label) in str(error.value) for label in bad.labels)


def test_a_topic_has_messages_of_one_type():
    numbers = field("depth", "front/image_raw", "m", ("left", "right"))
    with pytest.raises(UserError, match=r"depth.*another kind of message"):
        bind(spec_of(PICTURE, numbers))


def test_without_a_sensor_nothing_could_make_the_agent_tick():
    with pytest.raises(UserError, match="no sensor"):
        bind(spec_of(VELOCITY, commands=speeds()))


@pytest.mark.parametrize("option", ["stamp_source", "command_timeout", "command_velocity_type"])
def test_an_unknown_option_is_refused(option):
    with pytest.raises(UserError, match=f"{option} 'maybe' is not one of"):
        bind(spec_of(JOINT), **{option: "maybe"})
