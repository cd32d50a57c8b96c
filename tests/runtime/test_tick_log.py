"""What is put into a recording is what others' readers of ROS 2 messages get out of it."""

from __future__ import annotations

import keyword
import re
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap_ros2._dynamic import generate_dynamic
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from robot_wm.errors import UserError
from robot_wm.runtime.cdr import Member, MessageLayout, text
from robot_wm.runtime.faults import Fault
from robot_wm.runtime.modes import Mode
from robot_wm.runtime.tick_log import MODES, RecordingInfo, TickLog, info_message, log_message, ros_names
from robot_wm.spec import ActionSpec, AgentSpec, FirmwareProfile, ObservationField

NAMES = st.one_of(
    st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,12}", fullmatch=True),
    # What generated code, definitions and our own messages use.
    st.sampled_from(
        [
            "class",
            "None",
            "from",
            "self",
            "cls",
            "pos",
            "rawdata",
            "message",
            "value",
            "tick",
            "header",
            "float32",
            "string",
            "stamp",
            "np",
        ]
    ),
    st.sampled_from(["Joint_Position", "joint_position", "JOINT__position", "joint_position_", "joint_position_2"]),
)


@st.composite
def specs(draw: st.DrawFn) -> AgentSpec:
    fields = []
    for name in draw(st.lists(NAMES, min_size=1, max_size=5, unique=True)):
        if draw(st.integers(0, 3)) == 0:
            shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 5)))
            fields.append(ObservationField(name=name, shape=shape, dtype="uint8", unit="1", frame=draw(NAMES)))
        else:
            unit = draw(st.sampled_from(["rad", "1", "m/s²", "N·m", "odd\nunit # === MSG: a/B"]))
            fields.append(ObservationField(name=name, shape=(draw(st.integers(1, 7)),), unit=unit))
    joints = tuple(f"joint {n}" for n in range(draw(st.integers(1, 5))))
    return AgentSpec(
        task=draw(st.sampled_from(["reach", "gym:a:B-v0", "a\nb"])),
        robot="arm",
        control_rate_hz=50,
        physics_rate_hz=500,
        observations=tuple(fields),
        action=ActionSpec(mode="position", joints=joints, unit="rad"),
        firmware=FirmwareProfile(name="arm"),
    )


def filled(layout: MessageLayout, seed: int) -> np.ndarray:
    """One message whose variable numbers are random bits."""
    rng = np.random.default_rng(seed)
    message = layout.empty(1)
    for name in message.dtype.names:
        if ":" in name:  # a constant, which may be zero
            continue
        column = message[name]
        if column.dtype.kind == "f":
            column[...] = rng.normal(size=column.shape)
        elif column.dtype.kind == "b":
            column[...] = rng.random() < 0.5
        elif column.dtype.kind != "S" and not column.any():  # what is not zero is a constant
            column[...] = rng.integers(0, 100, column.shape)
    return message


def get(decoded: object, path: str, log: TickLog) -> object:
    """A member of a decoded message; a vector of a tick is found by its field's name."""
    for name, member in log.vectors.items():
        if path == member:
            (found,) = [field.values for field in decoded.observation if field.name == name]
            return found
    for part in path.split("."):
        decoded = getattr(decoded, part)
    return decoded


def rosbags_decoded(definition: str, type_name: str, message: bytes) -> tuple[object, bytes]:
    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg(definition, type_name))
    decoded = store.deserialize_cdr(message, type_name)
    return decoded, bytes(store.serialize_cdr(decoded, type_name))


def mcap_ros2_decoded(definition: str, type_name: str, message: bytes) -> object:
    return generate_dynamic(type_name, definition)[type_name](message)


@settings(max_examples=40)
@given(specs(), st.integers(0, 2**32))
def test_two_other_decoders_read_what_was_written(spec, seed):
    log = TickLog(spec)
    pairs = [(log.tick_topic, log.tick)] + [(log.image_topics[name], log.images[name]) for name in log.images]
    for topic, layout in pairs:
        message = filled(layout, seed)
        raw = message.tobytes()
        by_rosbags, again = rosbags_decoded(topic.definition, topic.type_name, raw)
        assert again == raw  # alignment and padding are the encoding's own
        for decoded in (by_rosbags, mcap_ros2_decoded(topic.definition, topic.type_name, raw)):
            for member in message.dtype.names[1:]:
                if ":" in member or member.endswith(".length"):
                    continue
                value, expected = get(decoded, member, log), message[member][0]
                if isinstance(expected, bytes):
                    assert value == expected.decode()
                elif isinstance(value, bytes):  # mcap_ros2 gives an image's data so
                    assert value == expected.tobytes()
                else:
                    np.testing.assert_array_equal(np.ravel(np.asarray(value)), np.ravel(expected))


