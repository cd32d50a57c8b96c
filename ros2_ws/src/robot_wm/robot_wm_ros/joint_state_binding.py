"""sensor_msgs/JointState: joints are found by name, wherever they stand in the message.

This is the hot path, 200 to 1000 messages a second: where each joint stands is looked up again only when the names
differ from the last message's. Shape letters: N names in the message, O elements of a field.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray
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
_SHOWN = 8  # names in a problem's text


class JointStateBinding(Binding):
    """Elements are the joints that ``labels`` name; the unit says which of the message's arrays they are read from."""

    message_type = JointState

    def __init__(self, targets: list[Target]) -> None:
        super().__init__(targets)
        self._readers = [_ArrayReader(field, out) for field, out in targets]
        self._joints = list(dict.fromkeys(joint for reader in self._readers for joint in reader.joints))
        self._names: list[str] = []  # [N] of the last message
        self._count = 0
        self._problem = self._find([])

    def copy(self, message: JointState) -> str:
        """A message without one of the joints, or with another number of values than names, cannot be read."""
        names = message.name
        if names != self._names:
            self._problem = self._find(names)
        if self._problem:
            return self._problem
        for reader in self._readers:
            values = reader.array_of(message)  # array('d') [N]
            if len(values) != self._count:
                return f"{reader.array} has {len(values)} values for {self._count} names"
            reader.copy(values)
        return ""

    def _find(self, names: list[str]) -> str:
        """Look up every joint in new names; returns what is wrong with them."""
        self._names = list(names)
        self._count = len(names)
        places = {name: place for place, name in enumerate(names)}
        if missing := [joint for joint in self._joints if joint not in places]:
            unknown = [name for name in names if name not in self._joints]
            return f"no joint {_some(missing)}" + (f"; other joints there: {_some(unknown)}" if unknown else "")
        if len(places) < len(names):
            return f"more than one joint {_some([name for name, count in Counter(names).items() if count > 1])}"
        for reader in self._readers:
            reader.places = np.array([places[joint] for joint in reader.joints], dtype=np.intp)
        return ""


class _ArrayReader:
    """Takes one field's elements out of one of the message's arrays."""

    def __init__(self, field: ObservationField, out: NDArray[np.float32]) -> None:
        if not field.labels:
            raise refusal(field, "labels must name the joints")
        directions = [_DIRECTION.fullmatch(label) for label in field.labels]
        self._out = out  # [O]
        self.places: NDArray[np.intp] = np.zeros(len(field.labels), dtype=np.intp)  # [O]
        self._functions: list[Callable[..., Any]] | None = None
        if any(directions):
            if not all(directions) or field.unit != "1":
                raise refusal(field, "sin(joint) and cos(joint) have unit '1', and no other labels beside them")
            self.array = "position"
            self.joints = tuple(match[2] for match in directions if match)
            self._functions = [np.sin if match[1] == "sin" else np.cos for match in directions if match]
        else:
            arrays = {_ARRAY_OF_UNIT.get(unit) for unit in element_units(field)}
            array = arrays.pop()
            if arrays or array is None:
                raise refusal(field, f"a JointState holds {', '.join(_ARRAY_OF_UNIT)}, and a field one kind of them")
            self.array, self.joints = array, field.labels
        self.array_of = attrgetter(self.array)

    def copy(self, values: Any) -> None:
        """Take the elements out of an array('d') [N]; sines and cosines before float32 makes large angles coarse."""
        if self._functions is None:
            self._out[:] = np.frombuffer(values).take(self.places)
        else:
            for element, (function, place) in enumerate(zip(self._functions, self.places, strict=True)):
                self._out[element] = function(values[place])


def _some(names: list[str]) -> str:
    shown = ", ".join(f"{name!r:.60}" for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
