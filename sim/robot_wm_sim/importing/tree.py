"""The shape of a robot: which joints are wheels, which hang in a chain, which in limbs. At all joints' zero.

Shape letters: 4x4 matrices take points of a link's frame into the base link's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from robot_wm_sim.importing.joints import MovingJoint
from robot_wm_sim.urdf_parts import ends, numbers_of

Matrix = NDArray[np.float64]

_ACROSS = 0.3  # largest |cosine| between the vertical and a wheel's axis
_UPRIGHT = 0.7  # least |cosine| of a steering hinge's
_TOOL_WORDS = ("tool", "tcp", "grasp", "flange", "_ee", "ee_", "eef", "end_effector")


@dataclass(frozen=True)
class Tree:
    """Links and joints of a description that is one tree (`urdf_tree.tree_of`)."""

    base: str
    links: Mapping[str, Element]
    elements: Mapping[str, Element]  # joints, those that do not move as well
    joints: Mapping[str, MovingJoint]

    def below(self, link: str) -> Iterator[str]:
        """Names of the joints that hang on a link itself."""
        return (name for name, joint in self.elements.items() if ends(joint)[0] == link)

    def joints_under(self, link: str) -> Iterator[str]:
        """Names of all joints of the part of the tree that begins with a link, fixed ones too."""
        for name in self.below(link):
            yield name
            yield from self.joints_under(ends(self.elements[name])[1])

    def is_driven(self, name: str) -> bool:
        """Whether a joint has a motor that an agent could command: none that mimics another."""
        joint = self.joints.get(name)
        return joint is not None and joint.has_motor and not joint.follows

    def moving_above(self, name: str) -> list[str]:
        """Moving joints between the base and a joint, the nearest first."""
        hung = {ends(joint)[1]: above for above, joint in self.elements.items()}
        found, link = [], ends(self.elements[name])[0]
        while link in hung:
            found += [hung[link]] if hung[link] in self.joints else []
            link = ends(self.elements[hung[link]])[0]
        return found

    @cached_property
    def places(self) -> dict[str, Matrix]:
        """Of every joint's frame in the base's."""
        found: dict[str, Matrix] = {}
        pending = [(self.base, np.eye(4))]
        while pending:
            link, place = pending.pop()
            for name in self.below(link):
                found[name] = place @ _origin(self.elements[name])
                pending.append((ends(self.elements[name])[1], found[name]))
        return found

    def axis(self, name: str) -> NDArray[np.float64]:
        """Direction [3] of a joint's axis in the base's frame, length 1."""
        element = self.elements[name].find("axis")
        axis = numbers_of("1 0 0" if element is None else element.get("xyz", "1 0 0"))
        along: NDArray[np.float64] = self.places[name][:3, :3] @ axis
        return along / max(float(np.linalg.norm(along)), 1e-9)

    def wheels(self) -> tuple[str, ...]:
        """Driven joints that turn without end about a level axis, with nothing below that moves."""
        return tuple(
            name
            for name, joint in self.joints.items()
            if self.is_driven(name)
            and joint.unit == "rad"
            and (joint.range is None or joint.range > 2 * math.pi)
            and abs(self.axis(name)[2]) < _ACROSS
            and not any(under in self.joints for under in self.joints_under(joint.child))
            and all(self._is_upright(above) for above in self.moving_above(name))  # a leg's shin turns, too
        )

    def steering(self, wheels: tuple[str, ...]) -> tuple[str, ...]:
        """Driven hinges about an upright axis with a wheel below, driven or not."""
        return tuple(
            name
            for name, joint in self.joints.items()
            if self.is_driven(name)
            and name not in wheels
            and joint.unit == "rad"
            and self._is_upright(name)
            and any(under in self.joints for under in self.joints_under(joint.child))
        )

    def chain(self) -> tuple[tuple[str, ...], str]:
        """Driven joints from the base to where moving parts branch or end, and the link there: an arm and its tool.

        What mimics another joint branches as well: a gripper begins there.
        """
        found: list[str] = []
        link = self.base
        while len(hinges := self._hinges(link)) == 1:
            found += hinges if self.is_driven(hinges[0]) else []
            link = self.joints[hinges[0]].child
        return tuple(found), self._tool(link, hinges)

    def limbs(self) -> list[list[str]]:
        """Driven joints of each part that hangs where moving parts branch first."""
        link = self.base
        while len(hinges := self._hinges(link)) == 1:
            link = self.joints[hinges[0]].child
        limbs = ([name for name in (one, *self.joints_under(self.joints[one].child))] for one in hinges)
        return [driven for limb in limbs if (driven := [name for name in limb if self.is_driven(name)])]

    def foot(self, limb: list[str]) -> str:
        """The last link of a limb with something to stand on."""
        link = self.joints[limb[0]].child
        below = [link, *(ends(self.elements[name])[1] for name in self.joints_under(link))]
        return next((one for one in reversed(below) if self.links[one].find("collision") is not None), below[-1])

    def _is_upright(self, name: str) -> bool:
        return abs(float(self.axis(name)[2])) > _UPRIGHT

    def _rigid(self, link: str) -> list[str]:
        """A link and what is fixed to it below."""
        found, pending = [], [link]
        while pending:
            found.append(pending.pop())
            pending += [ends(self.elements[name])[1] for name in self.below(found[-1]) if name not in self.joints]
        return found

    def _hinges(self, link: str) -> list[str]:
        """Moving joints that hang on a link or on what is fixed to it."""
        rigid = self._rigid(link)
        return [name for name, joint in self.joints.items() if joint.parent in rigid]

    def _tool(self, link: str, hinges: list[str]) -> str:
        """What is fixed to the last link under a tool's name, else where a gripper begins, else that link."""
        named = [one for one in self._rigid(link) if any(word in one.lower() for word in _TOOL_WORDS)]
        return named[-1] if named else self.joints[hinges[0]].parent if hinges else link


def _origin(joint: Element) -> Matrix:
    element = joint.find("origin")
    place = np.eye(4)
    if element is not None:
        place[:3, 3] = numbers_of(element.get("xyz", "0 0 0"))
        roll, pitch, yaw = numbers_of(element.get("rpy", "0 0 0"))
        place[:3, :3] = _turn(2, yaw) @ _turn(1, pitch) @ _turn(0, roll)
    return place


def _turn(axis: int, angle: float) -> Matrix:
    first, second = (axis + 1) % 3, (axis + 2) % 3
    turn = np.eye(3)
    turn[first, first] = turn[second, second] = math.cos(angle)
    turn[second, first], turn[first, second] = math.sin(angle), -math.sin(angle)
    return turn
