"""What a recording of ticks holds: its topics, their ROS 2 message types and what the file says about itself.

=============================  ====================================  ==================================================
topic                          type                                  content
=============================  ====================================  ==================================================
``/agent/tick``                ``robot_wm_msgs/msg/Tick``            everything of one tick but its images
``/agent/info``                ``robot_wm_msgs/msg/Info``            once in each file: what a tick's numbers are called
``/agent/image/<field>``       ``sensor_msgs/msg/Image``             one camera field; same stamp and sequence number
``/agent/log``                 ``rcl_interfaces/msg/Log``            in words: changes of mode and of faults
``/agent/plan``                ``robot_wm_msgs/msg/Plan``            of one tick: what the planner had to do with it,
                                                                     where the agent runs with one
any other                      its own                               what was asked to be recorded beside, as it came
=============================  ====================================  ==================================================

These types are the same for all agents, so that one layout of a viewer serves them all; their definitions are in the
file, so that no reader needs them installed. A tick's vectors are in ``observation``, each with its field's name, raw
and in SI units. A ``last_action`` field is not stored: it is the ``command`` of the tick before. A field that was
missing or of a wrong shape reads NaN, an image that was missing has no message.

A message's log time is when its sample arrived, its publish time when the command went out (both the system clock),
its sequence number counts the recorded ticks from 0; the header's stamp is the sample's own.

Format 1, which older recordings have, differs in the tick alone: its type was made for one AgentSpec and named by its
hash, with arrays of fixed length in place of sequences.
"""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from robot_wm.errors import UserError
from robot_wm.runtime.cdr import Member, MessageLayout, header, stamp, text
from robot_wm.runtime.faults import Fault
from robot_wm.runtime.modes import Mode
from robot_wm.spec import AgentSpec, ObservationField, Source

PROFILE, SCHEMA_ENCODING, MESSAGE_ENCODING = "ros2", "ros2msg", "cdr"
METADATA = "robot_wm"  # name of the metadata record
TICK_TOPIC, INFO_TOPIC, LOG_TOPIC, PLAN_TOPIC = "/agent/tick", "/agent/info", "/agent/log", "/agent/plan"
IMAGE_TOPICS = "/agent/image/"
Format = Literal["1", "2"]

# Their places are the numbers in files: only ever append.
MODES = (
    Mode.INACTIVE,
    Mode.SOFT_START,
    Mode.ACTIVE,
    Mode.HOLD,
    Mode.DAMP,
    Mode.ESTOP,
    Mode.GO_TO_START,
    Mode.CROUCH,
)

_NUMPY = {"bool": "?", "uint8": "u1", "uint32": "<u4", "uint64": "<u8", "int64": "<i8", "float64": "<f8"}
# Type, name, what it is; in the order in which a record's numbers are written.
_NUMBERS = (
    ("uint64", "tick", "since activation, from 1"),
    ("int64", "receipt_ns", "when the sample arrived, system clock"),
    ("int64", "publish_ns", "when the command went out, system clock"),
    ("int64", "observe_ns", "took: checking, scaling and history"),
    ("int64", "infer_ns", "took: the engine"),
    ("int64", "total_ns", "took: observation in, command out"),
    ("float64", "value", "the critic's estimate of the return"),
    ("float64", "surprise", "nats"),
    ("uint32", "fault_bits", "sum of the faults above"),
    ("uint8", "mode", "one of those above"),
    ("bool", "damp", "the firmware was to brake with kd only, not to follow the command"),
)
_CONSTANTS: dict[str, list[tuple[str | None, int]]] = {
    "fault_bits": [(fault.name, fault.value) for fault in Fault if fault.value],
    "mode": [(mode.name, number) for number, mode in enumerate(MODES)],
}
SCALARS = ("header.stamp.sec", "header.stamp.nanosec", *(name for _, name, _ in _NUMBERS))

