"""Legs of an imported robot: how long they are, how they are bent to stand, and what their feet are.

A leg is bent by those of its hinges that turn about one level axis across the robot: hip and knee, and an ankle. Its
foot comes to lie straight below the hip, with the knee behind it where the stops allow both ways, and an ankle keeps
the foot as it is when all joints are at zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot_wm_sim.importing.joints import MovingJoint
from robot_wm_sim.importing.measure import Measured
from robot_wm_sim.importing.tree import Tree
from robot_wm_sim.urdf_parts import ends

# Of a leg's length, from hip to foot where it stands: legged_gym's A1 has 0.73, the MIT's mini cheetah 0.70; who stands
# on two legs bends them less, as each bears twice as much (Unitree's G1 has 0.99).
BENT, BENT_OF_TWO = 0.75, 0.95
_ACROSS = 0.7  # least |cosine| between a hinge's axis and the robot's left, to bend the leg
Point = NDArray[np.float64]  # [3] m


@dataclass(frozen=True)
class Foot:
    """What a leg stands on."""

    link: str
    centre: Point  # in the link's frame: of a ball, or of the end of another shape
    radius_m: float  # sole under the centre; 0 unless it is a ball


@dataclass(frozen=True)
class Leg:
    """Joints of a limb that bend it, from the hip on, and the points between them at all joints' zero."""

    hinges: tuple[MovingJoint, ...]
    turns: tuple[float, ...]  # of each hinge: 1 where its axis is the hip's, -1 where it is opposite
    axis: Point  # of the hip, length 1
    points: tuple[Point, ...]  # of each hinge, then of the foot: in the base's frame
    foot: Foot

    @property
    def length_m(self) -> float:
        """From hip to foot, stretched."""
        return float(sum(np.linalg.norm(b - a) for a, b in zip(self.points, self.points[1:], strict=False)))

    def bent(self, share: float) -> dict[str, float]:
        """Home of each hinge, rad, with the foot at that share of the leg below its hip.

        {} where the leg has no knee, or neither way of bending it lies within the stops.
        """
        if len(self.hinges) not in (2, 3):
            return {}
        down = np.array([0.0, 0.0, -1.0])
        down = down - (down @ self.axis) * self.axis
        down /= np.linalg.norm(down)
        ahead = np.cross(self.axis, down)  # where a turn about the hip's axis takes what hangs

        def flat(vector: Point) -> tuple[float, float]:
            """Length and angle from straight down of a vector in the leg's plane, m and rad."""
            x, y = float(vector @ down), float(vector @ ahead)
            return math.hypot(x, y), math.atan2(y, x)

        (thigh, thigh_at), (shin, shin_at) = (
            flat(self.points[1] - self.points[0]),
            flat(self.points[2] - self.points[1]),
        )
        way = share * (thigh + shin)
        if min(thigh, shin) <= 0.0 or way <= abs(thigh - shin):
            return {}
        at_hip = math.acos((thigh**2 + way**2 - shin**2) / (2.0 * thigh * way))
        at_foot = math.acos((shin**2 + way**2 - thigh**2) / (2.0 * shin * way))
        found = []
        for side in (1.0, -1.0):
            hip = side * at_hip - thigh_at
            knee = -side * at_foot - shin_at - hip
            turns = (hip, knee, -hip - knee)
            homes = {
                joint.name: _wrapped(sign * turn)
                for joint, sign, turn in zip(self.hinges, self.turns, turns, strict=False)
            }
            knee_x = float((math.sin(side * at_hip) * ahead)[0])
            if all(_reaches(joint, homes[joint.name]) for joint in self.hinges):
                found.append((knee_x, homes))
        return min(found, key=lambda one: one[0])[1] if found else {}


def legs_of(tree: Tree, feet: tuple[str, ...], measured: Measured) -> Iterator[Leg]:
    """The leg of each foot, in the order of the feet."""
    hung = {joint.child: name for name, joint in tree.joints.items()}
    above = {ends(element)[1]: name for name, element in tree.elements.items()}
    for foot in feet:
        last = hung[foot] if foot in hung else tree.moving_above(above[foot])[0]
        driven = [name for name in reversed([last, *tree.moving_above(last)]) if tree.is_driven(name)]
        across = [name for name in driven if tree.joints[name].unit == "rad" and abs(tree.axis(name)[1]) >= _ACROSS]
        chosen = across if len(across) >= 2 else driven
        axis = tree.axis(chosen[0])
        place = tree.places[above[foot]]
        knee = np.linalg.inv(place) @ np.append(tree.places[last][:3, 3], 1.0)
        centre, radius_m = measured.end_of(foot, knee[:3])
        yield Leg(
            hinges=tuple(tree.joints[name] for name in chosen) if len(across) >= 2 else (),
            turns=tuple(math.copysign(1.0, float(tree.axis(name) @ axis)) for name in chosen),
            axis=axis,
            points=(*(tree.places[name][:3, 3] for name in chosen), (place @ np.append(centre, 1.0))[:3]),
            foot=Foot(foot, centre, radius_m),
        )


def homes_of(legs: list[Leg], joints: Mapping[str, MovingJoint]) -> dict[str, float]:
    """Home of every joint that is bent, and of those that mimic one, rad to four digits."""
    share = BENT if len(legs) > 2 else BENT_OF_TWO
    homes = {name: round(home, 4) for leg in legs for name, home in leg.bent(share).items()}
    for name, joint in joints.items():
        if joint.mimics is not None and joint.mimics.joint in homes:
            homes[name] = joint.mimics.at(homes[joint.mimics.joint])
    return homes


def _wrapped(angle: float) -> float:
    return math.remainder(angle, 2.0 * math.pi)


def _reaches(joint: MovingJoint, home: float) -> bool:
    return joint.position is None or joint.position[0] <= home <= joint.position[1]