@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, 10**9 - 1), st.text(st.characters(exclude_characters="\0")))
@settings(max_examples=30)
def test_log_messages_are_read_by_another_decoder(sec, nanosec, words):
    topic = TickLog(_spec([ObservationField(name="a", shape=(1,), unit="1")])).log_topic
    raw = log_message(sec * 10**9 + nanosec, 30, words)
    decoded, again = rosbags_decoded(topic.definition, topic.type_name, raw)
    assert again == raw
    assert (decoded.stamp.sec, decoded.stamp.nanosec) == (sec, nanosec)
    assert (decoded.level, decoded.name, decoded.msg) == (30, "agent", words)


def test_a_layout_by_hand():
    """CDR counts alignment from behind its four bytes; a string is its length, its bytes and a zero."""
    layout = MessageLayout([Member("flag", "?"), *text("word", "é!"), Member("x", "<f8"), Member("v", "<f4", (2,))])
    message = layout.empty(2)
    message["flag"], message["x"], message["v"] = [True, False], [1.5, -2.0], [[3, 4], [5, 6]]
    by_hand = struct.pack("<4B ?3x I4s 4x d 2f", 0, 1, 0, 0, True, 4, "é!".encode() + b"\0", 1.5, 3, 4)
    assert message[0].tobytes() == by_hand
    np.testing.assert_array_equal(layout.read([by_hand, message[1].tobytes()]), message)
    for broken in (by_hand[:-1], by_hand + b"\0", b"\0\0" + by_hand[2:]):
        with pytest.raises(ValueError, match=f"a message of {len(broken)} bytes"):
            layout.read([broken])


TICK = """\
std_msgs/Header header
uint64 tick
int64 receipt_ns
int64 publish_ns
int64 observe_ns
int64 infer_ns
int64 total_ns
float64 value
float64 surprise
uint32 fault_bits
uint8 mode
bool damp
robot_wm_msgs/Field[] observation
float32[] command
float32[] raw_action
MSG: robot_wm_msgs/Field
string name
float32[] values
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
MSG: builtin_interfaces/Time
int32 sec
uint32 nanosec"""
INFO = """\
std_msgs/Header header
string task
string robot
string spec_sha256
string bundle_sha256
float64 control_rate_hz
string action_mode
string action_unit
string[] joints
robot_wm_msgs/FieldInfo[] observation
MSG: robot_wm_msgs/FieldInfo
string name
string unit
string[] elements
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
MSG: builtin_interfaces/Time
int32 sec
uint32 nanosec"""


def members_of(definition: str) -> str:
    """A definition without comments, constants and rules between its types."""
    lines = [line.split("#")[0].strip() for line in definition.splitlines()]
    return "\n".join(line for line in lines if line and "=" not in line)


def test_the_format_of_a_tick_stays(make_spec):
    """Recordings live long: whatever changes here needs another ``RecordingInfo.format``."""
    log = TickLog(make_spec())
    assert (log.tick_topic.type_name, log.info_topic.type_name) == ("robot_wm_msgs/msg/Tick", "robot_wm_msgs/msg/Info")
    assert members_of(log.tick_topic.definition) == TICK
    assert members_of(log.info_topic.definition) == INFO
    modes = [line.split("#")[0].strip() for line in log.tick_topic.definition.splitlines()]
    assert {line for line in modes if line.startswith("uint8") and "=" in line} == {
        "uint8 INACTIVE=0",
        "uint8 SOFT_START=1",
        "uint8 ACTIVE=2",
        "uint8 HOLD=3",
        "uint8 DAMP=4",
        "uint8 ESTOP=5",
        "uint8 GO_TO_START=6",  # came later, at the end: what older versions wrote keeps its meaning
        "uint8 CROUCH=7",
    }
    assert set(log.vectors) == {"joint_position", "gyro"}  # last_action is the command of the tick before
    places = {name: log.tick.dtype.fields[name][1] - 4 for name in log.tick.dtype.names}
    assert (places["tick"], places["damp"]) == (16, 85)
    # The sequence's length, then of each field its name, its length and its values.
    assert (places["observation:length"], places["observation.joint_position:name"]) == (88, 96)
    assert (places["observation.joint_position"], places["observation.gyro"]) == (116, 140)
    assert (places["command"], places["raw_action"], log.tick.dtype.itemsize - 4) == (156, 168, 176)


