"""RobotConfig: what the drives of one robot are set to, and which agents they were tuned for.

One YAML file of firmware_configs/robots each. Everything is in SI units, at the joint's side of the gearbox.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from robot_wm.errors import UserError
from robot_wm.firmware.drives.kind import DriveKind, drive_kind
from robot_wm.firmware.frozen import Count, FrozenModel, NotNegative
from robot_wm.spec import JointLimits, Name, Positive

ControlMode = Literal["position", "velocity", "effort"]
WhenStopped = Literal["damp", "hold_and_brake"]
UsbId = Annotated[str, Field(pattern=r"^[0-9a-f]{4}$")]
# Names of links and files that udev makes: no slash, quote or blank may break out of a rule.
DeviceName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,14}$")]


def _not_bool(value: object) -> object:
    if isinstance(value, bool):  # to pydantic true is among [1, -1], strictly too
        raise ValueError("must be 1 or -1")
    return value


def _at_most(largest: float) -> AfterValidator:
    """A bound that is asked after all else, so that NaN is told as what it is."""

    def check(value: float) -> float:
        if value > largest:
            raise ValueError(f"must be at most {largest:g}")
        return value

    return AfterValidator(check)


def _known_drives(name: str) -> str:
    try:
        drive_kind(name)
    except UserError as error:
        raise ValueError(str(error)) from None
    return name


Watchdog = Annotated[Positive, _at_most(10.0)]  # s; what is longer was written in ms
Direction = Annotated[Literal[1, -1], BeforeValidator(_not_bool)]

# No driven joint turns, slides, hastens or pushes further: what is beyond was written in another unit.
LARGEST: dict[str, dict[str, tuple[float, str, str]]] = {
    "rad": {
        "position": (8 * math.pi, "rad", "degrees"),
        "velocity": (200.0, "rad/s", "degrees/s or rpm"),
        "effort": (5000.0, "N·m", "mN·m"),
        "rate": (1e8, "command unit/s", "another unit"),
    },
    "m": {
        "position": (100.0, "m", "mm"),
        "velocity": (50.0, "m/s", "mm/s"),
        "effort": (1e5, "N", "mN"),
        "rate": (1e8, "command unit/s", "another unit"),
    },
}
# By position a drive gives all it can at no smaller an error (a 12-bit encoder counts 0.0015 rad), by speed at no
# smaller a share of its limit: a larger gain was written in another unit.
_LEAST_ERROR = {"rad": (0.002, "rad", "N·m"), "m": (1e-4, "m", "N")}
_LEAST_SPEED_SHARE = 0.01
# What a drive cannot be set up without; a closed drive keeps these to itself.
_OPEN_DRIVE_NEEDS = (
    "bus_id",
    "gear_ratio",
    "current_limit_a",
    "temperature_limit_c",
    "torque_constant_nm_per_a",
    "pole_pairs",
)


class Bus(FrozenModel):
    """An adapter of the robot's computer: what its drives hang on, or a sensor such as the IMU."""

    kind: Literal["can", "serial", "ethernet"]
    bitrate: Count | None = Field(default=None, ge=1000, description="bit/s; of CAN, its arbitration phase")
    data_bitrate: Count | None = Field(default=None, description="bit/s of CAN FD's data phase; none: classic CAN")
    usb_vendor_id: UsbId | None = Field(default=None, description="four hexadecimal digits, quoted; see lsusb")
    usb_product_id: UsbId | None = Field(default=None, description="four hexadecimal digits, quoted; see lsusb")
    usb_serial: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]+$")] | None = Field(
        default=None, description="serial number, where two adapters are of one kind"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Bus:
        if (self.usb_vendor_id is None) != (self.usb_product_id is None):
            raise ValueError("usb_vendor_id and usb_product_id go together")
        if self.usb_serial is not None and self.usb_vendor_id is None:
            raise ValueError("usb_serial needs usb_vendor_id and usb_product_id")
        if self.kind == "can" and self.bitrate is None:
            raise ValueError("a can bus needs bitrate (bit/s)")
        if self.data_bitrate is not None and self.kind != "can":
            raise ValueError(f"data_bitrate is for a can bus, not for {self.kind}")
        return self


