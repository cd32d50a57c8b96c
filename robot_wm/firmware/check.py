"""Does an agent belong on a robot? Limits, gains, watchdogs, joints and control mode, each fault with both values.

The layers, from outside in: the description (URDF), the firmware, the agent's spec, the safety filter's commands.
Every number is compared exactly: they were written down, not measured, and the filter rounds inwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from robot_wm.errors import UserError
from robot_wm.firmware.nested import Range, Violation, beyond, range_of, unit_of, written
from robot_wm.firmware.robot_model import RobotConfig
from robot_wm.runtime.joints import unkept_joints, unplaced_joints
from robot_wm.runtime.limits import CommandLimits, command_limits
from robot_wm.spec import AgentSpec, JointLimits

# A robot that nobody commands for longer falls or drives on: an A1 that lets go falls 0.3 m in 0.25 s.
MAX_WATCHDOG_S = 0.5


def check_robot(
    spec: AgentSpec, robot: RobotConfig, *, urdf: Mapping[str, JointLimits] | None = None
) -> list[Violation]:
    """Every rule that does not hold between an agent and a robot; empty where the agent may drive it.

    ``urdf`` holds the description's limits by joint, in place of those that the robot's file repeats.
    """
    return [
        *_urdf(robot, urdf),
        *_identity(spec, robot),
        *_placed(spec, robot),
        *_watchdogs(spec, robot),
        *_gains(spec, robot),
        *_agent_limits(spec, robot),
        *_filter_limits(spec, robot),
    ]


def require_robot(spec: AgentSpec, robot: RobotConfig, *, origin: str) -> None:
    """Refuse (UserError) an agent that does not belong on a robot, naming every violation."""
    violations = check_robot(spec, robot)
    if violations:
        raise UserError(f"{origin}: not for robot {robot.name}: " + "; ".join(map(str, violations)))


def require_ends(spec: AgentSpec, robot: RobotConfig | None, *, origin: str) -> None:
    """Refuse (UserError) an agent of speeds or efforts where neither it nor the drives keep a joint from its ends.

    The agent does where it knows the joint's position, the drives where the robot's file gives them its limits.
    """

    def is_kept(action: str) -> bool:
        drives = [robot.joints[name] for name in robot.joints_of(action)] if robot else []
        return bool(drives) and all(drive.limits.position for drive in drives)

    if loose := [joint for joint in unkept_joints(spec) if not is_kept(joint)]:
        raise UserError(
            f"{origin}: nothing keeps {', '.join(loose)} from the ends of the range: no field with the role"
            " joint_position, and no robot_config that says that the drives do (limits.position)"
        )


def _urdf(robot: RobotConfig, urdf: Mapping[str, JointLimits] | None) -> Iterator[Violation]:
    rule = "URDF ⊇ firmware"
    for name, joint in robot.joints.items():
        if urdf is not None and name not in urdf:
            yield Violation(rule, name, "the URDF has no such joint", "the firmware drives it")
            continue
        outer = joint.urdf if urdf is None else urdf[name]
        if outer is not None:
            yield from _nested(rule, name, "URDF", "firmware", outer, joint.limits, joint.unit, robot.action_mode)


def _identity(spec: AgentSpec, robot: RobotConfig) -> Iterator[Violation]:
    for where, ours, theirs in (
        ("robot", robot.robot, spec.robot),
        ("firmware", robot.firmware, spec.firmware.name),
    ):
        if ours != theirs:
            yield Violation("same name", where, f"the robot's is {ours!r}", f"the agent's is {theirs!r}")
    if spec.control_rate_hz != robot.control_rate_hz:
        yield Violation(
            "same control rate",
            "control_rate_hz",
            f"the robot's is {robot.control_rate_hz:g} Hz",
            f"the agent's is {spec.control_rate_hz:g} Hz",
        )
    mode = spec.action.mode
    if mode not in robot.control_modes:
        allowed = ", ".join(robot.control_modes)
        yield Violation("control mode allowed", "action.mode", f"the robot takes {allowed}", f"the agent gives {mode}")
    for action in spec.action.joints:
        joints = robot.joints_of(action)
        if not joints:
            known = ", ".join([*robot.joints, *robot.couplings])
            yield Violation("joints by name", action, f"the robot has {known}", "the agent commands it")
        for name in joints:
            unit = unit_of(mode, robot.joints[name].unit)
            if mode in robot.control_modes and spec.action.unit != unit:
                yield Violation(
                    "same unit", name, f"a {mode} command of it is in {unit}", f"the agent's is in {spec.action.unit}"
                )


def _placed(spec: AgentSpec, robot: RobotConfig) -> Iterator[Violation]:
    if spec.action.mode != "position":
        return
    for joint in filter(robot.joints_of, unplaced_joints(spec)):
        yield Violation(
            "position known", joint, "a robot is led from where it is", "no field has the role joint_position for it"
        )


def _watchdogs(spec: AgentSpec, robot: RobotConfig) -> Iterator[Violation]:
    period_s = spec.control_period_s
    timeouts = {"command_timeout_s": robot.command_timeout_s}
    timeouts |= {f"{name}.watchdog_s": joint.watchdog_s for name, joint in robot.joints.items() if joint.watchdog_s}
    for where, timeout_s in timeouts.items():
        inner = f"it is {timeout_s:g} s"
        if timeout_s <= period_s:
            yield Violation("watchdog > control period", where, f"the agent's control period is {period_s:g} s", inner)
        if timeout_s > MAX_WATCHDOG_S:
            yield Violation("watchdog not too long", where, f"it may be at most {MAX_WATCHDOG_S:g} s", inner)


def _gains(spec: AgentSpec, robot: RobotConfig) -> Iterator[Violation]:
    rule = "gains as trained"
    for gain, unit in (("kp", "N·m/rad"), ("kd", "N·m·s/rad")):
        trained = getattr(spec.firmware, gain)
        if not trained:
            yield Violation(rule, f"firmware.{gain}", "the robot's drives have gains", "the agent's spec names none")
        for action, value in zip(spec.action.joints, trained, strict=False):
            for name in robot.joints_of(action):
                joint = robot.joints[name]
                if value != getattr(joint, gain):
                    written_unit = unit if joint.unit == "rad" else unit.replace("N·m", "N").replace("rad", "m")
                    yield Violation(
                        rule,
                        f"{name}.{gain}",
                        f"the robot's drive has {getattr(joint, gain):.12g} {written_unit}",
                        f"the agent was trained with {value:.12g} {written_unit}",
                    )


def _agent_limits(spec: AgentSpec, robot: RobotConfig) -> Iterator[Violation]:
    action = spec.action
    for index, command in enumerate(action.joints):
        inner = action.limits[index] if action.limits else JointLimits()
        for name in robot.joints_of(command):
            joint = robot.joints[name]
            yield from _nested(
                "firmware ⊇ AgentSpec", name, "firmware", "AgentSpec", joint.limits, inner, joint.unit, action.mode
            )


def _filter_limits(spec: AgentSpec, robot: RobotConfig, commands: CommandLimits | None = None) -> Iterator[Violation]:
    """What the safety filter lets through, against the spec's own limits and, past it, the firmware's."""
    if spec.action.is_discrete:
        return
    try:
        commands = commands or command_limits(spec)
    except UserError as error:
        yield Violation("AgentSpec ⊇ safety filter", "action.limits", "the safety filter refuses them", str(error))
        return
    mode = spec.action.mode
    for index, command in enumerate(spec.action.joints):
        through: Range = (float(commands.low[index]), float(commands.high[index]))
        per_second = float(commands.step[index]) * spec.control_rate_hz
        layers = {"AgentSpec": spec.action.limits[index]} if spec.action.limits else {}
        joints = robot.joints_of(command)
        layers |= {f"firmware of {name}": robot.joints[name].limits for name in joints}
        unit = unit_of(mode, robot.joints[joints[0]].unit) if joints else spec.action.unit
        for layer, limits in layers.items():
            rule = f"{layer.split(' of')[0]} ⊇ safety filter"
            bound = range_of(limits, mode)
            if bound is not None and (through[0] < bound[0] or through[1] > bound[1]):
                yield Violation(
                    rule,
                    f"{command} {mode}",
                    f"{layer} allows {written(bound, unit)}",
                    f"the safety filter lets {written(through, unit)} through",
                )
            if limits.rate is not None and per_second > limits.rate:
                yield Violation(
                    rule,
                    f"{command} rate",
                    f"{layer} allows {limits.rate:.12g} {unit}/s",
                    f"the safety filter lets {per_second:.12g} {unit}/s through",
                )


def _nested(
    rule: str,
    joint: str,
    outer_name: str,
    inner_name: str,
    outer: JointLimits,
    inner: JointLimits,
    joint_unit: str,
    mode: str,
) -> Iterator[Violation]:
    for quantity, wide, narrow in beyond(outer, inner):
        unit = unit_of(quantity, joint_unit, unit_of(mode, joint_unit))
        yield Violation(
            rule,
            f"{joint} {quantity}",
            f"{outer_name} allows {written(wide, unit)}",
            f"{inner_name} has {written(narrow, unit)}",
        )
