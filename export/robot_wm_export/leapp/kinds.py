"""LEAPP's semantic kinds and what they are in an AgentSpec: element by element, by name and unit, never by index.

Kinds are those of leapp 0.7.2 (`InputKindEnum`, `OutputKindEnum`) and, for a camera and a target, those of Isaac ROS
Deploy's converter catalog. Values are in SI units on both sides; names of a twist's elements are Isaac Lab's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from robot_wm.spec import AgentSpec, JointRole, ObservationField, Source

KP, KD = "kp", "kd"
ROTATION = "state/body/rotation"
IMAGE = "state/camera/image"
GRAVITY_KIND = "state/vector3d"  # LEAPP knows no projected gravity: the field's name says it
GRAVITY = "projected_gravity"  # the field of a spec that stands for the body's roll and pitch
XYZ = ("x", "y", "z")
QUATERNION = ("qx", "qy", "qz", "qw")


@dataclass(frozen=True)
class InputKind:
    """What a kind of input is among a spec's observations."""

    units: tuple[str, ...]  # of its elements, any of them
    source: Source
    elements: tuple[str, ...] | None = None  # the only names that it may have; None: joints

    @property
    def is_joint(self) -> bool:
        """Whether its elements are joints."""
        return self.elements is None


INPUT_KINDS: dict[str, InputKind] = {
    "state/joint/position": InputKind(("rad", "m"), Source.SENSOR),
    "state/joint/velocity": InputKind(("rad/s", "m/s"), Source.SENSOR),
    "state/joint/effort": InputKind(("N·m", "N"), Source.SENSOR),
    "state/body/angular_velocity": InputKind(("rad/s",), Source.SENSOR, XYZ),
    "state/body/linear_velocity": InputKind(("m/s",), Source.SENSOR, XYZ),
    "state/body/linear_acceleration": InputKind(("m/s²", "m/s^2"), Source.SENSOR, XYZ),
    "state/body/position": InputKind(("m",), Source.SENSOR, XYZ),
    "command/body/target_position": InputKind(("m",), Source.COMMAND, XYZ),
    "command/body/velocity": InputKind(("m/s", "rad/s"), Source.COMMAND, ("lin_vel_x", "lin_vel_y", "ang_vel_z")),
    "command/joint/position": InputKind(("rad", "m"), Source.COMMAND),
    "command/joint/velocity": InputKind(("rad/s", "m/s"), Source.COMMAND),
}
# An action's mode -> the kind that it is written as; what is read has one more name.
TARGET_KINDS = {
    "position": "target/joint/position",
    "velocity": "target/joint/velocity",
    "effort": "target/joint/effort",
}
MODE_OF_TARGET = {kind: mode for mode, kind in TARGET_KINDS.items()} | {"target/joint/torques": "effort"}
_KIND_OF_ROLE = {
    JointRole.POSITION: "state/joint/position",
    JointRole.VELOCITY: "state/joint/velocity",
    JointRole.EFFORT: "state/joint/effort",
}
_TWIST = {
    **dict.fromkeys(("lin_vel_x", "lin_x", "linear_x"), "lin_vel_x"),
    **dict.fromkeys(("lin_vel_y", "lin_y", "linear_y"), "lin_vel_y"),
    **dict.fromkeys(("ang_vel_z", "ang_z", "angular_z"), "ang_vel_z"),
}
_QUATERNION = {name: name for name in QUATERNION} | {f"{letter}": f"q{letter}" for letter in "xyzw"}


def canonical(kind: str, names: Sequence[str]) -> tuple[str, ...]:
    """Names of elements as they are compared: a twist's and a quaternion's have several spellings."""
    spelt = {"command/body/velocity": _TWIST, ROTATION: _QUATERNION}.get(kind, {})
    return tuple(spelt.get(name, name) for name in names)


def kind_of_field(field: ObservationField, spec: AgentSpec) -> str | None:
    """The kind that a field of a spec is written as; None where LEAPP has none for it."""
    if field.is_image:
        return IMAGE
    if field.role is not None:
        return _KIND_OF_ROLE[field.role]
    if field.source is Source.LAST_ACTION:
        return None
    if field.name == GRAVITY and field.labels == XYZ:
        return GRAVITY_KIND
    units = set(field.element_units())
    for kind, entry in INPUT_KINDS.items():
        if entry.source is not field.source or not units or not units <= set(entry.units):
            continue
        if entry.elements is not None and canonical(kind, field.labels) == entry.elements:
            return kind
    # A joint that the agent does not command has no role; its topic tells it from any other number of that unit.
    if field.source is Source.SENSOR and field.labels and field.topic.rsplit("/", 1)[-1] == "joint_states":
        return next((k for k, entry in INPUT_KINDS.items() if entry.is_joint and units <= set(entry.units)), None)
    return None


def find_elements(spec: AgentSpec, kind: str, names: Sequence[str]) -> list[tuple[ObservationField, int] | None]:
    """Where each named element of an input of this kind is among the observations; None where it is nowhere.

    By the element's name and unit among fields of the kind's source. A name that two fields have is nowhere.
    """
    entry = INPUT_KINDS[kind]
    wanted = canonical(kind, names)
    found: dict[str, list[tuple[ObservationField, int]]] = {}
    for field in spec.observations:
        if field.is_image or field.source is not entry.source:
            continue
        for index, (label, unit) in enumerate(zip(canonical(kind, field.labels), field.element_units(), strict=False)):
            if unit in entry.units:
                found.setdefault(label, []).append((field, index))
    if not entry.is_joint and kind.startswith("state/") and (named := _named_after(spec, kind)) is not None:
        found = {label: [(named, index)] for index, label in enumerate(named.labels)}
    places = [found.get(name, []) for name in wanted]
    return [place[0] if len(place) == 1 else None for place in places]


def _named_after(spec: AgentSpec, kind: str) -> ObservationField | None:
    """Of several fields with elements x, y, z the one whose name is the kind's own last part."""
    return next((field for field in spec.observations if field.name == kind.rsplit("/", 1)[-1]), None)