def test_the_format_of_older_recordings_stays(make_spec):
    log = TickLog(make_spec(), form="1")
    places = {name: log.tick.dtype.fields[name][1] - 4 for name in log.tick.dtype.names}
    assert (places["tick"], places["damp"], places["observation.joint_position"], places["observation.gyro"]) == (
        16,
        85,
        88,
        96,
    )
    assert (places["command"], places["raw_action"], log.tick.dtype.itemsize - 4) == (108, 116, 124)


def test_every_mode_and_fault_has_its_number_in_the_definition(make_spec):
    assert set(MODES) == set(Mode)
    definition = TickLog(make_spec()).tick_topic.definition
    for fault in Fault:
        assert (f"uint32 FAULT_{fault.name}={fault.value}\n" in definition) == bool(fault.value)


@given(st.lists(NAMES, unique=True, max_size=8))
def test_field_names_become_ros_names_of_their_own(names):
    given_names = ros_names(names)
    assert list(given_names) == names
    assert len(set(given_names.values())) == len(names)
    for name, ros in given_names.items():
        assert re.fullmatch(r"[a-z](_?[a-z0-9])*", ros)
        assert not keyword.iskeyword(ros)
        if re.fullmatch(r"[a-z](_?[a-z0-9])*", name) and not keyword.iskeyword(name):
            assert ros == name


def test_names_that_fall_together_are_numbered():
    assert ros_names(["Tip", "tip", "TIP_", "tip_2", "class"]) == {
        "Tip": "tip_3",
        "tip": "tip",
        "TIP_": "tip_4",
        "tip_2": "tip_2",
        "class": "class_field",
    }


@settings(max_examples=20)
@given(specs(), specs(), st.integers(0, 2**32))
def test_all_agents_have_the_same_types(one, other, seed):
    """Else no two agents could share a viewer's layout. What a tick's numbers are called is a message of its own."""
    here, there = TickLog(one), TickLog(other)
    assert (here.tick_topic, here.info_topic) == (there.tick_topic, there.info_topic)
    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg(here.tick_topic.definition, here.tick_topic.type_name))
    for log in (here, there):  # by one reader's one type
        message = filled(log.tick, seed)
        decoded = store.deserialize_cdr(message.tobytes(), log.tick_topic.type_name)
        np.testing.assert_array_equal(decoded.command, message["command"][0])
    raw = info_message(one, bundle_sha256="b" * 64, stamp_ns=5_000_000_007)
    topic = here.info_topic
    by_rosbags, again = rosbags_decoded(topic.definition, topic.type_name, raw)
    assert again == raw
    for told in (by_rosbags, mcap_ros2_decoded(topic.definition, topic.type_name, raw)):
        assert (told.header.stamp.sec, told.header.stamp.nanosec) == (5, 7)
        assert (told.task, told.robot, told.spec_sha256) == (one.task, one.robot, one.content_hash())
        assert (told.bundle_sha256, told.control_rate_hz) == ("b" * 64, 50)
        assert (told.action_mode, told.action_unit, list(told.joints)) == ("position", "rad", list(one.action.joints))
        vectors = [field for field in one.observations if not field.is_image]
        assert [(field.name, field.unit, tuple(field.elements)) for field in told.observation] == [
            (field.name, field.unit, field.labels) for field in vectors
        ]


def test_what_a_recording_says_of_itself_is_checked(make_spec):
    spec = make_spec()
    metadata = RecordingInfo.of(spec, bundle_sha256="b" * 64, created_utc="2026-01-01").model_dump()
    assert all(isinstance(value, str) for value in metadata.values())
    info, read = RecordingInfo.checked(metadata, origin="x.mcap")
    assert read == spec
    assert (info.bundle_sha256, info.robot, info.task) == ("b" * 64, "arm", "arm_reach")
    for change, message in (
        ({"format": "3"}, r"x\.mcap: format: .*'3'"),
        ({"spec": metadata["spec"].replace('"kp": []', '"kp": [1, 1]')}, r"x\.mcap: spec_hash is "),
        ({"spec": "{"}, r"x\.mcap: spec: "),
    ):
        with pytest.raises(UserError, match=message):
            RecordingInfo.checked(metadata | change, origin="x.mcap")
    with pytest.raises(UserError, match=r"x\.mcap: spec_hash: .*"):
        RecordingInfo.checked({k: v for k, v in metadata.items() if k != "spec_hash"}, origin="x.mcap")


def _spec(fields: list[ObservationField]) -> AgentSpec:
    return AgentSpec(
        task="t",
        robot="r",
        control_rate_hz=50,
        physics_rate_hz=50,
        observations=tuple(fields),
        action=ActionSpec(mode="position", joints=("j",), unit="rad"),
        firmware=FirmwareProfile(name="r"),
    )
