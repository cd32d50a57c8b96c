"""Parameters of the simulated robot's node; all are read once, at its start."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter

from robot_wm.errors import UserError
from robot_wm.runtime.realtime import RealtimeConfig
from robot_wm.tasks import parse_options
from robot_wm_sim.realtime.fault_schedule import FaultSchedule
from robot_wm_sim.realtime.noise import SensorNoise

COMMAND_TYPES = ("float64_multi_array", "joint_trajectory")
_NOISE = SensorNoise()
_RATE, _LONGEST_S = (0.0, 20_000.0), (0.0, 60.0)

# Name, default (for arrays the type: an empty one has none), range or None, description with its unit.
_PARAMETERS: tuple[tuple[str, Any, tuple[float, float] | None, str], ...] = (
    ("task", "", None, "task whose robot this is, such as a1_velocity"),
    ("task_options", Parameter.Type.STRING_ARRAY, None, "options of the task as name=value, e.g. observation=proprio"),
    ("seed", 0, (0, 2**31 - 1), "of start poses and noise"),
    ("sensor_rate_hz", 0.0, _RATE, "samples, Hz; 0: one a physics step"),
    ("camera_rate_hz", 0.0, _RATE, "pictures, Hz, at most one a sample; 0: the task's control rate"),
    ("controller", "", None, "commands come on <controller>/...; empty: forward_<mode>_controller"),
    ("command_type", COMMAND_TYPES[0], None, " or ".join(COMMAND_TYPES)),
    (
        "controller_joints",
        Parameter.Type.STRING_ARRAY,
        None,
        "order of a Float64MultiArray's values; empty: the task's",
    ),
    ("damp_topic", "agent/damp", None, "std_msgs/Bool, latched: true brakes with kd only"),
    ("watchdog_s", 0.0, _LONGEST_S, "the drives brake after so long without a command, s; 0: five control periods"),
    ("faults", "", None, "path of a fault schedule (YAML); empty: none"),
    ("play_faults_at_start", True, None, "false: the schedule begins when ~/play_faults is called"),
    ("noise", False, None, "whether sensors are noisy"),
    ("noise_joint_position", _NOISE.joint_position, (0.0, 10.0), "standard deviation, rad or m"),
    ("noise_joint_velocity", _NOISE.joint_velocity, (0.0, 100.0), "standard deviation, rad/s or m/s"),
    ("noise_angular_velocity", _NOISE.angular_velocity, (0.0, 100.0), "standard deviation of the IMU's rates, rad/s"),
    ("noise_gravity", _NOISE.gravity, (0.0, 1.0), "standard deviation of gravity's direction in the base's frame"),
    ("sensor_latency_s", 0.0, _LONGEST_S, "a reading is so old when it is stamped, s"),
    ("action_latency_s", 0.0, _LONGEST_S, "a command reaches the drives so long after its receipt, s"),
    ("publish_clock", False, None, "publish /clock and stamp with simulated time, for nodes with use_sim_time"),
    ("speed", 1.0, (0.01, 100.0), "simulated seconds in a real one; other than 1 only with publish_clock"),
    ("trace", False, None, "publish ~/applied and ~/sampled, for latency measurements"),
    ("fifo_priority", 0, (0, 99), "SCHED_FIFO priority; 0: ordinary scheduling"),
    ("lock_memory", False, None, "mlockall"),
    ("cpu_affinity", Parameter.Type.INTEGER_ARRAY, None, "CPUs that the process may run on; empty: any"),
    ("freeze_gc", True, None, "keep the garbage collector off what exists at the start"),
)


@dataclass(frozen=True, kw_only=True)
class SimParameters:
    """The node's parameters, checked; see ``_PARAMETERS`` for units. None: as the task has it."""

    task: str
    task_options: dict[str, Any]
    seed: int
    sensor_rate_hz: float | None
    camera_rate_hz: float | None
    controller: str
    command_type: str
    controller_joints: tuple[str, ...]
    damp_topic: str
    watchdog_s: float | None
    faults: FaultSchedule
    faults_path: str
    play_faults_at_start: bool
    noise: SensorNoise | None
    sensor_latency_s: float
    action_latency_s: float
    publish_clock: bool
    speed: float
    trace: bool
    realtime: RealtimeConfig

    @classmethod
    def declare(cls, node: Node) -> SimParameters:
        """Declare every parameter on the node and read them. Raises UserError naming the parameter and its value."""
        values: dict[str, Any] = {}
        for name, default, limits, description in _PARAMETERS:
            descriptor = ParameterDescriptor(description=description, read_only=True)
            if limits is not None and isinstance(default, float):
                descriptor.floating_point_range = [FloatingPointRange(from_value=limits[0], to_value=limits[1])]
            elif limits is not None:
                descriptor.integer_range = [IntegerRange(from_value=int(limits[0]), to_value=int(limits[1]), step=1)]
            try:
                values[name] = node.declare_parameter(name, default, descriptor).value
            except ParameterException as error:
                raise UserError(f"parameter {name}: {error}") from None
        return cls._checked(values)

    @classmethod
    def _checked(cls, values: dict[str, Any]) -> SimParameters:
        if values["command_type"] not in COMMAND_TYPES:
            raise UserError(
                f"parameter command_type: {values['command_type']!r} is neither {' nor '.join(COMMAND_TYPES)}"
            )
        if not math.isclose(values["speed"], 1.0) and not values["publish_clock"]:
            raise UserError(f"parameter speed: {values['speed']:g} needs publish_clock, or nobody else keeps pace")
        noise = SensorNoise(
            joint_position=values.pop("noise_joint_position"),
            joint_velocity=values.pop("noise_joint_velocity"),
            angular_velocity=values.pop("noise_angular_velocity"),
            gravity=values.pop("noise_gravity"),
        )
        realtime = RealtimeConfig(
            fifo_priority=values.pop("fifo_priority"),
            lock_memory=values.pop("lock_memory"),
            cpu_affinity=tuple(values.pop("cpu_affinity") or ()),
            freeze_gc=values.pop("freeze_gc"),
        )
        path = values["faults"]
        changed = {
            "task_options": _options(values["task_options"] or ()),
            "controller_joints": tuple(values["controller_joints"] or ()),
            "sensor_rate_hz": values["sensor_rate_hz"] or None,
            "camera_rate_hz": values["camera_rate_hz"] or None,
            "watchdog_s": values["watchdog_s"] or None,
            "faults": FaultSchedule.load(Path(path)) if path else FaultSchedule(),
            "faults_path": path,
            "noise": noise if values["noise"] else None,
            "realtime": realtime,
        }
        return cls(**(values | changed))


def _options(pairs: list[str] | tuple[()]) -> dict[str, Any]:
    for pair in pairs:
        if "=" not in pair:
            raise UserError(f"parameter task_options: {pair!r} is not name=value")
    return parse_options(dict(pair.split("=", 1) for pair in pairs))
