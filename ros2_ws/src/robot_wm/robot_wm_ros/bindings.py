"""From ROS messages to the agent's observation: which message fills which field, and how.

The end of a field's topic says which message it is read from; pictures are read from any topic.

=====================  ==================  =========================================================================
topic                  message             elements
=====================  ==================  =========================================================================
joint_states           JointState          by joint name (labels), in any order, others ignored. rad, m: position;
                                           rad/s, m/s: velocity; N·m, N: effort; ``sin(joint)``, ``cos(joint)`` in 1:
                                           of its position; messages of other joints each are put together
imu, imu/data          Imu                 rad/s: angular_velocity (x, y, z or roll, pitch, yaw); m/s²:
                                           linear_acceleration; 1: orientation (x, y, z, w); the field
                                           ``projected_gravity``: direction of gravity from the orientation
odom                   Odometry            m/s: twist.linear (x, y, z or forward, left, up); rad/s: twist.angular;
                                           m: position; 1: orientation
*pose                  PoseStamped         m: position (x, y, z or forward, left, up); 1: orientation; in the field's
                                           frame
cmd_vel                Twist or            linear_x to linear_z in m/s, angular_x to angular_z in rad/s
                       TwistStamped
pictures               Image               exact size; rgb8, bgr8, rgba8, bgra8 for 3 channels, mono8 for 1
any other              Float64MultiArray   all numbers, in the field's order
=====================  ==================  =========================================================================

These are the entry points `robot_wm.bindings` of this package; another distribution's reads the topics that it names.

A message that does not fit (a joint is missing or there twice, an array is empty, the frame or the size is another)
makes every field of its topic None and is told in ``SensorFrame.problem``. Numbers that are not finite are passed on:
the Controller finds them. Times are those of ``header.stamp`` in s of ROS time, or of receipt where a message has no
header and with ``stamp_source="receipt"``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from rclpy.qos import QoSProfile

from robot_wm.errors import UserError
from robot_wm.spec import AgentSpec, ObservationField, Source
from robot_wm_ros.binding import Binding, refusal
from robot_wm_ros.binding_kinds import BindingKinds
from robot_wm_ros.command_velocity import VelocityBinding, velocity_type
from robot_wm_ros.joint_state_binding import JointStateBinding
from robot_wm_ros.qos import CAMERA, REQUESTS, SENSORS
from robot_wm_ros.sensor_frame import SensorFrame

STAMP_SOURCES = ("header", "receipt")
COMMAND_TIMEOUTS = ("zero", "fault")


@dataclass(frozen=True)
class Input:
    """One subscription that the node makes."""

    topic: str
    message_type: type
    qos: QoSProfile
    is_trigger: bool  # its arrival makes the agent tick; one input of an agent has it
    fields: tuple[str, ...]
    max_age_s: float  # the smallest of its fields
    # (message, time of receipt in s of ROS time) -> stamp in s; copies into the frame, and never raises for what is in
    # a message. NaN: it was of other joints than ours, and changed nothing.
    read: Callable[[Any, float], float]
    sources: Callable[[], int]  # how many publishers may publish on the topic, by what comes from them


def bind(
    spec: AgentSpec,
    *,
    stamp_source: str = "header",
    command_timeout: str = "zero",
    command_velocity_type: str = "twist",
) -> tuple[SensorFrame, tuple[Input, ...]]:
    """The frame of a spec's observation, and the inputs that fill it. UserError for a field no message can fill.

    With ``command_velocity_type="auto"`` cmd_vel begins as a Twist; see ``command_velocity.published_velocity_type``.
    """
    for name, value, known in (
        ("stamp_source", stamp_source, STAMP_SOURCES),
        ("command_timeout", command_timeout, COMMAND_TIMEOUTS),
    ):
        if value not in known:
            raise UserError(f"{name} {value!r} is not one of {', '.join(known)}")
    velocity = velocity_type(command_velocity_type)
    kinds = BindingKinds()
    frame = SensorFrame(spec, zero_commands=command_timeout == "zero")
    topics: dict[str, list[ObservationField]] = {}
    for field in spec.observations:
        if field.source is not Source.LAST_ACTION:
            if not field.topic:
                raise refusal(field, "it has no topic")
            topics.setdefault(field.topic, []).append(field)
    of_topic = {topic: _one_kind(kinds, fields) for topic, fields in topics.items()}
    trigger = _trigger(topics, of_topic)
    inputs = []
    for topic, fields in topics.items():
        kind = of_topic[topic]
        binding = kind([(field, frame.buffers[field.name]) for field in fields])
        is_request = all(field.source is Source.COMMAND for field in fields) and kind is not VelocityBinding
        max_age_s = min(field.max_age_s for field in fields)
        reader = _Reader(topic, fields, frame, binding, use_header=stamp_source == "header", max_age_s=max_age_s)
        inputs.append(
            Input(
                topic=topic,
                message_type=velocity if kind is VelocityBinding else kind.message_type,
                qos=CAMERA if kind.reads_pictures else REQUESTS if is_request else SENSORS,
                is_trigger=topic == trigger,
                fields=tuple(field.name for field in fields),
                max_age_s=max_age_s,
                read=reader.read,
                sources=binding.sources,
            )
        )
    return frame, tuple(inputs)


def _one_kind(kinds: BindingKinds, fields: list[ObservationField]) -> type[Binding]:
    """What reads all fields of a topic."""
    kind = kinds.of(fields[0])
    for field in fields[1:]:
        if kinds.of(field) is not kind:
            raise refusal(field, f"{fields[0].name} is read from another kind of message on the same topic")
    return kind


def _trigger(topics: dict[str, list[ObservationField]], of_topic: dict[str, type[Binding]]) -> str:
    """The joint states, else the first topic of a sensor."""
    sensors = [topic for topic, fields in topics.items() if any(field.source is Source.SENSOR for field in fields)]
    if not sensors:
        raise UserError("the spec observes no sensor: nothing can make the agent tick")
    joints = [topic for topic in sensors if of_topic[topic] is JointStateBinding]
    return (joints or sensors)[0]


class _Reader:
    """Reads one topic's messages into the frame."""

    def __init__(
        self,
        topic: str,
        fields: list[ObservationField],
        frame: SensorFrame,
        binding: Binding,
        *,
        use_header: bool,
        max_age_s: float,
    ) -> None:
        self._topic, self._use_header, self._max_age_s = topic, use_header, max_age_s
        self._copy, self._settle = binding.copy, binding.settle
        self._observation, self._problems = frame.observation, frame.problems
        self._fields = [(field.name, frame.buffers[field.name], frame.stamps_of(field.name)) for field in fields]
        self._problems[topic] = ""

    def read(self, message: Any, receipt_s: float) -> float:
        stamp_s = receipt_s
        if self._use_header:
            try:
                stamp = message.header.stamp
                stamp_s = stamp.sec + stamp.nanosec * 1e-9
            except AttributeError:  # it has no header
                pass
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # too large for float32 becomes infinite, and is found
                problem = self._copy(message)
        except Exception as error:  # a binding of another distribution must not end the loop
            problem = f"cannot be read: {type(error).__name__}: {error!s:.200}"
        held_s = self._settle(stamp_s)
        if problem:
            held_s = stamp_s
        elif math.isnan(held_s):
            return held_s
        for name, buffer, stamps_s in self._fields:
            self._observation[name] = None if problem else buffer
            stamps_s[name] = held_s
        if not problem and not -self._max_age_s <= receipt_s - stamp_s <= self._max_age_s:
            problem = self._odd_stamp(stamp_s, receipt_s)
        self._problems[self._topic] = problem
        return held_s

    def _odd_stamp(self, stamp_s: float, receipt_s: float) -> str:
        if stamp_s == 0.0:
            return "header.stamp is zero: its driver does not stamp; set stamp_source:=receipt"
        return (
            f"header.stamp is {abs(receipt_s - stamp_s):.6g} s {'ahead of' if stamp_s > receipt_s else 'behind'} this "
            f"clock on receipt, max_age_s is {self._max_age_s:g}: are the hosts' clocks synchronised?"
        )
