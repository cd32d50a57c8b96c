"""AgentSpec: the one contract between simulator, learner, bundle, node and firmware.

Values cross every seam raw and in SI units. The spec says how the Controller turns them into what the
graph sees (scale, clip, history) and how the graph's action, in policy units, becomes a command.
Shape letters: O one observation field's flat size, F history frames, A action dimensions.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from robot_wm.errors import UserError

# Robots rename topics and frames, and a role is for those who watch the joints: none of them makes a policy another.
_NOT_OF_THE_POLICY = frozenset({"topic", "frame", "role"})
# Of one field with its history, and of all inputs of the graph: ten 2048 x 1024 pictures. A spec comes with files that
# nobody vouches for, and everyone who reads it allocates what it says.
MAX_TENSOR_ELEMENTS = 2**26


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("must be finite")
    return value


Finite = Annotated[float, AfterValidator(_finite)]
Positive = Annotated[float, AfterValidator(_finite), Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(str, Enum):
    """Who supplies an observation field."""

    SENSOR = "sensor"  # a topic, or the simulator
    COMMAND = "command"  # the operator; see CommandField
    LAST_ACTION = "last_action"  # the Controller itself: the command really executed at the previous tick, SI


class JointRole(str, Enum):
    """What a sensor's field tells of the commanded joints, for those who watch the joints; see ``AgentSpec``."""

    POSITION = "joint_position"  # rad or m
    VELOCITY = "joint_velocity"  # rad/s or m/s
    EFFORT = "joint_effort"  # N·m or N


_UNITS_OF_ROLE = {
    JointRole.POSITION: ("rad", "m"),
    JointRole.VELOCITY: ("rad/s", "m/s"),
    JointRole.EFFORT: ("N·m", "N"),
}


class ObservationField(_Frozen):
    """One named observation.

    Vectors are float32 of shape (O,); images are uint8 of shape (height, width, channels).
    The graph sees ``clip((raw - offset) * scale)``; an image goes in untouched.
    """

    name: Name
    shape: tuple[Annotated[int, Field(gt=0)], ...] = Field(min_length=1, max_length=3)
    dtype: Literal["float32", "uint8"] = "float32"
    unit: str = Field(description="SI unit of the raw value; '1' for a pure number")
    labels: tuple[str, ...] = Field(
        default=(), description="name of each element; joint names where there is one a joint"
    )
    offset: tuple[Finite, ...] = Field(default=(0.0,), description="raw unit; one, or one an element")
    scale: tuple[Finite, ...] = Field(default=(1.0,), description="per raw unit; one, or one an element")
    clip: Positive | None = Field(default=None, description="bound of |scaled value|")
    source: Source = Source.SENSOR
    role: JointRole | None = Field(default=None, description="what it tells of the commanded joints; said, not guessed")
    topic: str = ""
    frame: str = ""
    max_age_s: Positive = Field(default=0.1, description="older than this, the value is stale")

    @model_validator(mode="after")
    def _consistent(self) -> ObservationField:
        if self.is_image != (self.dtype == "uint8") or len(self.shape) == 2:
            raise ValueError(
                f"field {self.name}: float32 fields have shape (O,), uint8 images (H, W, C); got {self.shape}"
            )
        if self.is_image and (self.offset != (0.0,) or self.scale != (1.0,) or self.clip is not None):
            raise ValueError(f"field {self.name}: an image takes no offset, scale or clip")
        for key in ("offset", "scale", "labels"):
            if len(getattr(self, key)) not in (0 if key == "labels" else 1, self.shape[0]) and not self.is_image:
                raise ValueError(
                    f"field {self.name}: {key} has {len(getattr(self, key))} entries for shape {self.shape}"
                )
        return self

    @property
    def is_image(self) -> bool:
        """Whether this is a camera image rather than a vector."""
        return len(self.shape) == 3

    def element_units(self) -> tuple[str, ...]:
        """Unit of each element: ``unit`` is one for all, or a list with commas; () if that has another length."""
        units = tuple(unit.strip() for unit in self.unit.split(","))
        units = units * self.shape[0] if len(units) == 1 else units
        return units if len(units) == self.shape[0] else ()


class JointLimits(_Frozen):
    """Limits of one commanded joint, in SI units; None where the joint has no such limit."""

    position: tuple[Finite, Finite] | None = Field(default=None, description="rad or m")
    velocity: Positive | None = Field(default=None, description="rad/s or m/s")
    effort: Positive | None = Field(default=None, description="N·m or N")
    rate: Positive | None = Field(default=None, description="largest change of the command per second, command unit/s")

    @model_validator(mode="after")
    def _ordered(self) -> JointLimits:
        if self.position is not None and not self.position[0] < self.position[1]:
            raise ValueError(f"position limits {self.position} are not in ascending order")
        return self


