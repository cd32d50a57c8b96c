"""Which elements of an observation tell of gravity, turning and joints. Shape letters: O elements of all vector fields,
K joints.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robot_wm.runtime.joints import JointElements, joint_elements
from robot_wm.spec import AgentSpec, JointRole, ObservationField, Source

GRAVITY = "projected_gravity"  # by this name a field is the direction of gravity in the base's axes, of length 1
_AXES = ("x", "y", "z")


@dataclass(frozen=True)
class Placed:
    """A vector field and where it lies in O."""

    field: ObservationField
    where: slice


def vector_fields(spec: AgentSpec) -> dict[str, Placed]:
    """By name, in the order in which they lie end to end."""
    start, found = 0, {}
    for field in spec.observations:
        if not field.is_image:
            found[field.name] = Placed(field, slice(start, start + field.shape[0]))
            start += field.shape[0]
    return found


class LiveFields:
    """What of a spec the live check knows the meaning of; None or empty where the spec has nothing of the kind."""

    def __init__(self, spec: AgentSpec) -> None:
        self.vectors = vector_fields(spec)
        self.elements = sum(placed.field.shape[0] for placed in self.vectors.values())  # O
        gravity = self.vectors.get(GRAVITY)
        is_direction = gravity is not None and gravity.field.unit == "1" and gravity.field.labels == _AXES
        self.gravity = gravity if is_direction else None
        # A gyroscope is known by being beside gravity: other fields have rates of turning, too.
        self.gyro = next(
            (
                placed
                for placed in self.vectors.values()
                if self.gravity is not None
                and placed.field.topic == self.gravity.field.topic
                and placed.field.unit == "rad/s"
                and placed.field.labels == _AXES
            ),
            None,
        )
        self.position = joint_elements(spec, JointRole.POSITION)
        self.velocity = joint_elements(spec, JointRole.VELOCITY)
        known = {self.position.field, self.velocity.field} | {
            placed.field.name for placed in (self.gravity, self.gyro) if placed is not None
        }
        self.others = tuple(
            placed
            for name, placed in self.vectors.items()
            if name not in known and placed.field.source is Source.SENSOR
        )
        # Joints that both fields tell: their places in the action, and in O.
        both = [joint for joint in self.position.joints if joint in self.velocity.joints]
        self.joints = np.array(both, dtype=np.intp)  # [K]
        self.position_places = np.array([_place(self.position, joint) for joint in both], dtype=np.intp)  # [K]
        self.velocity_places = np.array([_place(self.velocity, joint) for joint in both], dtype=np.intp)  # [K]


def _place(elements: JointElements, joint: int) -> int:
    return elements.places[elements.joints.index(joint)]
