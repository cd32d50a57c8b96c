"""Faults of a robot's sensors that a file plans, so that the same file gives the same faults again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from robot_wm.errors import UserError
from robot_wm.spec import Finite, Positive
from robot_wm.yaml_file import read_yaml

LONGEST_S = 1e8  # three years: a stamp moved by as much is still one that a message can hold
_GRAIN_S = 1e-6  # much less than a physics step
JointName = Annotated[str, Field(min_length=1)]


class _Fault(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    at_s: Annotated[Finite, Field(ge=0)] = Field(description="onset, s after the schedule's start")
    duration_s: Positive = Field(description="s")

    def is_active(self, time_s: float) -> bool:
        """Whether it is on, ``time_s`` after the schedule's start."""
        # Where one fault ends and the next begins, rounding must not let both act, nor none.
        return self.at_s <= time_s + _GRAIN_S < self.at_s + self.duration_s


class Stop(_Fault):
    """No sensor says anything."""

    kind: Literal["stop"]


class Stale(_Fault):
    """Stamps lie back, or stand still where no age is given; the values are as new as ever."""

    kind: Literal["stale"]
    age_s: Annotated[Positive, Field(le=LONGEST_S)] | None = Field(
        default=None, description="s; None: stamps stand still at the onset"
    )


class Jump(_Fault):
    """One joint reads another position."""

    kind: Literal["jump"]
    joint: JointName
    delta: Finite = Field(description="rad or m, added to the position")


class NotANumber(_Fault):
    """Position, velocity and effort of joints are NaN."""

    kind: Literal["nan"]
    joints: tuple[JointName, ...] = Field(default=(), description="names; none: every joint, and the IMU")


class MissingJoints(_Fault):
    """Joints are not in the message."""

    kind: Literal["missing_joints"]
    joints: tuple[JointName, ...] = Field(min_length=1)


class Reorder(_Fault):
    """Joints come in another order, each with its own values: a fault only to those who go by index."""

    kind: Literal["reorder"]
    seed: Annotated[int, Field(ge=0)] = 0


class Rename(_Fault):
    """Joints go by other names."""

    kind: Literal["rename"]
    names: dict[JointName, JointName] = Field(min_length=1, description="true name: name in the message")


class ClockJump(_Fault):
    """The robot's clock is off."""

    kind: Literal["clock_jump"]
    offset_s: Finite = Field(ge=-LONGEST_S, le=LONGEST_S, description="s, added to every stamp; negative: back in time")


class Flood(_Fault):
    """Samples come at another rate."""

    kind: Literal["flood"]
    rate_hz: Positive = Field(le=20_000.0, description="Hz")


Fault = Annotated[
    Stop | Stale | Jump | NotANumber | MissingJoints | Reorder | Rename | ClockJump | Flood, Field(discriminator="kind")
]


class FaultSchedule(BaseModel):
    """All faults of a run; several may be on at once and then act in the file's order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    faults: tuple[Fault, ...] = ()

    @classmethod
    def load(cls, path: Path) -> FaultSchedule:
        """Read a YAML file; raises UserError naming the file, the key and its value."""
        content = read_yaml(path)
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise UserError.from_validation(error, origin=str(path)) from None

    def require_joints(self, names: tuple[str, ...], *, origin: str) -> None:
        """Refuse (UserError) a schedule that names a joint that the robot lacks."""
        for number, fault in enumerate(self.faults):
            for joint in _joints(fault):
                if joint not in names:
                    raise UserError(
                        f"{origin}: faults.{number}.{fault.kind}: no joint {joint!r}; it has {', '.join(names)}"
                    )


def _joints(fault: Fault) -> tuple[str, ...]:
    if isinstance(fault, Jump):
        return (fault.joint,)
    if isinstance(fault, Rename):
        return tuple(fault.names)
    return fault.joints if isinstance(fault, NotANumber | MissingJoints) else ()