class ActionSpec(_Frozen):
    """What the agent commands.

    The graph's action lies in [-1, 1] per dimension (one-hot when discrete). A continuous command is
    ``offset + scale * clip * action`` in the command's SI unit, where ``scale`` is the SI value of one
    policy unit (legged_gym's 0.25 rad) and ``clip`` how many policy units the agent may ask for.
    """

    mode: Literal["position", "velocity", "effort", "discrete"]
    joints: tuple[str, ...] = Field(min_length=1, description="names in order; matched by name, never by index")
    unit: str
    scale: tuple[Finite, ...] = Field(default=(1.0,), description="SI units per policy unit; one, or one a joint")
    offset: tuple[Finite, ...] = Field(default=(0.0,), description="SI command of a zero action; one, or one a joint")
    clip: Positive = Field(default=1.0, description="largest |action| in policy units")
    limits: tuple[JointLimits, ...] = Field(default=(), description="one a joint, or none for a simulated toy")

    @model_validator(mode="after")
    def _consistent(self) -> ActionSpec:
        n = len(self.joints)
        if len(set(self.joints)) != n:
            raise ValueError(f"joint names are not unique: {self.joints}")
        for key, allowed in (("scale", (1, n)), ("offset", (1, n)), ("limits", (0, n))):
            if len(getattr(self, key)) not in allowed:
                raise ValueError(f"action.{key} has {len(getattr(self, key))} entries for {n} joints")
        if any(s == 0 for s in self.scale):
            raise ValueError("action.scale must not be zero")
        if self.mode == "discrete" and (n < 2 or self.limits):
            raise ValueError("a discrete action has at least two choices and no joint limits")
        return self

    @property
    def is_discrete(self) -> bool:
        """Whether the action is one of ``joints`` (here the names of the choices), as a one-hot vector."""
        return self.mode == "discrete"


class CommandField(_Frozen):
    """One element of what the operator asks for, such as a forward velocity."""

    name: Name
    unit: str
    low: Finite
    high: Finite

    @model_validator(mode="after")
    def _ordered(self) -> CommandField:
        if not self.low < self.high:
            raise ValueError(f"command {self.name}: low {self.low} is not below high {self.high}")
        return self


class FirmwareProfile(_Frozen):
    """The drive settings that the agent was trained with; a robot with others is another robot."""

    name: str
    kp: tuple[Finite, ...] = Field(default=(), description="N·m/rad or N/m, one a joint")
    kd: tuple[Finite, ...] = Field(default=(), description="N·m·s/rad or N·s/m, one a joint")


class InputShape(_Frozen):
    """Shape of one graph input ``obs/<field>`` without its batch axis."""

    shape: tuple[int, ...]
    dtype: Literal["float32", "uint8"]


class Difference(_Frozen):
    """One field in which two specs differ; a side that lacks it shows None."""

    path: str
    left: Any
    right: Any

    def __str__(self) -> str:
        return f"{self.path}: {self.left!r} != {self.right!r}"