HEADER_TYPES = {
    "std_msgs/Header": "builtin_interfaces/Time stamp\nstring frame_id\n",
    "builtin_interfaces/Time": "int32 sec\nuint32 nanosec\n",
}
_IMAGE_TYPE, _IMAGE = (
    "sensor_msgs/msg/Image",
    "std_msgs/Header header\nuint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\nuint32 step\n"
    "uint8[] data\n",
)
_LOG_TYPE, _LOG = (
    "rcl_interfaces/msg/Log",
    "byte DEBUG=10\nbyte INFO=20\nbyte WARN=30\nbyte ERROR=40\nbyte FATAL=50\nbuiltin_interfaces/Time stamp\n"
    "uint8 level\nstring name\nstring msg\nstring file\nstring function\nuint32 line\n",
)
INFO, WARN, ERROR = 20, 30, 40  # levels of rcl_interfaces/Log
_ENCODINGS = {1: "mono8", 3: "rgb8", 4: "rgba8"}  # of sensor_msgs/Image, by channels


@dataclass(frozen=True)
class Topic:
    """One topic of the file with its type's name and its definition, the types that it is made of included."""

    name: str
    type_name: str
    definition: str


class TickLog:
    """Topics and layouts of the recordings of one AgentSpec's agents, as they are written, or as ``form`` had them."""

    def __init__(self, spec: AgentSpec, *, form: Format = "2") -> None:
        stored = [field for field in spec.observations if field.source is not Source.LAST_ACTION]
        self.ros_names = ros_names(field.name for field in stored)  # field -> its name in messages and topics
        vectors = [field for field in stored if not field.is_image]
        self.vectors = {field.name: f"observation.{self.ros_names[field.name]}" for field in vectors}
        members = _tick_members if form == "2" else _tick_members_1
        self.tick = MessageLayout(members(spec, [(field, self.vectors[field.name]) for field in vectors]))
        self.tick_topic, self.info_topic = tick_topic(), info_topic()
        self.images: dict[str, MessageLayout] = {}
        self.image_topics: dict[str, Topic] = {}
        for field in stored:
            if field.is_image:
                self.images[field.name] = MessageLayout(_image_members(field))
                name = IMAGE_TOPICS + self.ros_names[field.name]
                self.image_topics[field.name] = Topic(name, _IMAGE_TYPE, joined(_IMAGE, HEADER_TYPES))
        time = {"builtin_interfaces/Time": HEADER_TYPES["builtin_interfaces/Time"]}
        self.log_topic = Topic(LOG_TOPIC, _LOG_TYPE, joined(_LOG, time))


def ros_names(names: Iterable[str]) -> dict[str, str]:
    """A name that ROS 2 takes for each field, unlike the others': its own wherever that is one.

    ROS 2 wants lower case, single underscores and none at the end; its Python bindings cannot have keywords.
    """
    wanted = {name: re.sub(r"_+", "_", name.lower()).rstrip("_") for name in names}
    wanted = {name: f"{to}_field" if keyword.iskeyword(to) else to for name, to in wanted.items()}
    given = {name: to for name, to in wanted.items() if name == to}
    taken = set(given.values())
    for name, to in wanted.items():
        if name not in given:
            number = 2
            free = to
            while free in taken:
                free, number = f"{to}_{number}", number + 1
            given[name] = free
            taken.add(free)
    return {name: given[name] for name in wanted}


def _tick_members(spec: AgentSpec, vectors: Sequence[tuple[ObservationField, str]]) -> list[Member]:
    """Of ``Tick``, whose sequences are as long in every message of one agent: each member has its place all the same.

    What is no number of a tick is a constant, with a colon in its name, which no field's has.
    """
    members = [*header("header"), *(Member(name, _NUMPY[kind]) for kind, name, _ in _NUMBERS)]
    members.append(Member("observation:length", "<u4", constant=len(vectors)))
    for field, name in vectors:
        members += [*text(f"{name}:name", field.name), *_sequence(name, field.shape[0])]
    return [*members, *_sequence("command", spec.action_dim), *_sequence("raw_action", spec.action_dim)]