class RobotJoint(FrozenModel):
    """One driven joint. What only an open drive can be told is None on a closed one."""

    unit: Literal["rad", "m"] = Field(default="rad", description="rad of a rotating joint, m of a sliding one")
    limits: JointLimits = Field(description="what the drive enforces: rad, rad/s, N·m, or m, m/s, N")
    urdf: JointLimits | None = Field(default=None, description="limits of the robot's description, same units")
    kp: Annotated[NotNegative, _at_most(1e5)] = Field(description="N·m/rad or N/m, position gain of the drive")
    kd: Annotated[NotNegative, _at_most(1e4)] = Field(description="N·m·s/rad or N·s/m, velocity gain of the drive")
    watchdog_s: Watchdog | None = Field(default=None, description="s without a command until the drive damps")
    following_error: Positive | None = Field(
        default=None, description="what the joint may be off by, in its command's unit; none: as its limits have it"
    )
    current_limit_a: Annotated[Positive, _at_most(1000.0)] | None = Field(default=None, description="A, of a phase")
    temperature_limit_c: Positive | None = Field(default=None, description="°C, at which the drive stops")
    bus: DeviceName | None = Field(default=None, description="name of one of the robot's buses")
    bus_id: Annotated[int, Field(ge=0)] | None = Field(default=None, description="number on the bus")
    gear_ratio: Annotated[Positive, _at_most(1e5)] | None = Field(
        default=None, description="motor turns per joint turn, or rad per m"
    )
    torque_constant_nm_per_a: Positive | None = Field(default=None, description="N·m/A, at the motor's shaft")
    pole_pairs: Count | None = Field(default=None, le=100, description="1, pairs of magnetic poles of the rotor")
    direction: Direction = Field(default=1, description="1 or -1: whether the motor turns with the joint")
    settings: dict[str, float | int | str] = Field(default={}, description="what only this drive type knows")

    @model_validator(mode="after")
    def _driven(self) -> RobotJoint:
        for key in ("velocity", "effort"):
            if getattr(self.limits, key) is None:
                raise ValueError(f"limits.{key}: a driven joint needs one")
        # The description's speeds and efforts are its author's business: many say 1000 for "any".
        for layer, limits, quantities in (
            ("limits", self.limits, LARGEST[self.unit]),
            ("urdf", self.urdf, ("position",)),
        ):
            for quantity in quantities:
                largest, unit, other = LARGEST[self.unit][quantity]
                found = getattr(limits, quantity, None)
                ends = found if isinstance(found, tuple) else (found or 0.0,)
                if max(map(abs, ends)) > largest:
                    value = f"{found:g}" if len(ends) == 1 else f"[{ends[0]:g}, {ends[1]:g}]"
                    bound = f"{'±' if quantity == 'position' else ''}{largest:.4g}"
                    raise ValueError(
                        f"{layer}.{quantity}: {value} {unit} is beyond {bound} {unit}; was it meant in {other}?"
                    )
        self._require_gains()
        return self

    def _require_gains(self) -> None:
        error, unit, effort_unit = _LEAST_ERROR[self.unit]
        effort, speed = self.limits.effort or 0.0, self.limits.velocity or 0.0
        for key, gain, least, of in (
            ("kp", self.kp, error, unit),
            ("kd", self.kd, _LEAST_SPEED_SHARE * speed, f"{unit}/s"),
        ):
            if gain * least > effort:
                per = f"{effort_unit}/{unit}" if key == "kp" else f"{effort_unit}·s/{unit}"
                raise ValueError(
                    f"{key}: {gain:g} {per} gives all of {effort:g} {effort_unit} at an error of {effort / gain:.2g}"
                    f" {of}, less than {least:g} {of}; was it meant in m{per}, or as the drive counts?"
                )


