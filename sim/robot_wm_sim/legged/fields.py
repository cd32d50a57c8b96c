"""Observation fields of a legged robot, and the operator's command: legged_gym's, scales too (Rudin et al. 2021)."""

from __future__ import annotations

from typing import Any

from robot_wm.errors import UserError
from robot_wm.spec import CommandField, JointRole, ObservationField, Source
from robot_wm_sim.legged.body import Legged

OBSERVATION_CLIP = 100.0
COMMANDS = (
    CommandField(name="linear_x", unit="m/s", low=-1.0, high=1.0),
    CommandField(name="linear_y", unit="m/s", low=-1.0, high=1.0),
    CommandField(name="angular_z", unit="rad/s", low=-1.0, high=1.0),
)
AXES = ("x", "y", "z")


def proprio_fields(legged: Legged, *, max_age_s: float, has_velocities: bool = True) -> tuple[ObservationField, ...]:
    """IMU, command, joints and the last action; the trunk's velocity is not among them, as no sensor gives it."""
    return (
        *_imu_fields(max_age_s),
        command_field(),
        *_joint_fields(legged, max_age_s, has_velocities=has_velocities),
    )


def command_field() -> ObservationField:
    """What the operator wants, [3] of `COMMANDS`."""
    return ObservationField(
        name="command",
        shape=(3,),
        unit="m/s, m/s, rad/s",
        labels=tuple(field.name for field in COMMANDS),
        clip=OBSERVATION_CLIP,
        source=Source.COMMAND,
        topic="cmd_vel",
        max_age_s=0.5,  # operators publish slowly
    )


def fixed_command(text: str) -> tuple[float, ...]:
    """The numbers of an option such as ``0.5,0,0``; UserError where they are not three, or out of range."""
    parts = text.split(",")
    if len(parts) != len(COMMANDS):
        wanted = ", ".join(f"{field.name} {field.unit}" for field in COMMANDS)
        raise UserError(f"option command: {text!r} is not {len(COMMANDS)} numbers ({wanted})")
    values = []
    for field, part in zip(COMMANDS, parts, strict=True):
        try:
            value = float(part)
        except ValueError:
            raise UserError(f"option command: {field.name}: {part!r} is not a number, {field.unit}") from None
        if not field.low <= value <= field.high:
            raise UserError(
                f"option command: {field.name}: {value:g} {field.unit} is not within [{field.low:g}, {field.high:g}]"
            )
        values.append(value)
    return tuple(values)


def _imu_fields(max_age_s: float) -> tuple[ObservationField, ...]:
    imu: dict[str, Any] = {"topic": "imu/data", "frame": "imu_link", "max_age_s": max_age_s, "clip": OBSERVATION_CLIP}
    return (
        ObservationField(name="angular_velocity", shape=(3,), unit="rad/s", labels=AXES, scale=(0.25,), **imu),
        # From the IMU's orientation: the direction of gravity, of length 1, in the trunk's axes.
        ObservationField(name="projected_gravity", shape=(3,), unit="1", labels=AXES, **imu),
    )


def _joint_fields(legged: Legged, max_age_s: float, *, has_velocities: bool) -> tuple[ObservationField, ...]:
    joints: dict[str, Any] = {
        "shape": (len(legged.actions),),
        "labels": legged.actions,
        "clip": OBSERVATION_CLIP,
        "max_age_s": max_age_s,
    }
    action = legged.action()
    position = ObservationField(
        name="joint_position",
        unit=legged.unit,
        role=JointRole.POSITION,
        offset=tuple(legged.robot.joint(name).home for name in legged.actions),
        topic="joint_states",
        **joints,
    )
    velocity = ObservationField(
        name="joint_velocity",
        unit=f"{legged.unit}/s",
        role=JointRole.VELOCITY,
        scale=(0.05,),
        topic="joint_states",
        **joints,
    )
    # So that the graph sees the policy action that led to the command.
    last_action = ObservationField(
        name="last_action",
        unit=action.unit,
        offset=legged.offset,
        scale=tuple(1.0 / scale for scale in legged.scale),
        source=Source.LAST_ACTION,
        **joints,
    )
    return (position, *((velocity,) if has_velocities else ()), last_action)
