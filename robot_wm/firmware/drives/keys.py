"""Key lists of the drives' firmwares, and the one way in which a value gets into a rendered file: checked against them.

A list (firmware_configs/keys/*.yaml) holds facts: name, type, unit and range of each key of one firmware version, and
where they are from. A key that is not in it, or a value outside its range, is refused: a drive would ignore the one
in silence and clip the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from importlib.resources import files
from typing import Literal

import numpy as np
from pydantic import Field

from robot_wm.firmware.drives.joint import JointDrive
from robot_wm.firmware.frozen import FrozenModel
from robot_wm.firmware.loading import parse
from robot_wm.spec import Finite, Positive

Number = float | int
Toward = Literal["nearest", "below", "above"]

_INTEGERS = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32)} | {"enum"}


class Key(FrozenModel):
    """One configuration key of a drive's firmware."""

    type: Literal["float32", "fixed16", "bool", "enum", "uint8", "int8", "uint16", "int16", "uint32", "int32"]
    unit: str = Field(default="1", description="of the written value, or of per_count")
    minimum: Finite | None = None
    maximum: Finite | None = None
    step: Positive | None = Field(default=None, description="a fixed16 is a multiple of this")
    per_count: Positive | None = Field(default=None, description="what one count of the written integer is worth")
    address: int | None = Field(default=None, description="byte address in a control table")
    size: int | None = Field(default=None, description="bytes in a control table")
    memory: Literal["eeprom", "ram"] | None = None

    def fit(self, value: float, toward: Toward = "nearest") -> Number:
        """The value that the drive can hold and that is nearest, or nearest from below or above."""
        if self.type in _INTEGERS:
            return _to_integer(value, toward)
        if self.type == "bool":
            return int(value)
        if self.step is not None:
            # A decimal number of steps: 3 · 0.1 in binary would be more than 0.3.
            return float(f"{_to_integer(value / self.step, toward) * self.step:.10g}")
        return _to_float32(value, toward)


class Board(FrozenModel):
    """What the maker of a board has set at the factory as its most."""

    max_current_a: Positive
    fault_temperature_c: Finite


class KeyList(FrozenModel):
    """Keys of one firmware version."""

    drive: str
    firmware: str | float
    origin: tuple[str, ...] = Field(min_length=1)
    boards: dict[str, Board] = Field(default={})
    keys: dict[str, Key]


def load_keys(name: str) -> KeyList:
    """The committed list of that name; UserError naming the file and key that is wrong in it."""
    file = files("firmware_configs") / "keys" / f"{name}.yaml"
    return parse(file.read_text(encoding="utf-8"), KeyList, origin=f"firmware_configs/keys/{name}.yaml")


class DriveValues:
    """What one drive is told, in order: ``values`` has only keys of the list, only values in their ranges."""

    def __init__(self, keys: KeyList, joint: JointDrive) -> None:
        self._keys = keys
        self._joint = joint
        self.values: dict[str, Number] = {}

    def put(self, key: str, value: float, field: str, toward: Toward = "nearest") -> None:
        """Set ``key`` from the joint's ``field``; a limit rounds ``toward`` its safe side, but never to nothing."""
        entry = self._entry(key, field)
        if not math.isfinite(value):
            raise self._joint.error(field, f"gives {key} {value}: must be finite")
        fitted = entry.fit(value, toward)
        if toward != "nearest" and value != 0 and fitted == 0 and (value > 0) == (toward == "below"):
            raise self._joint.error(field, f"gives {key} {value:.4g}: less than the drive's smallest step")
        self._require_range(key, entry, fitted, field)
        self.values[key] = fitted

    def put_unset(self, key: str, field: str) -> None:
        """Set ``key`` to not-a-number, by which a float key of the drive says that it does not apply."""
        if self._entry(key, field).type != "float32":
            raise self._joint.error(field, f"{key} is no float: it cannot be unset")
        self.values[key] = math.nan

    def put_settings(self, named: Iterable[str], belongs: Iterable[str] = ()) -> None:
        """Take the joint's settings as keys of the drive, but for the ``named`` and another file's (``belongs``).

        UserError for an unknown key, and for one whose value follows from a limit or gain of the joint.
        """
        for key, value in self._joint.settings.items():
            if key in named or key in belongs:
                continue
            field = f"settings.{key}"
            if isinstance(value, str):
                raise self._joint.error(field, f"{value!r}: must be a number")
            if key in self.values:
                raise self._joint.error(field, "is set from the joint's own limits and gains; change those")
            entry = self._entry(key, field)
            if entry.type not in ("float32", "fixed16") and value != int(value):
                raise self._joint.error(field, f"{value:g}: must be a whole number ({entry.type})")
            self.put(key, value, field)

    def _entry(self, key: str, field: str) -> Key:
        entry = self._keys.keys.get(key)
        if entry is None:
            raise self._joint.error(field, f"{key}: not a key of {self._keys.drive} firmware {self._keys.firmware}")
        return entry

    def _require_range(self, key: str, entry: Key, value: Number, field: str) -> None:
        low = entry.minimum if entry.minimum is not None else (0 if entry.type in ("bool", "enum") else -math.inf)
        high = entry.maximum if entry.maximum is not None else (1 if entry.type == "bool" else math.inf)
        if entry.type in _INTEGERS and entry.type != "enum":
            kind = np.iinfo(entry.type)
            low, high = max(low, kind.min), min(high, kind.max)
        if not low <= value <= high:
            counts = "counts of " + f"{entry.per_count:g} " if entry.per_count is not None else ""
            unit = "" if entry.unit == "1" else f" {counts}{entry.unit}"
            raise self._joint.error(
                field,
                f"gives {key} {value:g}{unit}: outside {low:g} to {high:g} of {self._keys.drive} {self._keys.firmware}",
            )


def reject_strangers(joint: JointDrive, known: Iterable[str]) -> None:
    """UserError for settings of a joint whose drive takes only the ``known`` ones."""
    for key in joint.settings:
        if key not in known:
            raise joint.error(f"settings.{key}", f"is unknown here; known: {', '.join(sorted(known))}")


def _to_integer(value: float, toward: Toward) -> int:
    # 29.999999999999996 counts are 30: a limit that is a whole number of counts in decimal loses none to binary.
    nearest = round(value)
    if toward == "nearest" or math.isclose(value, nearest, rel_tol=1e-12, abs_tol=1e-12):
        return nearest
    return math.floor(value) if toward == "below" else math.ceil(value)


def _to_float32(value: float, toward: Toward) -> float:
    """The float32 in its shortest decimal form, if that keeps to the safe side too; else written out in full."""
    single = np.float32(value)
    if toward == "below" and float(single) > value:
        single = np.nextafter(single, np.float32(-np.inf))
    elif toward == "above" and float(single) < value:
        single = np.nextafter(single, np.float32(np.inf))
    short = float(str(single))
    is_safe = toward == "nearest" or (short <= value if toward == "below" else short >= value)
    return short if is_safe else float(single)
