"""Which quantities of a simulated world are drawn anew for each episode, and from which ranges.

Joint friction, damping and inertia of motors go by the effort limit of the joint's motor, so that one file fits robots
of any size: the A1's 33.5 N·m times a ``joint_friction`` of 0.02 is 0.67 N·m.

Not here: the drives' torque limit, which hardly ever binds (motor strength and gains are), and restitution, of which
neither engine has one to be trusted (`robot_wm_sim.dynamics`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from robot_wm.errors import UserError
from robot_wm.yaml_file import read_mapping
from robot_wm_sim.terrain import LARGEST_HEIGHT_M


class Bounds(NamedTuple):
    """What a quantity may be: beyond it is a mistake, or no physics."""

    unit: str
    low: float
    high: float
    meaning: str = ""  # of the quantity, for people

    def problem(self, value: float) -> str:
        """Why ``value`` cannot be, empty where it can."""
        if math.isfinite(value) and self.low <= value <= self.high:
            return ""
        return f"{value:g} is not within [{self.low:g}, {self.high:g}], unit {self.unit}"


BOUNDS = {
    "friction": Bounds("1", 0.0, 10.0, "Coulomb coefficient of the robot's links"),
    "mass_scale": Bounds("1", 0.05, 20.0, "mass and inertia of every link, times this"),
    "base_mass_scale": Bounds("1", 0.05, 20.0, "those of the base link, times this beside it"),
    "com_offset_m": Bounds("m", -1.0, 1.0, "the base's centre of mass, along each axis"),
    "joint_friction": Bounds("1", 0.0, 1.0, "dry friction, as a share of the motor's effort limit, added"),
    "joint_damping_s": Bounds("s", 0.0, 1.0, "viscous friction, N·m·s/rad per N·m of the effort limit, added"),
    "armature_s2": Bounds("s²", 0.0, 1.0, "inertia of the motors at the joint, kg·m² per N·m of the effort limit"),
    "gravity_offset_m_s2": Bounds("m/s²", -9.8, 20.0, "gravity, added downwards"),
    "motor_strength": Bounds("1", 0.0, 5.0, "all efforts of the motors and their limit, times this"),
    "kp_scale": Bounds("1", 0.0, 10.0, "the drives' position gain, times this"),
    "kd_scale": Bounds("1", 0.0, 10.0, "the drives' velocity gain, times this"),
    "battery_sag": Bounds("1", 0.0, 0.95, "share of the strength that is lost by the end of an episode"),
    "joint_offset_rad": Bounds("rad", -0.5, 0.5, "zero of each joint's encoder, in what is told and where drives go"),
    "observation_latency_s": Bounds("s", 0.0, 1.0, "from a reading to the agent, to the physics step"),
    "action_latency_s": Bounds("s", 0.0, 1.0, "from the agent to the drives, to the physics step"),
    "jitter_s": Bounds("s", 0.0, 1.0, "up to so much more of both, sample by sample and command by command"),
    "drop_probability": Bounds("1", 0.0, 0.95, "of a sample; the agent is told the last one again"),
    "push_speed_m_s": Bounds("m/s", 0.0, 10.0, "change of the base's velocity by a push, in any horizontal direction"),
    "push_interval_s": Bounds("s", 0.1, 3600.0, "between two pushes"),
    "noise_std": Bounds("the sensor's", 0.0, 1e3, "white noise of each sensor's elements, by sensor"),
    "bias": Bounds("the sensor's", -1e3, 1e3, "the same in every sample of an episode, by sensor, each element"),
    "terrain_height_m": Bounds("m", 0.0, LARGEST_HEIGHT_M, "ground from its deepest valley to its highest peak"),
}
BY_EFFORT = ("joint_friction", "joint_damping_s", "armature_s2")  # shares of a motor's effort limit
MOST_LEVELS = 1000
# What some engine, or some robot (a base that is fixed, and cannot be pushed) or its task, does not have.
SKIPPABLE = frozenset(
    {
        "base_mass_scale",
        "com_offset_m",
        "joint_friction",
        "joint_damping_s",
        "armature_s2",
        "push_speed_m_s",
        "terrain_height_m",
    }
)


class Range(NamedTuple):
    """From ``low`` to ``high``, uniform, or uniform in the logarithm."""

    low: float
    high: float
    log: bool = False

    def at(self, share: float) -> float:
        """The value that this share of all draws, in [0, 1), is below."""
        low, high = self.low, self.high
        value = low * (high / low) ** share if self.log else low + share * (high - low)
        return min(max(value, low), high)


def _read(given: Any, bounds: Bounds) -> Range:
    """A range as YAML has it: ``[low, high]``, ``{log: [low, high]}``, ``{plus_minus: x}`` or one number."""
    if isinstance(given, Range):
        return given
    ends, log = given, False
    if isinstance(given, Mapping):
        if len(given) != 1 or not {"log", "plus_minus"} & given.keys():
            raise ValueError("a range is [low, high], {log: [low, high]}, {plus_minus: x} or one number")
        ((form, ends),) = given.items()
        log = form == "log"
        if form == "plus_minus":
            ends = [-abs(number) for number in _numbers([ends])] + [abs(number) for number in _numbers([ends])]
    elif not isinstance(given, list | tuple):
        ends = [given, given]
    numbers = _numbers(ends)
    if len(numbers) != 2:
        raise ValueError("a range has two ends, low and high")
    for number in numbers:
        if problem := bounds.problem(number):
            raise ValueError(problem)
    low, high = numbers
    if low > high:
        raise ValueError(f"the range is inverted: {low:g} is above {high:g}, unit {bounds.unit}")
    if log and low <= 0.0:
        raise ValueError(f"a logarithmic range begins above 0, not at {low:g}, unit {bounds.unit}")
    return Range(low, high, log)


def _numbers(given: Any) -> list[float]:
    if not isinstance(given, list | tuple):
        raise ValueError("a range has two ends, low and high")
    for number in given:
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise ValueError(f"{number!r} is not a number")
    return [float(number) for number in given]


def _quantity(name: str) -> BeforeValidator:
    return BeforeValidator(lambda given: None if given is None else _read(given, BOUNDS[name]))


def _named(name: str, of: str) -> BeforeValidator:
    return BeforeValidator(lambda given: _read_named(given, BOUNDS[name], of))


def _read_named(given: Any, bounds: Bounds, of: str) -> dict[str, Range]:
    """Ranges as YAML has them by the names of sensors or joints."""
    if not isinstance(given, Mapping):
        raise ValueError(f"ranges by the names of {of} are needed")
    found = {}
    for part, one in given.items():
        try:
            found[part] = _read(one, bounds)
        except ValueError as error:
            raise ValueError(f"{part}: {error}") from None
    return found


def _one_or_by_joint(name: str) -> BeforeValidator:
    """A range of all joints, or one for each of some joints by name."""

    def read(given: Any) -> Any:
        if given is None or not isinstance(given, Mapping) or {"log", "plus_minus"} & given.keys():
            return None if given is None else _read(given, BOUNDS[name])
        return _read_named(given, BOUNDS[name], "joints")

    return BeforeValidator(read)


class Randomisation(BaseModel):
    """Ranges by quantity; what has none is as the task has it. A name of a preset or a file stands for one, too."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # The physics engine's.
    friction: Annotated[Range | None, _quantity("friction")] = None
    mass_scale: Annotated[Range | None, _quantity("mass_scale")] = None
    base_mass_scale: Annotated[Range | None, _quantity("base_mass_scale")] = None
    com_offset_m: Annotated[Range | None, _quantity("com_offset_m")] = None
    # Of the joints: one draw for all of them, or ranges by their names (a friction of 1.0 is a joint that is stuck).
    joint_friction: Annotated[Range | dict[str, Range] | None, _one_or_by_joint("joint_friction")] = None
    joint_damping_s: Annotated[Range | dict[str, Range] | None, _one_or_by_joint("joint_damping_s")] = None
    armature_s2: Annotated[Range | dict[str, Range] | None, _one_or_by_joint("armature_s2")] = None
    gravity_offset_m_s2: Annotated[Range | None, _quantity("gravity_offset_m_s2")] = None
    # The drives'.
    motor_strength: Annotated[Range | None, _quantity("motor_strength")] = None
    kp_scale: Annotated[Range | None, _quantity("kp_scale")] = None
    kd_scale: Annotated[Range | None, _quantity("kd_scale")] = None
    battery_sag: Annotated[Range | None, _quantity("battery_sag")] = None
    # Of encoders' zeros: one range for each joint by itself, or ranges by the names of joints.
    joint_offset_rad: Annotated[Range | dict[str, Range] | None, _one_or_by_joint("joint_offset_rad")] = None
    # The way to the agent and back; in place of the task's SensorModel, which says what they are.
    observation_latency_s: Annotated[Range | None, _quantity("observation_latency_s")] = None
    action_latency_s: Annotated[Range | None, _quantity("action_latency_s")] = None
    jitter_s: Annotated[Range | None, _quantity("jitter_s")] = None
    drop_probability: Annotated[Range | None, _quantity("drop_probability")] = None
    noise_std: Annotated[dict[str, Range], _named("noise_std", "sensors")] = {}
    bias: Annotated[dict[str, Range], _named("bias", "sensors")] = {}
    # From outside: the base's velocity changes by so much, in a direction of its own, every so many seconds.
    push_speed_m_s: Annotated[Range | None, _quantity("push_speed_m_s")] = None
    push_interval_s: Annotated[Range | None, _quantity("push_interval_s")] = None
    # Of the ground: from its deepest valley to its highest peak; see `robot_wm_sim.terrain`. With levels, episodes that
    # follow from one another are drawn from a share of the range; see `robot_wm_sim.randomisation.curriculum`.
    terrain_height_m: Annotated[Range | None, _quantity("terrain_height_m")] = None
    terrain_levels: Annotated[int, Field(ge=1, le=MOST_LEVELS)] | None = None
    # Left out, and told as nothing, where the engine or the robot does not have it; what is not named here is refused.
    skip_where_impossible: frozenset[str] = frozenset()

    _origin: str = PrivateAttr("randomisation")

    @model_validator(mode="wrap")
    @classmethod
    def _by_name(cls, given: Any, read: ModelWrapValidatorHandler[Randomisation]) -> Randomisation:
        if isinstance(given, str):
            return load_randomisation(given)
        return read(_extended(given) if isinstance(given, Mapping) and "extends" in given else given)

    @field_validator("skip_where_impossible")
    @classmethod
    def _known(cls, names: frozenset[str]) -> frozenset[str]:
        if unknown := sorted(names - SKIPPABLE):
            raise ValueError(f"{unknown[0]!r} is not among {', '.join(sorted(SKIPPABLE))}")
        return names

    @model_validator(mode="after")
    def _pushes_are_whole(self) -> Randomisation:
        if (self.push_speed_m_s is None) != (self.push_interval_s is None):
            raise ValueError("push_speed_m_s (m/s) and push_interval_s (s) go together: give both or neither")
        return self

    @model_validator(mode="after")
    def _levels_are_of_something(self) -> Randomisation:
        if self.terrain_levels is not None and self.terrain_height_m is None:
            raise ValueError("terrain_levels are those of terrain_height_m (m), which is not given")
        return self

    @property
    def origin(self) -> str:
        """Where it comes from, for who refuses a part of it."""
        return self._origin

    @property
    def is_none(self) -> bool:
        """Whether nothing is drawn."""
        return not any(getattr(self, name) for name in BOUNDS)

    def range_of(self, name: str) -> Range | None:
        """The range of a drawn number such as ``friction``, ``joint_offset_rad/elbow`` or ``bias/gravity/0``."""
        quantity, _, part = name.partition("/")
        found = getattr(self, quantity)
        if isinstance(found, dict):
            return found.get(part.split("/")[0])
        return None if part and quantity in BY_EFFORT else found