class RobotConfig(FrozenModel):
    """A robot as its drives know it; ``joints`` are all with a motor, in the order of the MCU's arrays."""

    name: Name = Field(description="name of this profile, by which commands find it")
    description: str
    robot: str = Field(description="AgentSpec.robot of the agents that may drive it")
    firmware: str = Field(description="AgentSpec.firmware.name of the agents that may drive it")
    drive_type: Annotated[Name, AfterValidator(_known_drives)] = Field(
        description="kind of its drives, an entry point of robot_wm.drives"
    )
    urdf: str = Field(default="", description="where the description is from whose limits the joints repeat")
    control_rate_hz: Annotated[Positive, _at_most(5000.0)] = Field(description="Hz, of the agent's commands")
    command_timeout_s: Watchdog = Field(description="s without a command until the firmware damps")
    when_stopped: WhenStopped = Field(
        default="damp",
        description="what ~/damp asks of the drives: damp (brake with kd alone), or hold_and_brake (keep the position,"
        " engage the brakes, then let go) where a load would sink",
    )
    following_s: Positive = Field(default=1.0, description="s that a joint may be off by more; then a fault")
    control_modes: tuple[ControlMode, ...] = Field(min_length=1, description="commands that the drives take")
    action_mode: ControlMode = Field(description="command that the agents were trained to give")
    min_bundle_version: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        default=0, description="bundle_version of the oldest bundle that may drive it, whoever signed it; 0: any"
    )
    buses: dict[DeviceName, Bus] = Field(default={})
    joints: dict[Name, RobotJoint] = Field(min_length=1)
    leans: dict[Literal["forward", "left"], dict[Name, float]] = Field(
        default={},
        description="rad or m by action name, added to the start pose, with which the robot on its feet leans forward"
        " and to its left a little; for check_on_feet",
    )
    couplings: dict[Name, tuple[str, ...]] = Field(
        default={}, description="action names that stand for several joints, such as drive for four wheels"
    )

    @model_validator(mode="after")
    def _consistent(self) -> RobotConfig:
        if self.action_mode not in self.control_modes:
            raise ValueError(f"action_mode {self.action_mode} is not among control_modes {self.control_modes}")
        for coupling, members in self.couplings.items():
            missing = [name for name in members if name not in self.joints]
            if missing or not members:
                raise ValueError(f"couplings.{coupling}: not a joint: {', '.join(missing) or 'nothing named'}")
            if coupling in self.joints:
                raise ValueError(f"couplings.{coupling}: a joint has that name too")
        for lean, ways in self.leans.items():
            if strange := [name for name in ways if not self.joints_of(name)]:
                raise ValueError(f"leans.{lean}: not a joint: {', '.join(strange)}")
        for name, joint in self.joints.items():
            if joint.bus is not None and joint.bus not in self.buses:
                raise ValueError(f"joints.{name}.bus: {joint.bus} is not among buses ({', '.join(self.buses)})")
        if self.drive_kind.is_open:
            self._require_open_drives()
        return self

    def _require_open_drives(self) -> None:
        taken: dict[tuple[str, int], str] = {}
        for name, joint in self.joints.items():
            for key in ("bus", *_OPEN_DRIVE_NEEDS):
                if getattr(joint, key) is None:
                    meaning = RobotJoint.model_fields[key].description
                    raise ValueError(f"joints.{name}.{key}: a {self.drive_type} drive needs it ({meaning})")
            place = (str(joint.bus), int(joint.bus_id or 0))
            if place in taken and not self.drive_kind.shares_ids:
                raise ValueError(f"joints.{name}.bus_id: {taken[place]} has number {place[1]} on {place[0]} too")
            taken[place] = name

    @property
    def drive_kind(self) -> DriveKind:
        """What its kind of drives declares."""
        return drive_kind(self.drive_type)

    def joints_of(self, action_name: str) -> tuple[str, ...]:
        """Names of the joints that an action's name moves; empty for a name that this robot lacks."""
        if action_name in self.joints:
            return (action_name,)
        return self.couplings.get(action_name, ())

    def following_errors(self, action_names: Sequence[str]) -> dict[str, float]:
        """What is stated of each action's joints; of several joints that one action moves, the least."""
        stated = {name: [self.joints[joint].following_error for joint in self.joints_of(name)] for name in action_names}
        known = {name: [error for error in errors if error is not None] for name, errors in stated.items()}
        return {name: min(errors) for name, errors in known.items() if errors}

    def watchdog_s(self, joint: str) -> float:
        """Time without a command after which this joint damps: its drive's own, or the robot's."""
        return self.joints[joint].watchdog_s or self.command_timeout_s