def _sequence(name: str, length: int) -> tuple[Member, Member]:
    return Member(f"{name}:length", "<u4", constant=length), Member(name, "<f4", (length,))


def _tick_members_1(spec: AgentSpec, vectors: Sequence[tuple[ObservationField, str]]) -> list[Member]:
    """Of a ``Tick<hash>`` of format 1."""
    return [
        *header("header"),
        *(Member(name, _NUMPY[kind]) for kind, name, _ in _NUMBERS),
        *(Member(name, "<f4", field.shape) for field, name in vectors),
        Member("command", "<f4", (spec.action_dim,)),
        Member("raw_action", "<f4", (spec.action_dim,)),
    ]


def tick_topic() -> Topic:
    """That of the ticks, with its message's definition."""
    lines = [f"# One tick of a robot_wm agent; what its numbers are called is told once, in {INFO_TOPIC}."]
    lines.append("std_msgs/Header header  # stamp: of the sample")
    for kind, name, meaning in _NUMBERS:
        prefix = "FAULT_" if name == "fault_bits" else ""
        lines += [f"{kind} {prefix}{key}={value}" for key, value in _CONSTANTS.get(name, ())]
        lines.append(f"{kind} {name}  # {meaning}")
    lines += [
        "robot_wm_msgs/Field[] observation  # raw, SI units",
        "float32[] command  # as executed, SI units",
        "float32[] raw_action  # model units; as the policy asked for it",
    ]
    types = {"robot_wm_msgs/Field": "string name\nfloat32[] values\n"}
    return Topic(TICK_TOPIC, "robot_wm_msgs/msg/Tick", joined("\n".join(lines) + "\n", types | HEADER_TYPES))


def info_topic() -> Topic:
    """That of what a tick's numbers are called, with its message's definition."""
    lines = (
        f"# What the numbers in {TICK_TOPIC} are: one message, at the beginning of each file.",
        "std_msgs/Header header",
        "string task",
        "string robot",
        "string spec_sha256  # of the AgentSpec",
        "string bundle_sha256  # of its manifest",
        "float64 control_rate_hz",
        "string action_mode",
        "string action_unit  # of command",
        "string[] joints  # of command and raw_action, in order",
        "robot_wm_msgs/FieldInfo[] observation  # in the order of a tick's",
    )
    types = {"robot_wm_msgs/FieldInfo": "string name\nstring unit\nstring[] elements  # may be none\n"}
    return Topic(INFO_TOPIC, "robot_wm_msgs/msg/Info", joined("\n".join(lines) + "\n", types | HEADER_TYPES))


def info_message(spec: AgentSpec, *, bundle_sha256: str, stamp_ns: int) -> bytes:
    """A serialised ``Info`` of an agent."""
    told = (("task", spec.task), ("robot", spec.robot), ("spec", spec.content_hash()), ("bundle", bundle_sha256))
    action = spec.action
    members = [*header("header"), *(member for name, value in told for member in text(name, value))]
    members.append(Member("control_rate_hz", "<f8", constant=spec.control_rate_hz))
    members += [*text("mode", action.mode), *text("unit", action.unit), *_texts("joints", action.joints)]
    fields = [field for field in spec.observations if field.source is not Source.LAST_ACTION and not field.is_image]
    members.append(Member("observation:length", "<u4", constant=len(fields)))
    for n, field in enumerate(fields):
        members += [*text(f"{n}:name", field.name), *text(f"{n}:unit", field.unit)]
        members += _texts(f"{n}:elements", field.labels)
    message = MessageLayout(members).empty(1)
    message["header.stamp.sec"], message["header.stamp.nanosec"] = divmod(stamp_ns, 10**9)
    return message.tobytes()


def _texts(name: str, values: Sequence[str]) -> list[Member]:
    each = [member for n, value in enumerate(values) for member in text(f"{name}:{n}", value)]
    return [Member(f"{name}:length", "<u4", constant=len(values)), *each]


def _image_members(field: ObservationField) -> list[Member]:
    rows, columns, channels = field.shape
    return [
        *header("header", field.frame),
        Member("height", "<u4", constant=rows),
        Member("width", "<u4", constant=columns),
        *text("encoding", _ENCODINGS.get(channels, f"8UC{channels}")),
        Member("is_bigendian", "u1"),
        Member("step", "<u4", constant=columns * channels),
        Member("data.length", "<u4", constant=rows * columns * channels),
        Member("data", "u1", field.shape),
    ]


def log_message(stamp_ns: int, level: int, words: str) -> bytes:
    """A serialised ``rcl_interfaces/Log`` from the agent; ``level`` is ``INFO``, ``WARN`` or ``ERROR``."""
    seconds, nanoseconds = divmod(stamp_ns, 10**9)
    members = (
        *stamp("stamp"),
        Member("level", "u1", constant=level),
        *text("name", "agent"),
        *text("msg", words),
        *text("file", ""),
        *text("function", ""),
        Member("line", "<u4"),
    )
    message = MessageLayout(members).empty(1)
    message["stamp.sec"], message["stamp.nanosec"] = seconds, nanoseconds
    return message.tobytes()


def joined(definition: str, dependencies: Mapping[str, str]) -> str:
    """A message's definition with those of the types that it is made of, as a recording holds it."""
    return definition + "".join(f"{'=' * 80}\nMSG: {name}\n{body}" for name, body in dependencies.items())


@dataclass(frozen=True, kw_only=True)
class Recorder:
    """Which robot records. Nothing of it is looked up here: a recording that is passed on names only what was given."""

    namespace: str = ""
    agent: str = ""  # the node's name with its namespace
    host: str = ""
    serial: str = ""  # as the robot's owner calls it


class RecordingInfo(BaseModel):
    """What a recording says about itself, all of it text: the file's metadata record ``robot_wm``."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Format = "2"
    spec: str  # JSON
    spec_hash: str
    bundle_sha256: str
    robot: str
    task: str
    created_utc: str
    robot_wm_version: str
    field_names: str  # JSON: field of the spec -> its name in messages and topics
    recording_id: str = ""  # stays when the file is cut, packed otherwise or renamed; older recordings have none
    namespace: str = ""
    agent: str = ""
    host: str = ""
    serial: str = ""

    @classmethod
    def of(
        cls,
        spec: AgentSpec,
        *,
        bundle_sha256: str,
        created_utc: str,
        recording_id: str = "",
        recorder: Recorder | None = None,
    ) -> RecordingInfo:
        """Of a recording that begins."""
        return cls(
            spec=spec.to_json(),
            spec_hash=spec.content_hash(),
            bundle_sha256=bundle_sha256,
            robot=spec.robot,
            task=spec.task,
            created_utc=created_utc,
            robot_wm_version=version("robot-wm"),
            field_names=json.dumps(TickLog(spec).ros_names),
            recording_id=recording_id,
            **asdict(recorder or Recorder()),
        )

    @classmethod
    def checked(cls, metadata: Mapping[str, str], *, origin: str) -> tuple[RecordingInfo, AgentSpec]:
        """Of a file, and its AgentSpec; UserError for another format or a spec that is not the one recorded."""
        try:
            info = cls.model_validate(metadata)
        except ValidationError as error:
            raise UserError.from_validation(error, origin=origin) from None
        spec = AgentSpec.from_json(info.spec, origin=f"{origin}: spec")
        if spec.content_hash() != info.spec_hash:
            raise UserError(f"{origin}: spec_hash is {info.spec_hash}, its AgentSpec hashes to {spec.content_hash()}")
        return info, spec
