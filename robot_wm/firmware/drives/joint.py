"""JointDrive: one joint as its drive sees it, in SI units at the joint's side of the gearbox.

What all drives need of it is here: the current that the effort limit takes, and the errors that name joint and field.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from robot_wm.errors import UserError

_FILE_NAME = re.compile(r"[A-Za-z0-9_-]+")  # a joint's name becomes part of a file's name


@dataclass(frozen=True, kw_only=True)
class JointDrive:
    """One joint and its drive; UserError for a value that no drive could take.

    Units of a sliding joint are m, m/s, N and N/m, and its ``gear_ratio`` is rad of the motor per m.
    """

    name: str
    bus: str
    bus_id: int
    gear_ratio: float  # motor turns per joint turn
    position_limits: tuple[float, float] | None  # rad; None: turns for ever
    velocity_limit: float  # rad/s
    effort_limit: float  # N·m
    kp: float  # N·m/rad
    kd: float  # N·m·s/rad
    current_limit_a: float  # A of a phase that may never flow; the effort limit has to need less
    temperature_limit_c: float  # °C at which the drive stops
    watchdog_s: float  # s without a command until the drive damps or lets go
    torque_constant_nm_per_a: float  # N·m/A, at the motor's shaft
    pole_pairs: int
    direction: int = 1  # -1: the motor turns against the joint
    settings: Mapping[str, float | int | str] = field(default_factory=dict)  # what only this drive type knows

    def __post_init__(self) -> None:
        if not _FILE_NAME.fullmatch(self.name):
            raise UserError(f"joint {self.name!r}: a name has letters, digits, _ and - only")
        units = {
            "gear_ratio": "",
            "velocity_limit": " rad/s",
            "effort_limit": " N·m",
            "current_limit_a": " A",
            "watchdog_s": " s",
            "torque_constant_nm_per_a": " N·m/A",
            "pole_pairs": "",
        }
        for key, unit in units.items():
            if not (math.isfinite(getattr(self, key)) and getattr(self, key) > 0):
                raise self.error(key, f"{getattr(self, key)}{unit}: must be positive")
        for key in ("kp", "kd"):
            if not (math.isfinite(getattr(self, key)) and getattr(self, key) >= 0):
                raise self.error(key, f"{getattr(self, key)}: must not be negative")
        if not math.isfinite(self.temperature_limit_c):
            raise self.error("temperature_limit_c", f"{self.temperature_limit_c} °C: must be finite")
        if self.direction not in (1, -1):
            raise self.error("direction", f"{self.direction}: must be 1 or -1")
        limits = self.position_limits
        if limits is not None and not (all(map(math.isfinite, limits)) and limits[0] < limits[1]):
            raise self.error("position_limits", f"{limits} rad: must be finite and in ascending order")

    def error(self, key: str, problem: str) -> UserError:
        """The one form of every refusal: joint, field, value with unit, reason."""
        return UserError(f"joint {self.name}: {key} {problem}")

    @property
    def effort_current_a(self) -> float:
        """Phase current of the effort limit, effort / (gear_ratio · torque_constant): the tighter of the two limits.

        UserError if the current limit is below it: the joint would never reach the effort that it is said to have.
        """
        needed = self.effort_limit / (self.gear_ratio * self.torque_constant_nm_per_a)
        if needed > self.current_limit_a:
            raise self.error(
                "current_limit_a",
                f"{self.current_limit_a:g} A: the effort limit of {self.effort_limit:g} N·m takes {needed:.4g} A"
                f" (effort / (gear {self.gear_ratio:g} · torque constant {self.torque_constant_nm_per_a:g} N·m/A))",
            )
        return needed

    @property
    def motor_velocity_limit(self) -> float:
        """Velocity limit at the motor's shaft, rad/s."""
        return self.velocity_limit * self.gear_ratio

    @property
    def is_stopped_mechanically(self) -> bool:
        """Whether ``settings.position_limits: mechanical`` says that hard stops hold the limits, not the drive."""
        stops = self.settings.get("position_limits")
        if stops not in (None, "mechanical"):
            raise self.error("settings.position_limits", f"{stops!r}: can only be 'mechanical'")
        return stops == "mechanical"

    def number(self, key: str, unit: str, meaning: str, default: float | None = None) -> float:
        """A number of ``settings``; UserError that says what is needed if it is missing and has no default."""
        value = self.settings.get(key, default)
        if value is None:
            raise self.error(f"settings.{key}", f"is missing: {meaning} ({unit})")
        if isinstance(value, str) or not math.isfinite(value):
            raise self.error(f"settings.{key}", f"{value!r}: must be a number ({unit})")
        return float(value)
