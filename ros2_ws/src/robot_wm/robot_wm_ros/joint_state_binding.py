"""sensor_msgs/JointState: joints are found by name, wherever they stand in the message.

One topic may carry several robots' parts: messages that name other joints each (an arm, its gripper) are put together
by name, and what is none of ours is passed over. What is known is then as old as its oldest part. Messages that name
some of the same joints are one source whose names have changed: the newer ones count.

This is the hot path, 200 to 1000 messages a second: where each joint stands is looked up again only for names that are
new, and one gather takes the elements of all fields. Shape letters: N names in the message, K arrays of it that are
read, O elements of a field, E elements that one source tells.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from operator import add, attrgetter
from time import monotonic
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
_FUNCTIONS = {"sin": np.sin, "cos": np.cos}
_SHOWN = 8  # names in a problem's text
_MAX_FOREIGN = 16  # sources of other joints; whoever publishes ever new names does not fill the memory
_GONE_S = 1.0  # behind the newest message; a source that is older does not publish any more


@dataclass(frozen=True)
class _Element:
    """Where one element of a field comes from."""

    array: str
    joint: str
    function: np.ufunc | None = None


@dataclass
class _Source:
    """What messages with one list of names tell us."""

    names: list[str]  # [N]
    joints: frozenset[str]  # the same, without order
    problem: str = ""  # what is wrong with the names themselves
    array_names: list[str] = field(default_factory=list)  # [K]
    arrays: list[Callable[[Any], Any]] = field(default_factory=list)  # [K]
    elements: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))  # [E] in all fields' elements
    places: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))  # [E] in the K arrays, end to end
    functions: list[tuple[int, np.ufunc]] = field(default_factory=list)
    stamp_s: float = -math.inf  # of its last message that could be read
    heard_s: float = -math.inf  # when that came, on the steady clock


class JointStateBinding(Binding):
    """Elements are the joints that ``labels`` name; the unit says which of the message's arrays they are read from."""

    message_type = JointState
    topics = "joint_states"

    def __init__(self, targets: list[Target]) -> None:
        super().__init__(targets)
        self._elements = [element for field, _ in targets for element in _elements(field)]  # [sum of O]
        self._joints = dict.fromkeys(element.joint for element in self._elements)  # a set that keeps its order
        self._gathered = np.zeros(len(self._elements))  # [sum of O]
        ends = np.cumsum([field.shape[0] for field, _ in targets])[:-1]
        self._parts = [
            (out, part) for (_, out), part in zip(targets, np.split(self._gathered, ends), strict=True)
        ]  # ([O] float32, its [O] of `_gathered`)
        self._sources: list[_Source] = []  # no two have a joint in common
        self._ours: list[_Source] = []  # those that tell of our joints
        self._missing: list[str] = list(self._joints)  # of which no source tells
        self._last = _Source([], frozenset(), problem=f"no joint {_some(self._missing)}")
        self._is_sound = False

    def copy(self, message: JointState) -> str:
        """A message with another number of values than names cannot be read, nor any while one of the joints lacks."""
        names, source = message.name, self._last
        self._is_sound = False
        if names != source.names:
            source = self._last = self._source(names)
        if source.problem:
            return source.problem
        if source.arrays:
            arrays = [array_of(message) for array_of in source.arrays]  # K of array('d') [N]
            for values in arrays:
                if len(values) != len(names):
                    return self._odd_length(message)
            self._gathered[source.elements] = np.frombuffer(reduce(add, arrays))[source.places]
            for element, function in source.functions:  # before float32 makes large angles coarse
                self._gathered[element] = function(self._gathered[element])
        self._is_sound = True
        if self._missing:
            others = [name for name in names if name not in self._joints]
            return f"no joint {_some(self._missing)}" + (f"; joints there: {_some(others)}" if others else "")
        for out, part in self._parts:
            out[:] = part
        return ""

    def settle(self, stamp_s: float) -> float:
        """The oldest part's stamp; NaN after a message of other joints than ours."""
        if self._is_sound:
            # By when it came, too: not every driver stamps what nobody needs.
            self._last.stamp_s, self._last.heard_s = stamp_s, monotonic()
        if not self._last.arrays:
            return math.nan
        return min([source.stamp_s for source in self._ours])

    def sources(self) -> int:
        """How many lists of joints are being published, none of which has a joint of another."""
        newest_s = max((source.heard_s for source in self._sources), default=-math.inf)
        return sum(source.heard_s >= newest_s - _GONE_S for source in self._sources)

    def _source(self, names: list[str]) -> _Source:
        """Whose message it is, by its names; a new one takes the place of those that it has a joint in common with."""
        for known in self._sources:
            if known.names == names:
                return known
        source = self._find(list(names))
        if not source.problem or source.joints:
            others = [known for known in self._sources if known.joints.isdisjoint(source.joints)]
            foreign = [known for known in others if not known.arrays]
            if len(foreign) >= _MAX_FOREIGN:
                others.remove(foreign[0])
            self._sources = [*others, source]
            self._ours = [known for known in self._sources if known.arrays]
            told = frozenset[str]().union(*(known.joints for known in self._sources if not known.problem))
            self._missing = [joint for joint in self._joints if joint not in told]
        return source

    def _find(self, names: list[str]) -> _Source:
        """Look up our joints in new names."""
        places = {name: place for place, name in enumerate(names)}
        source = _Source(names, frozenset(places))
        if len(places) < len(names):
            twice = [name for name, count in Counter(names).items() if count > 1]
            source.problem = f"more than one joint {_some(twice)}"
        if not names:
            source.problem = f"no joint {_some(list(self._joints))}"
        told = [(index, element) for index, element in enumerate(self._elements) if element.joint in places]
        source.array_names = list(dict.fromkeys(element.array for _, element in told))
        source.arrays = [attrgetter(name) for name in source.array_names]
        source.elements = np.array([index for index, _ in told], dtype=np.intp)
        begin = {name: number * len(names) for number, name in enumerate(source.array_names)}
        source.places = np.array([begin[element.array] + places[element.joint] for _, element in told], dtype=np.intp)
        source.functions = [(index, element.function) for index, element in told if element.function is not None]
        return source

    def _odd_length(self, message: JointState) -> str:
        lengths = [f"{name} has {len(getattr(message, name))}" for name in self._last.array_names]
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
