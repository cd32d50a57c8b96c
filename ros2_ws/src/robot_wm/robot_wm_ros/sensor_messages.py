"""From a simulated robot's samples to the messages that a real robot's drivers publish; `bindings` reads them back.

Every message object is made once and written anew: what ``fill`` returns is valid until the next call.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from geometry_msgs.msg import Point, PoseStamped, Quaternion, Vector3
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from sensor_msgs.msg import Image, Imu, JointState
from std_msgs.msg import Float64MultiArray, Header

from robot_wm.spec import AgentSpec, ObservationField, Source
from robot_wm_sim.sensing.sample import Sample

JOINT_STATES = "joint_states"
_SECOND_NS = 1_000_000_000


class SensorMessages:
    """The messages of one robot: its joint states always, and every other topic of the spec's sensor fields."""

    def __init__(self, spec: AgentSpec, joint_names: tuple[str, ...]) -> None:
        writers: dict[str, _Writer] = {}
        for field in spec.observations:
            if field.source is Source.SENSOR and field.topic not in (*writers, JOINT_STATES):
                writers[field.topic] = _writer(field)
        # Joint states last: they make the agent tick, which then has everything else of the same moment.
        self._writers = {**writers, JOINT_STATES: _JointStates(joint_names)}

    @property
    def types(self) -> dict[str, type]:
        """Message class of each topic, in the order of publishing."""
        return {topic: writer.message_type for topic, writer in self._writers.items()}

    def fill(self, sample: Sample) -> list[tuple[str, Any]]:
        """Topic and message of all that the sample holds, in the order of publishing; no picture, no image message."""
        messages = [(topic, writer.write(sample)) for topic, writer in self._writers.items()]
        return [(topic, message) for topic, message in messages if message is not None]


class _Writer(ABC):
    """Writes samples into one message."""

    message_type: ClassVar[type]

    @abstractmethod
    def write(self, sample: Sample) -> Any:
        """The message, or None where the sample has nothing for it."""


def _writer(field: ObservationField) -> _Writer:
    if field.is_image:
        return _Picture(field)
    kinds = {"data": _Imu, "odom": _Odometry}
    name = field.topic.rsplit("/", 1)[-1]
    return kinds.get(name, _Pose if name.endswith("pose") else _Numbers)(field)


class _JointStates(_Writer):
    """Joints and couplings, as the joint_state_broadcaster publishes its interfaces."""

    message_type = JointState

    def __init__(self, names: tuple[str, ...]) -> None:
        zeros = [0.0] * len(names)
        self._names = names
        self._message = JointState(name=list(names), position=zeros, velocity=zeros, effort=zeros)
        # The message's own memory, [N] each: no list is made, and none is checked element by element.
        self._position = np.frombuffer(self._message.position)
        self._velocity = np.frombuffer(self._message.velocity)
        self._effort = np.frombuffer(self._message.effort)

    def write(self, sample: Sample) -> JointState:
        if sample.joint_names != self._names:  # a fault's doing
            faulty = _JointStates(sample.joint_names)
            return faulty.write(sample)
        _stamp(self._message.header, sample)
        self._position[:] = sample.joint_position
        self._velocity[:] = sample.joint_velocity
        self._effort[:] = sample.joint_effort
        return self._message


class _Imu(_Writer):
    """An IMU at the base's origin, along its axes."""

    message_type = Imu

    def __init__(self, field: ObservationField) -> None:
        self._message = Imu(header=Header(frame_id=field.frame))

    def write(self, sample: Sample) -> Imu:
        message = self._message
        _stamp(message.header, sample)
        _turn(message.orientation, sample.orientation)
        _vector(message.angular_velocity, sample.angular_velocity)
        _vector(message.linear_acceleration, sample.linear_acceleration)
        return message


class _Odometry(_Writer):
    """Pose in the frame where odometry began, here the world; twist in the base's own axes."""

    message_type = Odometry

    def __init__(self, field: ObservationField) -> None:
        self._message = Odometry(header=Header(frame_id="odom"), child_frame_id=field.frame)

    def write(self, sample: Sample) -> Odometry:
        message = self._message
        _stamp(message.header, sample)
        _vector(message.pose.pose.position, sample.base_position)
        _turn(message.pose.pose.orientation, sample.orientation)
        _vector(message.twist.twist.linear, sample.linear_velocity)
        _vector(message.twist.twist.angular, sample.angular_velocity)
        return message


class _Pose(_Writer):
    """A point that the task estimates, in the field's frame: x, y and, where it has one, z. No turn is known of it."""

    message_type = PoseStamped

    def __init__(self, field: ObservationField) -> None:
        self._field = field.name
        self._point = np.zeros(3)  # m
        self._message = PoseStamped(header=Header(frame_id=field.frame))

    def write(self, sample: Sample) -> PoseStamped:
        value = sample.fields[self._field]
        self._point[: len(value)] = value
        _stamp(self._message.header, sample)
        _vector(self._message.pose.position, self._point)
        return self._message


class _Numbers(_Writer):
    """A field of no standard message, as bare numbers."""

    message_type = Float64MultiArray

    def __init__(self, field: ObservationField) -> None:
        self._field = field.name
        self._message = Float64MultiArray(data=[0.0] * field.shape[0])
        self._data = np.frombuffer(self._message.data)  # [O]

    def write(self, sample: Sample) -> Float64MultiArray:
        self._data[:] = sample.fields[self._field]
        return self._message


class _Picture(_Writer):
    """A colour camera's picture, rgb8."""

    message_type = Image

    def __init__(self, field: ObservationField) -> None:
        height, width, channels = field.shape
        self._field = field.name
        self._message = Image(
            header=Header(frame_id=field.frame),
            height=height,
            width=width,
            encoding="rgb8",
            step=width * channels,
            data=bytes(height * width * channels),
        )
        self._pixels = np.frombuffer(self._message.data, dtype=np.uint8).reshape(field.shape)  # [H, W, 3]

    def write(self, sample: Sample) -> Image | None:
        if self._field not in sample.images:
            return None
        _stamp(self._message.header, sample)
        self._pixels[:] = sample.images[self._field]
        return self._message


def _stamp(header: Header, sample: Sample) -> None:
    header.stamp.sec, header.stamp.nanosec = divmod(sample.stamp_ns, _SECOND_NS)


def _vector(target: Vector3 | Point, values: NDArray[np.float64]) -> None:
    target.x, target.y, target.z = values.tolist()


def _turn(target: Quaternion, values: NDArray[np.float64]) -> None:
    target.x, target.y, target.z, target.w = values.tolist()
