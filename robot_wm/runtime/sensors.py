"""Observations as they come, checked and copied in place before anything believes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from robot_wm.runtime.faults import Fault
from robot_wm.runtime.joints import JointReadings
from robot_wm.runtime.jumps import JointWatch
from robot_wm.runtime.transform import ObservationTransform
from robot_wm.spec import AgentSpec, ObservationField, Source

# Plain integers: combining IntFlag members costs a microsecond each time.
_MISSING, _TYPE, _SHAPE = int(Fault.MISSING_FIELD), int(Fault.WRONG_TYPE), int(Fault.WRONG_SHAPE)
_NOT_FINITE, _STALE, _CLOCK = int(Fault.NOT_FINITE), int(Fault.STALE), int(Fault.CLOCK)

_LARGEST = 1e18  # no SI reading of a robot is larger, and products of smaller ones stay finite in float32


class Sensors:
    """Checks one raw frame after another and copies what is sound into a transform's ``raw`` views.

    ``detail`` tells the latest faults in words ("" if there were none). ``is_placed`` says whether the frame tells
    where the joints are, whatever is wrong with its other fields; then ``joints`` has what it tells. The field
    ``last_action`` is the controller's own and is not read here.
    """

    def __init__(self, spec: AgentSpec, transform: ObservationTransform) -> None:
        self.detail = ""
        self._flat = transform.flat[0]  # (sum of O,)
        self._magnitude = np.zeros_like(self._flat)
        self.joints = JointReadings(spec, self._flat)
        self._watch = JointWatch(spec, self._flat)
        self._told_by = self._watch.fields | self.joints.fields
        self._unsound: set[str] = set()  # fields of the latest frame
        self._is_clock_sound = True
        self.is_placed = False  # whether the latest frame's joint fields are fresh, finite and possible
        fields = [field for field in spec.observations if field.source is not Source.LAST_ACTION]
        # One tuple a field: the loop over them is the tick's.
        self._fields = [(field.name, field, transform.raw[field.name][0], field.shape) for field in fields]
        self._max_ages = [(field.name, field.max_age_s) for field in fields]
        self._last_stamps = dict.fromkeys((field.name for field in fields), -math.inf)
        self._last_now_s = -math.inf
        low = np.array([command.low for command in spec.commands], dtype=np.float32)  # (number of commands,)
        high = np.array([command.high for command in spec.commands], dtype=np.float32)
        self._commands = [
            (transform.raw[field.name][0], low, high) for field in fields if field.source is Source.COMMAND
        ]

    def forget_clock(self) -> None:
        """Accept any time next: after a pause the clock may be another one."""
        self._last_now_s = -math.inf
        self._watch.forget()
        self.joints.forget()
        for name in self._last_stamps:
            self._last_stamps[name] = -math.inf

    def read(self, observation: object, now_s: object, stamps_s: object = None) -> int:
        """Check and copy one frame; returns the bits of ``Fault``, 0 if it is sound.

        ``observation`` maps each field's name to its raw SI array, ``now_s`` is the tick's time in seconds on any
        monotonic clock, ``stamps_s`` maps each field to when it was measured or received, on the same clock; without
        it every field is of now. Operator commands are cut to the range that the spec gives them. Nothing that
        comes in raises.
        """
        self.detail = ""
        self.is_placed, self._is_clock_sound = False, True
        self._unsound.clear()
        faults = self._clock(now_s, stamps_s)
        if type(observation) is not dict and not isinstance(observation, Mapping):
            return faults | self._fault(_MISSING, "the observation is not a mapping")
        for name, field, buffer, shape in self._fields:
            value = observation.get(name)
            if type(value) is np.ndarray and value.dtype is buffer.dtype and value.shape == shape:
                buffer[:] = value
            elif bits := self._unusual(name, field, buffer, value):
                self._unsound.add(name)
                faults |= bits
        for buffer, low, high in self._commands:
            # Infinity must still be found below, so only a finite command is cut.
            if np.isfinite(buffer).all():
                np.minimum(buffer, high, out=buffer)
                np.maximum(buffer, low, out=buffer)
        np.abs(self._flat, out=self._magnitude)
        if not np.maximum.reduce(self._magnitude, initial=0.0) <= _LARGEST:  # also if it is NaN
            bad = [
                name
                for name, field, buffer, _ in self._fields
                if not field.is_image and name not in self._unsound and not np.abs(buffer).max() <= _LARGEST
            ]
            if bad:
                self._unsound.update(bad)
                faults |= self._fault(_NOT_FINITE, f"{', '.join(bad)}: not finite")
        if self._is_clock_sound and self._told_by.isdisjoint(self._unsound):
            bits, jump = self._watch.judge(self._last_now_s)
            if bits:
                return faults | self._fault(bits, jump)
            self.joints.take(self._last_now_s)
            self.is_placed = True
        return faults

    def _unusual(self, name: str, field: ObservationField, buffer: np.ndarray[Any, Any], value: object) -> int:
        """What is not the exact array expected: other numeric types are cast, the rest is a fault."""
        if value is None:
            return self._fault(_MISSING, f"{name}: missing")
        if not isinstance(value, np.ndarray) or value.dtype.kind not in ("u" if field.is_image else "fiu"):
            return self._fault(_TYPE, f"{name}: {getattr(value, 'dtype', type(value).__name__)}, not {field.dtype}")
        if field.is_image and value.dtype != np.uint8:
            return self._fault(_TYPE, f"{name}: {value.dtype}, not uint8")
        if value.shape != field.shape:
            return self._fault(_SHAPE, f"{name}: shape {value.shape}, not {field.shape}")
        with np.errstate(over="ignore", invalid="ignore"):  # too large for float32 becomes infinite, and is found
            buffer[...] = value
        return 0

    def _clock(self, now_s: object, stamps_s: object) -> int:
        now = _seconds(now_s)
        if not math.isfinite(now):
            self._is_clock_sound = False
            return self._fault(_CLOCK, f"the time of the tick is {now_s!r:.40}")
        faults = 0
        if now < self._last_now_s:
            faults = self._fault(_CLOCK, f"the clock went back by {self._last_now_s - now:.6g} s")
            self.forget_clock()
            self._is_clock_sound = False
        self._last_now_s = now
        if stamps_s is None:
            return faults
        if not isinstance(stamps_s, Mapping):
            self._is_clock_sound = False
            return faults | self._fault(_STALE, "the stamps are not a mapping")
        for name, max_age_s in self._max_ages:
            stamp = _seconds(stamps_s.get(name))
            # A stamp from the future within the age allowed is two clocks' disagreement; NaN fails every comparison.
            if not -max_age_s <= now - stamp <= max_age_s:
                self._unsound.add(name)
                faults |= self._fault(_STALE, f"{name}: {now - stamp:.6g} s old, max_age_s is {max_age_s:g}")
            elif stamp < self._last_stamps[name]:
                self._unsound.add(name)
                faults |= self._fault(_CLOCK, f"{name}: its stamp went back by {self._last_stamps[name] - stamp:.6g} s")
            if math.isfinite(stamp):
                self._last_stamps[name] = stamp
        return faults

    def _fault(self, bit: int, text: str) -> int:
        self.detail = f"{self.detail}; {text}" if self.detail else text
        return bit


def _seconds(value: object) -> float:
    """The value as a float, NaN if it is not a real number."""
    if type(value) is float:
        return value
    if not isinstance(value, (int, float, np.integer, np.floating)):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan
