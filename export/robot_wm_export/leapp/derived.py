"""An AgentSpec for somebody else's policy on a robot for which there is no task: of both, and of nothing else.

The package says what is observed and which joints are commanded; the robot's firmware file gives units, limits and
gains. Observations go in raw, and an action of -1 to 1 is all of a joint's range (or all of its speed or effort).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from robot_wm.errors import UserError
from robot_wm.firmware.robot_model import RobotConfig
from robot_wm.spec import (
    ActionSpec,
    AgentSpec,
    CommandField,
    FirmwareProfile,
    JointRole,
    ObservationField,
    Source,
)
from robot_wm_export.leapp.kinds import GRAVITY, INPUT_KINDS, MODE_OF_TARGET, ROTATION, XYZ
from robot_wm_export.leapp.package import LeappPackage

_MAX_AGE_PERIODS = 3.0  # of control: older than this, a value is stale
_LARGEST_TWIST = 1.0  # m/s and rad/s, what an operator may ask for: nobody told
_ROLES = {
    "state/joint/position": (JointRole.POSITION, "{}"),
    "state/joint/velocity": (JointRole.VELOCITY, "{}/s"),
    "state/joint/effort": (JointRole.EFFORT, None),
}
_IMU = ("state/body/angular_velocity", "state/body/linear_acceleration")
_TWIST = "command/body/velocity"
_EFFORT_UNIT = {"rad": "N·m", "m": "N"}


def derived_spec(package: LeappPackage, robot: RobotConfig, *, rate_hz: float | None = None) -> AgentSpec:
    """The contract of ``package`` on ``robot``; UserError naming what neither of them tells, or what the robot lacks.

    ``rate_hz`` is the rate of a package that tells none.
    """
    origin = str(package.description)
    rate = package.frequency_hz or rate_hz
    if rate is None:
        raise UserError(
            f"{origin}: pipeline.configs.frequency: the package does not tell its rate; --rate says it, in Hz"
        )
    action = _action(package, robot, origin=origin)
    max_age_s = _MAX_AGE_PERIODS / rate
    observations = [
        *_joint_fields(package, robot, action, max_age_s, origin=origin),
        *_body_fields(package, max_age_s, origin=origin),
    ]
    commands: tuple[CommandField, ...] = ()
    if any(package.tensor(port).kind == _TWIST for port in package.external_inputs()):
        names = (("linear_x", "m/s"), ("linear_y", "m/s"), ("angular_z", "rad/s"))
        commands = tuple(
            CommandField(name=name, unit=unit, low=-_LARGEST_TWIST, high=_LARGEST_TWIST) for name, unit in names
        )
    gains = [robot.joints[joint] for joint in action.joints]
    return AgentSpec(
        task=f"leapp_{package.description.stem}",
        robot=robot.robot,
        control_rate_hz=rate,
        physics_rate_hz=rate,
        observations=tuple(observations),
        action=action,
        commands=commands,
        firmware=FirmwareProfile(
            name=robot.firmware, kp=tuple(joint.kp for joint in gains), kd=tuple(joint.kd for joint in gains)
        ),
    )


def _action(package: LeappPackage, robot: RobotConfig, *, origin: str) -> ActionSpec:
    joints: list[str] = []
    modes: list[str] = []
    for port in package.external_outputs():
        tensor = package.tensor(port)
        if tensor.kind in MODE_OF_TARGET:
            names = tensor.elements()
            if names is None:
                raise UserError(f"{origin}: output {port}: needs element_names: joints are matched by name")
            joints += names
            modes.append(MODE_OF_TARGET[tensor.kind])
    if len(set(modes)) != 1:
        raise UserError(f"{origin}: outputs: joints are commanded by {', '.join(sorted(set(modes))) or 'nothing'}")
    mode = modes[0]
    if mode not in robot.control_modes:
        raise UserError(f"{origin}: outputs: {mode} is commanded; {robot.name} takes {', '.join(robot.control_modes)}")
    _require_joints(joints, robot, told=f"{origin}: outputs")
    limits = [robot.joints[joint].limits for joint in joints]
    offset: list[float] = [0.0] * len(joints)
    if mode == "position":
        ranges = [limit.position for limit in limits]
        if any(ends is None for ends in ranges):
            raise UserError(
                f"{robot.name}: joint {joints[ranges.index(None)]} has no limits.position to command within"
            )
        offset = [(ends[0] + ends[1]) / 2 for ends in ranges if ends is not None]
        scale = [(ends[1] - ends[0]) / 2 for ends in ranges if ends is not None]
    else:
        scale = [float(getattr(limit, mode)) for limit in limits]
    units = {robot.joints[joint].unit for joint in joints}
    if len(units) > 1:
        raise UserError(f"{origin}: outputs: rad and m are commanded at once; a spec has one unit of its command")
    unit = units.pop()
    return ActionSpec(
        mode=mode,  # type: ignore[arg-type]  # one of MODE_OF_TARGET's
        joints=tuple(joints),
        unit={"position": unit, "velocity": f"{unit}/s", "effort": _EFFORT_UNIT[unit]}[mode],
        scale=tuple(scale),
        offset=tuple(offset),
        limits=tuple(limits),
    )


def _require_joints(joints: Sequence[str], robot: RobotConfig, *, told: str) -> None:
    if unknown := [joint for joint in joints if joint not in robot.joints]:
        raise UserError(f"{told}: joint {unknown[0]} is none of {robot.name}'s: {', '.join(robot.joints)}")


def _joint_fields(
    package: LeappPackage, robot: RobotConfig, action: ActionSpec, max_age_s: float, *, origin: str
) -> list[ObservationField]:
    observed: dict[str, list[str]] = {}
    for port in package.external_inputs():
        tensor = package.tensor(port)
        if tensor.kind in _ROLES:
            names = tensor.elements() or ()
            _require_joints(names, robot, told=f"{origin}: input {port}")
            kept = observed.setdefault(tensor.kind, [])
            kept += [name for name in names if name not in kept]
    fields = []
    for kind, joints in observed.items():
        role, form = _ROLES[kind]
        units = [
            _EFFORT_UNIT[robot.joints[j].unit] if form is None else form.format(robot.joints[j].unit) for j in joints
        ]
        is_placed = any(joint in action.joints for joint in joints)
        about: dict[str, Any] = {"unit": units[0] if len(set(units)) == 1 else ", ".join(units)}
        fields.append(
            ObservationField(
                name=role.value,
                shape=(len(joints),),
                labels=tuple(joints),
                role=role if is_placed else None,
                topic="joint_states",
                max_age_s=max_age_s,
                **about,
            )
        )
    return fields


def _body_fields(package: LeappPackage, max_age_s: float, *, origin: str) -> list[ObservationField]:
    fields: dict[str, ObservationField] = {}
    for port in package.external_inputs():
        kind = package.tensor(port).kind
        about: dict[str, Any] = {"shape": (3,), "labels": XYZ, "max_age_s": max_age_s}
        if kind in _ROLES:
            continue
        if kind == ROTATION:
            about |= {"name": GRAVITY, "unit": "1", "topic": "imu/data", "frame": "imu_link"}
        elif kind in _IMU:
            about |= {"name": kind.rsplit("/", 1)[-1], "unit": INPUT_KINDS[kind].units[0]}
            about |= {"topic": "imu/data", "frame": "imu_link"}
        elif kind == _TWIST:
            about |= {"name": "command", "unit": "m/s, m/s, rad/s", "source": Source.COMMAND, "topic": "cmd_vel"}
            about["labels"] = ("linear_x", "linear_y", "angular_z")
        else:
            known = ", ".join((*_ROLES, *_IMU, ROTATION, _TWIST))
            raise UserError(
                f"{origin}: input {port}: no sensor is known for kind {kind}, only for {known}; --spec says more"
            )
        fields[about["name"]] = ObservationField(**about)
    return list(fields.values())
