"""Parameters of the simulated robot's node; all are read once, at its start."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rclpy.node import Node
from rclpy.parameter import Parameter

from robot_wm.errors import UserError
from robot_wm.runtime.realtime import RealtimeConfig
from robot_wm.tasks import parse_options
from robot_wm_ros.commands import COMMAND_TYPES
from robot_wm_ros.declaration import Declaration, declare, values
from robot_wm_sim.realtime.fault_schedule import FaultSchedule
from robot_wm_sim.sensing.sensor_model import EXACT, LEGGED_GYM_NOISE, MOST_LATENCY_S, SensorModel

_NOISE, _REALTIME = LEGGED_GYM_NOISE, RealtimeConfig()
_RATE, _LATENCY = (0.0, 20_000.0), (0.0, MOST_LATENCY_S)
_row = partial(Declaration, read_only=True)
_DECLARATIONS = (
    _row("task", "", "task whose robot this is, such as a1_velocity; required"),
    _row("task_options", Parameter.Type.STRING_ARRAY, "options of the task, each as name=value: observation=proprio"),
    _row("seed", 0, "of start poses and noise", limits=(0, 2**31 - 1)),
    _row("sensor_rate_hz", 0.0, "Hz, samples; 0: one a physics step", limits=_RATE),
    _row("camera_rate_hz", 0.0, "Hz, pictures, at most one a sample; 0: the task's control rate", limits=_RATE),
    _row("controller", "", "commands come on <controller>/...; empty: forward_<mode>_controller"),
    _row("command_type", COMMAND_TYPES[0], "message of a command", choices=COMMAND_TYPES),
    _row("controller_joints", Parameter.Type.STRING_ARRAY, "the controller's joint order; empty: the task's"),
    _row(
        "wait_for_agent",
        False,
        "stand where the task starts while the agent is not active, back there whenever it becomes inactive",
    ),
    _row("transition_topic", "agent/transition_event", "lifecycle_msgs/TransitionEvent: the agent's, to wait for it"),
    _row("damp_topic", "agent/damp", "std_msgs/Bool, latched: true brakes with kd only"),
    _row(
        "watchdog_s", 0.0, "s without a command until the drives brake; 0: five control periods", limits=(0.0, 3600.0)
    ),
    _row("faults", "", "path of a fault schedule (YAML); empty: none"),
    _row("play_faults_at_start", True, "false: the schedule begins when ~/play_faults is called"),
    _row("noise", False, "whether sensors are noisy"),
    _row("noise_joint_position", _NOISE["joint_position"], "rad or m, standard deviation", limits=(0.0, 10.0)),
    _row("noise_joint_velocity", _NOISE["joint_velocity"], "rad/s or m/s, standard deviation", limits=(0.0, 100.0)),
    _row("noise_angular_velocity", _NOISE["angular_velocity"], "rad/s, standard deviation", limits=(0.0, 100.0)),
    _row("noise_gravity", _NOISE["gravity"], "rad, standard deviation of the tilt", limits=(0.0, 1.0)),
    _row("sensor_latency_s", 0.0, "s, so old is a reading when it is stamped", limits=_LATENCY),
    _row("action_latency_s", 0.0, "s from a command's receipt until it reaches the drives", limits=_LATENCY),
    _row("publish_clock", False, "publish /clock and stamp with simulated time, for nodes with use_sim_time"),
    _row("speed", 1.0, "simulated s in a real one; other than 1 only with publish_clock", limits=(0.01, 100.0)),
    _row("trace", False, "publish ~/applied and ~/sampled, for latency measurements"),
    _row("fifo_priority", _REALTIME.fifo_priority, "SCHED_FIFO priority; 0: ordinary scheduling", limits=(0, 99)),
    _row("lock_memory", _REALTIME.lock_memory, "keep all memory from being swapped out (mlockall)"),
    _row("cpu_affinity", Parameter.Type.INTEGER_ARRAY, "CPUs that the process may run on; empty: any"),
    _row("freeze_gc", _REALTIME.freeze_gc, "keep the garbage collector off what exists at the start"),
)


@dataclass(frozen=True, kw_only=True)
class SimParameters:
    """The node's parameters, checked; None: as the task has it."""

    task: str
    task_options: dict[str, Any]
    seed: int
    sensor_rate_hz: float | None
    camera_rate_hz: float | None
    controller: str
    command_type: str
    controller_joints: tuple[str, ...]
    wait_for_agent: bool
    transition_topic: str
    damp_topic: str
    watchdog_s: float | None
    faults: FaultSchedule
    faults_path: str
    play_faults_at_start: bool
    sensor_model: SensorModel | None
    publish_clock: bool
    speed: float
    trace: bool
    realtime: RealtimeConfig

    @classmethod
    def declare(cls, node: Node) -> SimParameters:
        """Declare every parameter on the node and read them. Raises UserError naming the parameter and its value."""
        declare(node, _DECLARATIONS)
        return cls.of(values(node, _DECLARATIONS))

    @classmethod
    def of(cls, given: dict[str, Any]) -> SimParameters:
        """From values by name. Raises UserError for those that do not go together, and for a bad file of faults."""
        if given["speed"] != 1.0 and not given["publish_clock"]:
            raise UserError(f"parameter speed: {given['speed']:g} needs publish_clock, or nobody else keeps pace")
        rest = dict(given)
        noise = {name: rest.pop(f"noise_{name}") for name in _NOISE}
        is_noisy = rest.pop("noise")
        sensor_model = SensorModel(
            observation_latency_s=rest.pop("sensor_latency_s"),
            action_latency_s=rest.pop("action_latency_s"),
            noise_std=noise if is_noisy else {},
        )
        realtime = RealtimeConfig(
            cpu_affinity=tuple(rest.pop("cpu_affinity")),
            **{name: rest.pop(name) for name in ("fifo_priority", "lock_memory", "freeze_gc")},
        )
        path = given["faults"]
        read = {
            "task_options": _options(given["task_options"]),
            "controller_joints": tuple(given["controller_joints"]),
            "faults": FaultSchedule.load(Path(path)) if path else FaultSchedule(),
            "faults_path": path,
            "sensor_model": sensor_model if sensor_model != EXACT else None,
            "realtime": realtime,
            **{name: given[name] or None for name in ("sensor_rate_hz", "camera_rate_hz", "watchdog_s")},
        }
        return cls(**(rest | read))


def _options(pairs: list[str] | tuple[()]) -> dict[str, Any]:
    for pair in pairs:
        if "=" not in pair:
            raise UserError(f"parameter task_options: {pair!r} is not name=value")
    return parse_options(dict(pair.split("=", 1) for pair in pairs))