NONE = Randomisation()


def _presets() -> dict[str, Path]:
    folder = Path(str(files("robot_wm_sim.randomisation"))) / "presets"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _extended(given: Mapping[str, Any]) -> dict[str, Any]:
    """Ranges over those of the preset that they extend; what may be left out adds up."""
    name = given["extends"]
    if name not in _presets():
        raise ValueError(f"extends: {name!r} is not a preset ({', '.join(_presets())})")
    base = load_randomisation(name)
    own = {key: value for key, value in given.items() if key != "extends"}
    found = {key: getattr(base, key) for key in base.model_fields_set} | own
    if isinstance(skipped := found.get("skip_where_impossible"), list):
        found["skip_where_impossible"] = [*base.skip_where_impossible, *skipped]
    return found


def load_randomisation(name: str) -> Randomisation:
    """A shipped preset by its name, or a YAML file by its path; UserError naming the file, field, value and unit."""
    presets = _presets()
    path = presets.get(name, Path(name))
    if name not in presets and path.suffix not in (".yaml", ".yml"):
        raise UserError(f"randomisation {name!r} is neither a preset ({', '.join(presets)}) nor a .yaml file")
    origin = f"randomisation {name}" if name in presets else str(path)
    try:
        found = Randomisation.model_validate(read_mapping(path))
    except ValidationError as error:
        raise UserError.from_validation(error, origin=origin) from None
    found._origin = origin
    return found
