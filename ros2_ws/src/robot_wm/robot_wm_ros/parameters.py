"""The agent node's parameters: declared with ranges, units and flags, checked together, refused with a reason."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rclpy.node import Node
from rclpy.parameter import Parameter

from robot_wm.errors import UserError
from robot_wm.runtime.engines import ENGINES, EngineKind
from robot_wm.runtime.live.check import LiveConfig
from robot_wm.runtime.manifest import POLICY_OF
from robot_wm.runtime.parity_section import Precision
from robot_wm.runtime.planning.request import PlannerRequest
from robot_wm.runtime.realtime import RealtimeConfig
from robot_wm.runtime.recording_limits import RecordingLimits
from robot_wm.runtime.safety import SafetyConfig
from robot_wm.spec import ActionSpec
from robot_wm_ros import planner_parameters
from robot_wm_ros.binding_kinds import BindingKinds
from robot_wm_ros.bindings import COMMAND_TIMEOUTS, STAMP_SOURCES
from robot_wm_ros.command_velocity import VELOCITY_TYPES
from robot_wm_ros.commands import COMMAND_TYPES
from robot_wm_ros.declaration import Declaration, declare, values

PRECISIONS = tuple(POLICY_OF)
SOFT_START_OF_TASK = -1.0
_SAFETY = SafetyConfig()
_REALTIME = RealtimeConfig()
_LIMITS = RecordingLimits()

# Can be changed in any state; all others only while the node is unconfigured.
LIVE = ("trace",)

_row, _SECONDS, _ANY, _SOME = Declaration, (0.0, 3600.0), (0, 1_000_000), (1, 1_000_000)
_DECLARATIONS = (
    _row("bundle", "", "path of the agent's bundle, a folder or a zip of one; required"),
    # What a bundle is checked against is nothing that another participant of the network may take back.
    _row("public_key", "", "path of a PEM Ed25519 key that must have signed the bundle", read_only=True),
    _row("allow_unsigned", False, "run a bundle without a public_key; never on a robot", read_only=True),
    _row(
        "min_bundle_version",
        0,
        "an older bundle is refused, signed or not; 0: the robot_config's, or none",
        limits=(0, 2**31 - 1),
        read_only=True,
    ),
    _row(
        "robot_config",
        "",
        "path or name of a firmware robot YAML that the bundle must fit; empty: unchecked",
        read_only=True,
    ),
    _row("engine", ENGINES[0], "what computes the policy", choices=ENGINES),
    _row("precision", PRECISIONS[0], "of the policy's graph; the bundle must have it", choices=PRECISIONS),
    _row("engine_dir", "", "folder of TensorRT engines; empty: this machine's own"),
    *planner_parameters.DECLARATIONS,
    _row(
        "allow_rival_sensors",
        False,
        "activate also where a sensor's topic has several publishers, believed in turns",
        read_only=True,
    ),
    _row(
        "allow_rival_commanders",
        False,
        "activate also where somebody else publishes where the commands go",
        read_only=True,
    ),
    _row("controller", "", "commands go to <controller>/...; empty: forward_<mode>_controller"),
    _row(
        "command_type",
        COMMAND_TYPES[0],
        f"message: {', '.join(COMMAND_TYPES)}, twist_stamped, or another distribution's",
    ),
    _row("wheel_radius", 0.0, "m, of twist_stamped: that of the diff_drive_controller", limits=(0.0, 100.0)),
    _row("wheel_separation", 0.0, "m, of twist_stamped: that of the diff_drive_controller", limits=(0.0, 100.0)),
    _row("controller_joints", Parameter.Type.STRING_ARRAY, "the controller's joint order; empty: the agent's"),
    _row(
        "stamp_source",
        STAMP_SOURCES[0],
        "what tells a sample's age: its header, or receipt where clocks differ",
        choices=STAMP_SOURCES,
    ),
    _row(
        "command_timeout",
        COMMAND_TIMEOUTS[0],
        "an operator's command that is too old: stand still, or a fault",
        choices=COMMAND_TIMEOUTS,
    ),
    _row(
        "command_velocity_type",
        "auto",
        "message of cmd_vel; auto: whichever is published",
        choices=tuple(VELOCITY_TYPES),
    ),
    _row(
        "rate_override_hz",
        0.0,
        "Hz, for latency measurements only; 0: the rate the agent was trained at",
        limits=(0.0, 2000.0),
        read_only=True,
    ),
    _row("trace", False, "publish ~/trace, the times of every tick in ns"),
    _row("record", "", "folder for a recording of every tick (MCAP); empty: none"),
    _row("record_queue", 1024, "ticks that may wait for the disk before they are dropped", limits=_SOME),
    _row("record_file_mib", _LIMITS.file_mib, "MiB, a larger file ends and the next begins; 0: none does", limits=_ANY),
    _row(
        "record_folder_mib",
        _LIMITS.folder_mib,
        "MiB of recordings in the folder, the oldest are deleted first; 0: none is",
        limits=(0, 2**31 - 1),
    ),
    _row(
        "record_max_age_days",
        _LIMITS.max_age_days,
        "days after which a recording is deleted; 0: none is",
        limits=(0.0, 36500.0),
    ),
    _row(
        "record_idle_s",
        _LIMITS.idle_s,
        "s, recorded on after a damp, an e-stop or a stop; then nothing until the robot is driven again",
        limits=(0.0, 1e9),
    ),
    _row("record_topics", Parameter.Type.STRING_ARRAY, "other topics to record beside the ticks; empty: none"),
    _row("robot_serial", "", "what recordings call this robot; empty: nothing, and nothing is looked up"),
    _row(
        "soft_start_s",
        SOFT_START_OF_TASK,
        "s, blend from standing to the policy; -1: 1 s where joints take positions or velocities, none where they take"
        " efforts, a part of which balances nothing",
        limits=(SOFT_START_OF_TASK, _SECONDS[1]),
    ),
    _row(
        "start_speed",
        0.25,
        "rad/s (m/s), of the fastest joint on the way to the start pose, before the soft start; 0: the policy starts"
        " where the robot is. Only where joints take positions",
        limits=(0.0, 10.0),
    ),
    _row(
        "start_tolerance",
        _SAFETY.start_tolerance,
        "rad (m): a robot no joint of which is further from the start pose is there",
        limits=(0.0, 100.0),
    ),
    _row(
        "start_pose",
        Parameter.Type.STRING_ARRAY,
        "rad (m), each as joint=position, in place of what the agent's zero action commands",
    ),
    _row(
        "sensor_wait_s",
        10.0,
        "s after activation that sensors have to come, nothing moving before; then hold, and damp",
        limits=_SECONDS,
    ),
    _row(
        "live_check",
        True,
        "compare the robot at rest, and in the first seconds of a drive, with the spec and the training data; what"
        " contradicts them keeps the agent from driving",
        read_only=True,
    ),
    _row(
        "check_on_stand",
        False,
        "for a robot on a stand: from the start pose each joint in turn is moved by 0.25 rad (0.02 m) and judged, and"
        " no policy drives. Only where joints take positions",
    ),
    _row(
        "check_on_feet",
        False,
        "from the start pose the robot leans a little, forward and to its left, as its robot_config says, before the"
        " policy drives: the IMU must tell of it. Only for robots on feet, on a floor",
    ),
    _row(
        "rest_gravity",
        Parameter.Type.DOUBLE_ARRAY,
        "where gravity points at rest in the base's axes (x, y, z, any length), for a robot that is tilted on purpose;"
        " empty: as in the training data",
    ),
    _row("hold_s", _SAFETY.hold_s, "s, a fault may last before the robot is damped", limits=_SECONDS),
    _row("recover_ticks", _SAFETY.recover_ticks, "sound ticks in a row that end a hold", limits=_SOME),
    _row(
        "surprise_limit",
        0.0,
        "in the agent's unit, more is a fault; 0: reported only",
        limits=(0.0, 1e9),
    ),
    _row("surprise_ticks", _SAFETY.surprise_ticks, "ticks in a row above the limit that make the fault", limits=_SOME),
    _row(
        "react_to_fall",
        False,
        "crouch and damp when the bundle's monitor says that the robot is about to fall; else that is reported only",
    ),
    _row(
        "crouch_pose",
        Parameter.Type.STRING_ARRAY,
        "rad (m), each as joint=position, where the joints go before a fall, in place of what the agent's zero action"
        " commands; none: damp at once",
    ),
    _row("crouch_s", _SAFETY.crouch_s, "s, the joints are driven to the crouch pose; then damped", limits=_SECONDS),
    _row(
        "deadline_s",
        0.0,
        "s from a sample's arrival to its command's departure; 0: the control period",
        limits=_SECONDS,
    ),
    _row("deadline_miss_limit", 10, "ticks in a row over the deadline that make a fault; 0: counted only", limits=_ANY),
    _row("threads", 1, "of the engine onnx", limits=(1, 256)),
    _row(
        "fifo_priority",
        _REALTIME.fifo_priority,
        "SCHED_FIFO priority; 0: ordinary scheduling",
        limits=(0, 99),
        read_only=True,
    ),
    _row("lock_memory", _REALTIME.lock_memory, "keep all memory from being swapped out (mlockall)", read_only=True),
    _row("cpu_affinity", Parameter.Type.INTEGER_ARRAY, "CPUs that the process may run on; empty: any", read_only=True),
    _row(
        "freeze_gc", _REALTIME.freeze_gc, "keep the garbage collector off what exists once configured", read_only=True
    ),
)
_BY_NAME = {row.name: row for row in _DECLARATIONS}
_DEFAULTS = {row.name: () if isinstance(row.default, Parameter.Type) else row.default for row in _DECLARATIONS}


@dataclass(frozen=True, kw_only=True)
class AgentParameters:
    """All parameters, checked; None, 0 and "" mean what the descriptions say."""

    bundle: str
    public_key: str
    allow_unsigned: bool
    min_bundle_version: int
    robot_config: str
    engine: EngineKind
    precision: Precision
    engine_dir: str
    planner: PlannerRequest
    controller: str
    command_type: str
    wheel_radius: float
    wheel_separation: float
    controller_joints: tuple[str, ...]
    allow_rival_sensors: bool
    allow_rival_commanders: bool
    stamp_source: str
    command_timeout: str
    command_velocity_type: str
    rate_override_hz: float
    trace: bool
    record: str
    record_queue: int
    record_topics: tuple[str, ...]
    recording: RecordingLimits
    robot_serial: str
    sensor_wait_s: float
    live: LiveConfig | None
    deadline_s: float
    deadline_miss_limit: int
    threads: int
    soft_start_s: float | None
    safety: SafetyConfig
    realtime: RealtimeConfig

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> AgentParameters:
        """From values by name. Raises UserError naming the parameter and its value."""
        for name, value in given.items():
            _BY_NAME[name].check(value)
        if given["command_type"] not in COMMAND_TYPES:  # ours need no search, which takes as long as a tick
            BindingKinds().command(given["command_type"])
        rest = dict(given)
        soft_start_s = rest.pop("soft_start_s")
        if SOFT_START_OF_TASK < soft_start_s < 0.0:
            raise UserError(f"parameter soft_start_s: {soft_start_s:g} s is less than none; -1 is as the task has it")
        safety = SafetyConfig(
            start_pose=_pose("start_pose", rest.pop("start_pose")),
            check_on_stand=rest.pop("check_on_stand"),
            check_on_feet=rest.pop("check_on_feet"),
            reacts_to_fall=rest.pop("react_to_fall"),
            crouch_pose=_pose("crouch_pose", rest.pop("crouch_pose")),
            surprise_limit=rest.pop("surprise_limit") or None,
            deadline_s=given["deadline_s"] or None,
            **{
                name: rest.pop(name)
                for name in ("start_speed", "start_tolerance", "hold_s", "recover_ticks", "surprise_ticks", "crouch_s")
            },
        )
        realtime = RealtimeConfig(
            cpu_affinity=tuple(rest.pop("cpu_affinity")),
            **{name: rest.pop(name) for name in ("fifo_priority", "lock_memory", "freeze_gc")},
        )
        recording = RecordingLimits(
            **{name: rest.pop(f"record_{name}") for name in ("file_mib", "folder_mib", "max_age_days", "idle_s")}
        )
        joints, topics = tuple(rest.pop("controller_joints")), tuple(rest.pop("record_topics"))
        gravity = tuple(rest.pop("rest_gravity"))
        is_live = rest.pop("live_check")
        for name in ("check_on_stand", "check_on_feet"):
            if given[name] and not is_live:
                raise UserError(f"parameter {name}: judges nothing without live_check")
        planner = planner_parameters.take_request(rest)
        rest["live"] = LiveConfig(rest_gravity=gravity or None) if is_live else None
        rest["soft_start_s"] = None if soft_start_s < 0.0 else soft_start_s
        return cls(
            safety=safety,
            realtime=realtime,
            recording=recording,
            planner=planner,
            controller_joints=joints,
            record_topics=topics,
            **rest,
        )

    def safety_for(self, action: ActionSpec) -> SafetyConfig:
        """``safety`` with the soft start of this action's mode, unless one was given.

        From a pose or from rest a robot is led to what the policy wants. An effort has no such way: a tenth of the
        force that catches a falling pole only lets it fall.
        """
        for name in ("start_pose", "crouch_pose"):
            if getattr(self.safety, name) and action.mode != "position":
                raise UserError(f"parameter {name}: commands of {action.mode} have no pose to go to")
        default_s = 0.0 if action.mode == "effort" else _SAFETY.soft_start_s
        return replace(self.safety, soft_start_s=default_s if self.soft_start_s is None else self.soft_start_s)


def _pose(name: str, given: Sequence[str]) -> dict[str, float]:
    """Positions by joint of ``joint=position``, each; UserError for what is not that."""
    pose: dict[str, float] = {}
    for item in given:
        joint, _, text = item.partition("=")
        try:
            position = float(text)
        except ValueError:
            position = math.nan
        if not joint or joint in pose or not math.isfinite(position):
            raise UserError(f"parameter {name}: {item!r} is not joint=position in rad (m), each joint once")
        pose[joint] = position
    return pose


def declare_all(node: Node) -> None:
    """Declare every parameter. Raises UserError for a start value of the wrong type or out of range."""
    declare(node, _DECLARATIONS)


def read(node: Node) -> AgentParameters:
    """The node's parameters. Raises UserError for values that do not go together."""
    return AgentParameters.of(values(node, _DECLARATIONS))


def refusal(changes: list[Parameter[Any]], lifecycle: str) -> str:
    """Why a node cannot take these changes in this state of its life; "" if it can."""
    # Also what ROS itself declares: use_sim_time would set the clock under a robot that drives.
    for change in changes:
        if lifecycle != "unconfigured" and change.name not in LIVE:
            return f"{change.name} can be changed only while the node is unconfigured; it is {lifecycle}"
    ours = {change.name: change.value for change in changes if change.name in _BY_NAME}
    try:
        # Not with the values of the others: what is wrong there would keep anything from being put right.
        AgentParameters.of(_DEFAULTS | ours)
    except UserError as error:
        return str(error)
    return ""
