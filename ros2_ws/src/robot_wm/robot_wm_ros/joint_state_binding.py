"""sensor_msgs/JointState: joints are found by name, wherever they stand in the message.

This is the hot path, 200 to 1000 messages a second: where each joint stands is looked up again only when the names
differ from the last message's, and one gather takes the elements of all fields. Shape letters: N names in the message,
K arrays of it that are read, O elements of a field.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import reduce
from operator import add, attrgetter

import numpy as np
from sensor_msgs.msg import JointState

from robot_wm.spec import ObservationField
from robot_wm_ros.binding import Binding, Target, element_units, refusal

_ARRAY_OF_UNIT = {
    "rad": "position",
    "m": "position",
    "rad/s": "velocity",
    "m/s": "velocity",
    "N·m": "effort",
    "N": "effort",
}
_DIRECTION = re.compile(r"(sin|cos)\((.+)\)")  # of a position, for joints that turn without bounds
_FUNCTIONS = {"sin": np.sin, "cos": np.cos}
_SHOWN = 8  # names in a problem's text


@dataclass(frozen=True)
class _Element:
    """Where one element of a field comes from."""

    array: str
    joint: str
    function: np.ufunc | None = None


class JointStateBinding(Binding):
    """Elements are the joints that ``labels`` name; the unit says which of the message's arrays they are read from."""

    message_type = JointState

    def __init__(self, targets: list[Target]) -> None:
        super().__init__(targets)
        self._elements = [element for field, _ in targets for element in _elements(field)]  # [sum of O]
        self._joints = dict.fromkeys(element.joint for element in self._elements)  # a set that keeps its order
        self._array_names = list(dict.fromkeys(element.array for element in self._elements))  # [K]
        self._arrays = [attrgetter(name) for name in self._array_names]
        self._gathered = np.zeros(len(self._elements))  # [sum of O]
        self._places = np.zeros(len(self._elements), dtype=np.intp)  # [sum of O] in the K arrays, one after another
        ends = np.cumsum([field.shape[0] for field, _ in targets])[:-1]
        self._parts = [
            (out, part) for (_, out), part in zip(targets, np.split(self._gathered, ends), strict=True)
        ]  # ([O] float32, its [O] of `_gathered`)
        self._functions = [(i, e.function) for i, e in enumerate(self._elements) if e.function is not None]
        self._names: list[str] = []  # [N] of the last message
        self._problem = self._find([])

    def copy(self, message: JointState) -> str:
        """A message without one of the joints, or with another number of values than names, cannot be read."""
        names = message.name
        if names != self._names:
            self._problem = self._find(names)
        if self._problem:
            return self._problem
        arrays = [array_of(message) for array_of in self._arrays]  # K of array('d') [N]
        for values in arrays:
            if len(values) != len(names):
                return self._odd_length(message)
        # "clip" only because "raise" would gather into a buffer first; every place is there.
        np.frombuffer(reduce(add, arrays)).take(self._places, out=self._gathered, mode="clip")
        for element, function in self._functions:  # before float32 makes large angles coarse
            self._gathered[element] = function(self._gathered[element])
        for out, part in self._parts:
            out[:] = part
        return ""

    def _find(self, names: list[str]) -> str:
        """Look up every joint in new names; returns what is wrong with them."""
        self._names = list(names)
        places = {name: place for place, name in enumerate(names)}
        if missing := [joint for joint in self._joints if joint not in places]:
            others = [name for name in names if name not in self._joints]
            return f"no joint {_some(missing)}" + (f"; joints there: {_some(others)}" if others else "")
        if len(places) < len(names):
            return f"more than one joint {_some([name for name, count in Counter(names).items() if count > 1])}"
        self._places[:] = [
            self._array_names.index(element.array) * len(names) + places[element.joint] for element in self._elements
        ]
        return ""

    def _odd_length(self, message: JointState) -> str:
        lengths = [f"{name} has {len(getattr(message, name))}" for name in self._array_names]
        return f"{len(message.name)} names, but {' and '.join(lengths)} values"


def _elements(field: ObservationField) -> list[_Element]:
    if not field.labels:
        raise refusal(field, "labels must name the joints")
    directions = [_DIRECTION.fullmatch(label) for label in field.labels]
    if any(directions):
        if not all(directions) or field.unit != "1":
            raise refusal(field, "sin(joint) and cos(joint) have unit '1', and no other labels beside them")
        return [_Element("position", match[2], _FUNCTIONS[match[1]]) for match in directions if match]
    units = element_units(field)
    if unknown := [unit for unit in units if unit not in _ARRAY_OF_UNIT]:
        raise refusal(field, f"a JointState has nothing in {unknown[0]!r}, only {', '.join(_ARRAY_OF_UNIT)}")
    return [_Element(_ARRAY_OF_UNIT[unit], joint) for unit, joint in zip(units, field.labels, strict=True)]


def _some(names: list[str]) -> str:
    shown = ", ".join(f"{name!r:.60}" for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
