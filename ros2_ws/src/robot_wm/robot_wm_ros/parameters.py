"""The agent node's parameters: declared with ranges, units and flags, checked together, refused with a reason."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException, ParameterUninitializedException
from rclpy.node import Node
from rclpy.parameter import Parameter

from robot_wm.errors import UserError
from robot_wm.runtime.realtime import RealtimeConfig
from robot_wm.runtime.safety import SafetyConfig
from robot_wm_ros.bindings import COMMAND_TIMEOUTS, STAMP_SOURCES
from robot_wm_ros.command_velocity import VELOCITY_TYPES
from robot_wm_ros.commands import COMMAND_TYPES

ENGINES = ("onnx",)
PLANNERS = ("none",)
_SAFETY = SafetyConfig()
_REALTIME = RealtimeConfig()


@dataclass(frozen=True)
class _Entry:
    """One parameter. ``default`` is a type where the default is an empty array, which has no type of its own."""

    name: str
    default: Any
    description: str
    limits: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    read_only: bool = False  # can only be given at the node's start
    live: bool = False  # can be changed in any state; all others only while the node is unconfigured


_SECONDS, _COUNT = (0.0, 3600.0), (0, 1_000_000)
_ENTRIES = (
    _Entry("bundle", "", "path of the agent's bundle, a folder or a zip of one; required"),
    _Entry("public_key", "", "path of a PEM Ed25519 key that must have signed the bundle; empty: unsigned will do"),
    _Entry("robot_config", "", "path or name of a firmware robot YAML that the bundle must fit; empty: unchecked"),
    _Entry("engine", ENGINES[0], "what computes the policy", choices=ENGINES),
    _Entry("planner", PLANNERS[0], "what looks ahead before acting", choices=PLANNERS),
    _Entry("controller", "", "commands go to <controller>/...; empty: forward_<mode>_controller"),
    _Entry("command_type", COMMAND_TYPES[0], "message of a command", choices=COMMAND_TYPES),
    _Entry("controller_joints", Parameter.Type.STRING_ARRAY, "the controller's joint order; empty: the agent's"),
    _Entry("stamp_source", STAMP_SOURCES[0], "what tells a sample's age: its header, or receipt where clocks differ",
                 choices=STAMP_SOURCES),
    _Entry("command_timeout", COMMAND_TIMEOUTS[0], "an operator's command that is too old: stand still, or a fault",
                 choices=COMMAND_TIMEOUTS),
    _Entry("command_velocity_type", "auto", "message of cmd_vel; auto: whichever is published",
                 choices=tuple(VELOCITY_TYPES)),
    _Entry("rate_override_hz", 0.0, "Hz, for latency measurements only; 0: the rate the agent was trained at",
                 limits=(0.0, 2000.0)),
    _Entry("trace", False, "publish ~/trace, the times of every tick in ns", live=True),
    _Entry("record", "", "folder for a recording of every tick (MCAP); empty: none"),
    _Entry("record_queue", 1024, "ticks that may wait for the disk before they are dropped", limits=(1, 1_000_000)),
    _Entry("soft_start_s", _SAFETY.soft_start_s, "s, blend from standing to the policy", limits=_SECONDS),
    _Entry("hold_s", _SAFETY.hold_s, "s, a fault may last before the robot is damped", limits=_SECONDS),
    _Entry("recover_ticks", _SAFETY.recover_ticks, "sound ticks in a row that end a hold", limits=(1, 1_000_000)),
    _Entry("surprise_limit_nats", 0.0, "nats, more is a fault; 0: reported only", limits=(0.0, 1e9)),
    _Entry("surprise_ticks", _SAFETY.surprise_ticks, "ticks in a row above the limit that make the fault",
                 limits=(1, 1_000_000)),
    _Entry("deadline_s", 0.0, "s from a sample's arrival to its command's departure; 0: the control period",
                 limits=_SECONDS),
    _Entry("deadline_miss_limit", 10, "ticks in a row over the deadline that make a fault; 0: counted only",
                 limits=_COUNT),
    _Entry("threads", 1, "of the engine", limits=(1, 256)),
    _Entry("fifo_priority", _REALTIME.fifo_priority, "SCHED_FIFO priority; 0: ordinary scheduling",
                 limits=(0, 99), read_only=True),
    _Entry("lock_memory", _REALTIME.lock_memory, "keep all memory from being swapped out (mlockall)", read_only=True),
    _Entry("cpu_affinity", Parameter.Type.INTEGER_ARRAY, "CPUs that the process may run on; empty: any",
                 read_only=True),
    _Entry("freeze_gc", _REALTIME.freeze_gc, "keep the garbage collector off what exists once configured",
                 read_only=True),
)  # fmt: skip
_BY_NAME = {entry.name: entry for entry in _ENTRIES}


@dataclass(frozen=True, kw_only=True)
class AgentParameters:
    """All parameters, checked; None, 0 and "" mean what the descriptions say."""

    bundle: str
    public_key: str
    robot_config: str
    engine: str
    planner: str
    controller: str
    command_type: str
    controller_joints: tuple[str, ...]
    stamp_source: str
    command_timeout: str
    command_velocity_type: str
    rate_override_hz: float
    trace: bool
    record: str
    record_queue: int
    deadline_s: float
    deadline_miss_limit: int
    threads: int
    safety: SafetyConfig
    realtime: RealtimeConfig

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> AgentParameters:
        """Check values by name. Raises UserError naming the parameter and its value."""
        for name, value in values.items():
            choices = _BY_NAME[name].choices
            if choices and value not in choices:
                raise UserError(f"parameter {name}: {value!r} is not one of {', '.join(choices)}")
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(f"parameter {name}: {value} is not a finite number")
        rest = dict(values)
        safety = SafetyConfig(
            surprise_limit_nats=rest.pop("surprise_limit_nats") or None,
            deadline_s=values["deadline_s"] or None,
            **{name: rest.pop(name) for name in ("soft_start_s", "hold_s", "recover_ticks", "surprise_ticks")},
        )
        realtime = RealtimeConfig(
            cpu_affinity=tuple(rest.pop("cpu_affinity")),
            **{name: rest.pop(name) for name in ("fifo_priority", "lock_memory", "freeze_gc")},
        )
        joints = tuple(rest.pop("controller_joints"))
        return cls(safety=safety, realtime=realtime, controller_joints=joints, **rest)


def declare(node: Node) -> None:
    """Declare every parameter. Raises UserError for a start value of the wrong type or out of range."""
    for entry in _ENTRIES:
        try:
            node.declare_parameter(entry.name, entry.default, _descriptor(entry))
        except ParameterException as error:
            raise UserError(f"parameter {entry.name}: {error}") from None


def read(node: Node) -> AgentParameters:
    """The node's parameters. Raises UserError for values that do not go together."""
    return AgentParameters.of(_values(node))


def refusal(node: Node, changes: list[Parameter[Any]], lifecycle: str) -> str:
    """Why the node cannot take these changes in this state of its life; "" if it can."""
    ours = [change for change in changes if change.name in _BY_NAME]
    for change in ours:
        if lifecycle != "unconfigured" and not _BY_NAME[change.name].live:
            return f"{change.name} can be changed only while the node is unconfigured; it is {lifecycle}"
    try:
        AgentParameters.of(_values(node) | {change.name: change.value for change in ours})
    except UserError as error:
        return str(error)
    return ""


def _values(node: Node) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in _BY_NAME:
        try:
            values[name] = node.get_parameter(name).value
        except ParameterUninitializedException:
            values[name] = ()
    return values


def _descriptor(entry: _Entry) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(
        description=entry.description,
        additional_constraints=f"one of {', '.join(entry.choices)}" if entry.choices else "",
        read_only=entry.read_only,
    )
    if entry.limits is not None:
        low, high = entry.limits
        if isinstance(entry.default, float):
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
        else:
            descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
    return descriptor