class AgentSpec(_Frozen):
    """Everything that must be the same wherever one agent is trained, exported and run.

    At most one field has each role; it is a sensor's vector whose labels name commanded joints, each once (others may
    stand beside them), in the role's units, and in the command's own where the two are compared.
    """

    spec_version: Literal[1] = 1
    task: str
    robot: str
    control_rate_hz: Positive
    physics_rate_hz: Positive
    history_length: Annotated[int, Field(ge=1, le=64)] = Field(default=1, description="frames F that the graph sees")
    observations: tuple[ObservationField, ...] = Field(min_length=1)
    action: ActionSpec
    commands: tuple[CommandField, ...] = ()
    firmware: FirmwareProfile

    @model_validator(mode="after")
    def _consistent(self) -> AgentSpec:
        elements = sum(math.prod(field.shape) for field in self.model_inputs().values())
        if elements > MAX_TENSOR_ELEMENTS:
            largest = max(self.observations, key=lambda field: math.prod(field.shape))
            raise ValueError(
                f"observations have {elements} elements, history included; at most {MAX_TENSOR_ELEMENTS} in all"
                f" (the largest field is {largest.name}, {largest.shape})"
            )
        names = [field.name for field in self.observations]
        if len(set(names)) != len(names):
            raise ValueError(f"observation names are not unique: {names}")
        ratio = self.physics_rate_hz / self.control_rate_hz
        if not math.isfinite(ratio) or abs(ratio - round(ratio)) > 1e-9 or round(ratio) < 1:
            raise ValueError(
                f"physics_rate_hz {self.physics_rate_hz} is not a multiple of control_rate_hz {self.control_rate_hz}"
            )
        for field in self.observations:
            wanted = {Source.COMMAND: len(self.commands), Source.LAST_ACTION: len(self.action.joints)}.get(field.source)
            if wanted is not None and field.shape != (wanted,):
                raise ValueError(
                    f"field {field.name}: shape {field.shape}, but its {field.source.value} has {wanted} entries"
                )
        for role in JointRole:
            marked = [field for field in self.observations if field.role is role]
            if len(marked) > 1:
                raise ValueError(
                    f"role {role.value}: fields {' and '.join(field.name for field in marked)} both have it"
                )
            for field in marked:
                _require_role(field, role, self.action)
        n = len(self.action.joints)
        for key in ("kp", "kd"):
            if len(getattr(self.firmware, key)) not in (0, n):
                raise ValueError(f"firmware.{key} has {len(getattr(self.firmware, key))} entries for {n} joints")
        return self

    @property
    def control_period_s(self) -> float:
        """Time between two ticks of the agent, in seconds."""
        return 1.0 / self.control_rate_hz

    @property
    def physics_steps(self) -> int:
        """Physics steps per tick of the agent."""
        return round(self.physics_rate_hz / self.control_rate_hz)

    @property
    def action_dim(self) -> int:
        """A: joints, or choices of a discrete action."""
        return len(self.action.joints)

    def model_inputs(self) -> dict[str, InputShape]:
        """Shapes of the graph's ``obs/<field>`` inputs: vectors (F*O,), oldest frame first; images (H, W, C)."""
        return {
            field.name: InputShape(
                shape=field.shape if field.is_image else (self.history_length * field.shape[0],), dtype=field.dtype
            )
            for field in self.observations
        }

    def content_hash(self) -> str:
        """SHA-256 (hex) of the canonical JSON, leaving out topics, frames and roles: no part of the policy."""
        body = json.dumps(_without_names(self.model_dump(mode="json")), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(body.encode()).hexdigest()

    def to_json(self) -> str:
        """Indented JSON with every field; ``from_json`` gives back an equal spec."""
        return self.model_dump_json(indent=2)

    @classmethod
    def from_json(cls, text: str | bytes, *, origin: str = "AgentSpec") -> AgentSpec:
        """Parse a spec; raises UserError naming ``origin``, the field and its value."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise UserError.from_validation(error, origin=origin) from None

    @classmethod
    def load(cls, path: Path) -> AgentSpec:
        """Read a spec from a JSON file."""
        try:
            text = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path}: cannot read the AgentSpec: {error.strerror}") from None
        return cls.from_json(text, origin=str(path))


def diff(left: AgentSpec, right: AgentSpec, *, names: bool = False) -> list[Difference]:
    """Fields in which two specs differ, with dotted paths such as ``action.limits.2.effort``.

    Observation fields and joints' limits are paired by name, so that a moved joint shows as a move and not as
    a change of everything. ``names=True`` also lists topics, frames and roles, which the hash leaves out.
    """
    a, b = left.model_dump(mode="json"), right.model_dump(mode="json")
    for body in (a, b):
        body["observations"] = {field["name"]: field for field in body["observations"]} | {
            "order": [field["name"] for field in body["observations"]]
        }
        joints = body["action"]["joints"]
        body["action"]["limits"] = dict(zip(joints, body["action"]["limits"], strict=False))
    if not names:
        a, b = _without_names(a), _without_names(b)
    return list(_differences("", a, b))


def require_same(expected: AgentSpec, actual: AgentSpec, *, origin: str) -> None:
    """Refuse (UserError) a spec with another hash, naming every field that differs."""
    if expected.content_hash() != actual.content_hash():
        raise UserError(f"{origin}: made for another agent: " + "; ".join(map(str, diff(expected, actual))))


def _require_role(field: ObservationField, role: JointRole, action: ActionSpec) -> None:
    """Raise ValueError for a field that cannot tell what its role says of an action's joints."""
    if action.is_discrete or field.is_image or field.source is not Source.SENSOR:
        raise ValueError(f"field {field.name}: role {role.value} is for a sensor's vector, of an action with joints")
    told = [joint for joint in field.labels if joint in action.joints]
    if not told or len(set(told)) < len(told):
        raise ValueError(
            f"field {field.name}: role {role.value}, but its labels {list(field.labels)} name"
            f" {'a joint twice' if told else 'none of the joints'} of {list(action.joints)}"
        )
    units = dict(zip(field.labels, field.element_units(), strict=False))
    allowed = (action.unit,) if role.value == f"joint_{action.mode}" else _UNITS_OF_ROLE[role]
    for joint in told:
        if units.get(joint) not in allowed:
            wanted = " or ".join(allowed)
            raise ValueError(f"field {field.name}: role {role.value} of {joint} is in {field.unit!r}, not {wanted}")


def _without_names(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_names(item) for key, item in value.items() if key not in _NOT_OF_THE_POLICY}
    if isinstance(value, list):
        return [_without_names(item) for item in value]
    return value


def _differences(path: str, a: Any, b: Any) -> Iterator[Difference]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in dict.fromkeys([*a, *b]):
            yield from _differences(f"{path}.{key}" if path else str(key), a.get(key), b.get(key))
    elif (
        isinstance(a, list)
        and isinstance(b, list)
        and len(a) == len(b)
        and any(isinstance(item, Mapping) for item in a)
    ):
        for index, (x, y) in enumerate(zip(a, b, strict=True)):
            yield from _differences(f"{path}.{index}", x, y)
    elif a != b:
        yield Difference(path=path, left=a, right=b)
