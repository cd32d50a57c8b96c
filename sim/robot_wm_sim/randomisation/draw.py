"""Draw: what one episode's world is, as numbers by name that can be logged, and from which the episode comes again."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from robot_wm.errors import UserError
from robot_wm_sim.dynamics import Dynamics
from robot_wm_sim.randomisation.ranges import BOUNDS, BY_EFFORT, MOST_LEVELS, Bounds, Randomisation
from robot_wm_sim.scene import Scene
from robot_wm_sim.sensing.sensor_model import SensorModel
from robot_wm_sim.sensing.sensors import Sensors
from robot_wm_sim.terrain import SEEDS, Terrain
from robot_wm_sim.urdf_tree import loadable, tree_of

AXES = ("x", "y", "z")
PUSH_SEED = "push_seed"  # a whole number, below 2³²
PUSH = ("push_speed_m_s", "push_interval_s", PUSH_SEED)
TERRAIN_SEED = "terrain_seed"  # a whole number, below 2³²
TERRAIN_LEVEL = "terrain_level"  # of the curriculum; told only, as the height says what there is
TERRAIN_HEIGHT = "terrain_height_m"
TERRAIN = (TERRAIN_HEIGHT, TERRAIN_SEED, TERRAIN_LEVEL)
_ROTATING = ("revolute", "continuous")


@dataclass(frozen=True)
class Parts:
    """What of a task's robot the quantities are of."""

    links: tuple[str, ...]
    base: str | None  # its link, None where it is fixed
    gravity: float  # m/s², downwards, as the scene has it
    effort: Mapping[str, float]  # limit of each motor, N·m or N
    damping: Mapping[str, float]  # of the same joints as the scene has it, N·m·s/rad or N·s/m
    friction: Mapping[str, float]  # dry, of the same joints as the scene has it, N·m or N
    joints: tuple[str, ...]  # J, in the order of the sensors
    rotating: tuple[str, ...]  # of them, those with an angle
    elements: Mapping[str, int]  # numbers that a sensor reads, by its name

    @classmethod
    def of(cls, scene: Scene, sensors: Sensors) -> Parts:
        """Those of a scene's robot; UserError for a description that is none."""
        robot = scene.robot
        links, joints, base = tree_of(loadable(robot), str(robot.urdf))
        return cls(
            links=tuple(links),
            base=None if robot.fixed_base else base,
            gravity=scene.gravity,
            effort={motor.name: motor.limits.effort or 0.0 for motor in robot.motors},
            damping={motor.name: motor.damping for motor in robot.motors},
            friction={motor.name: motor.friction for motor in robot.motors},
            joints=robot.joint_names,
            rotating=tuple(name for name in robot.joint_names if joints[name].get("type") in _ROTATING),
            elements=sensors.elements,
        )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of all numbers that can be drawn for this robot, in an order that no choice of ranges changes."""
        several = {
            "com_offset_m": AXES,
            "joint_offset_rad": self.rotating,
            "noise_std": tuple(self.elements),
            "bias": tuple(f"{name}/{index}" for name, count in self.elements.items() for index in range(count)),
        }
        found: list[str] = []
        for quantity in (name for name in BOUNDS if name not in TERRAIN):
            found += [f"{quantity}/{part}" for part in several[quantity]] if quantity in several else [quantity]
        by_joint = (f"{quantity}/{name}" for quantity in BY_EFFORT for name in self.effort)
        return (
            *found,
            PUSH_SEED,
            *TERRAIN,
            *by_joint,
        )  # those last that came last: of a seed, others stay what they were


@dataclass(frozen=True)
class Draw:
    """The world of one episode. A number that is not there is as the task has it."""

    numbers: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_numbers(cls, given: Any, parts: Parts) -> Draw:
        """A logged draw; NaN is a quantity that was not drawn. UserError for what this robot does not have, or cannot.

        ``given`` is ``info["randomisation"]`` of a reset, or EpisodeSource.randomisation of a stored episode.
        """
        if not isinstance(given, Mapping):
            raise UserError(f"randomisation: a draw is numbers by name, got {given!r}")
        known, found = frozenset(parts.names), {}
        for name, value in given.items():
            if name not in known:
                raise UserError(f"randomisation: {name}: no such quantity here; there are {', '.join(parts.names)}")
            if not isinstance(value, numbers.Real) or isinstance(value, bool):
                raise UserError(f"randomisation: {name}: {value!r} is not a number")
            if math.isnan(value):
                continue
            if problem := _bounds(name).problem(float(value)):
                raise UserError(f"randomisation: {name}: {problem}")
            found[str(name)] = float(value)
        if 0 < len(pushes := found.keys() & PUSH) < len(PUSH):
            raise UserError(f"randomisation: {', '.join(sorted(pushes))}: pushes need {', '.join(PUSH)}")
        if (TERRAIN_HEIGHT in found) != (TERRAIN_SEED in found):
            raise UserError(f"randomisation: a terrain needs {TERRAIN_HEIGHT} and {TERRAIN_SEED}")
        return cls(found)

    def without(self, quantities: frozenset[str]) -> Draw:
        """The draw without what cannot be."""
        return Draw({name: value for name, value in self.numbers.items() if name.split("/")[0] not in quantities})

    def dynamics(self, parts: Parts) -> Dynamics:
        """What it asks of the physics engine: absolute, so that nothing hangs on the episode before."""
        number = self.numbers.get
        scale = dict.fromkeys(parts.links, number("mass_scale", 1.0)) if "mass_scale" in self.numbers else {}
        if parts.base is not None and "base_mass_scale" in self.numbers:
            scale[parts.base] = scale.get(parts.base, 1.0) * self.numbers["base_mass_scale"]
        offset = {}
        if parts.base is not None and any(f"com_offset_m/{axis}" in self.numbers for axis in AXES):
            x, y, z = (number(f"com_offset_m/{axis}", 0.0) for axis in AXES)
            offset[parts.base] = (x, y, z)
        down = number("gravity_offset_m_s2")
        return Dynamics(
            friction=number("friction"),
            gravity=None if down is None else (0.0, 0.0, -(parts.gravity + down)),
            mass_scale=scale,
            com_offset=offset,
            joint_damping=self._added("joint_damping_s", parts.damping, parts),
            joint_friction=self._added("joint_friction", parts.friction, parts),
            armature=self._efforts("armature_s2", parts),
            terrain=self.terrain,
        )

    @property
    def terrain(self) -> Terrain | None:
        """The ground; None where it is flat, as a plane is cheaper than a flat field."""
        if not self.numbers.get(TERRAIN_HEIGHT):
            return None
        return Terrain(height_m=self.numbers[TERRAIN_HEIGHT], seed=int(self.numbers.get(TERRAIN_SEED, 0.0)))

    def sensor_model(self, base: SensorModel, parts: Parts) -> SensorModel:
        """What becomes of the way to the agent and back: drawn numbers in place of those of ``base``."""
        numbers = self.numbers
        given: dict[str, Any] = {
            name: numbers[name]
            for name in ("observation_latency_s", "action_latency_s", "jitter_s", "drop_probability")
            if name in numbers
        }
        noise = {name: numbers[f"noise_std/{name}"] for name in parts.elements if f"noise_std/{name}" in numbers}
        bias = {
            name: [numbers.get(f"bias/{name}/{index}", 0.0) for index in range(count)]
            for name, count in parts.elements.items()
            if any(f"bias/{name}/{index}" in numbers for index in range(count))
        }
        offsets = self.joint_offsets(parts)
        if any(offsets):
            # An encoder tells where the joint is from a zero that is not quite the joint's.
            before = np.asarray(bias.get("joint_position", base.bias.get("joint_position", 0.0)))
            bias["joint_position"] = (before + offsets).tolist()
        return replace(base, **given, noise_std={**base.noise_std, **noise}, bias={**base.bias, **bias})

    def joint_offsets(self, parts: Parts) -> list[float]:
        """How far the encoder's zero of each joint [J] is off, rad; 0 for one that slides."""
        return [self.numbers.get(f"joint_offset_rad/{name}", 0.0) for name in parts.joints]

    def _added(self, quantity: str, built: Mapping[str, float], parts: Parts) -> dict[str, float]:
        """What the scene's joints have, and a share of each motor's effort limit beside it."""
        return {name: built[name] + share for name, share in self._efforts(quantity, parts).items()}

    def _efforts(self, quantity: str, parts: Parts) -> dict[str, float]:
        """A share of each motor's effort limit, by joint: its own, else that of all; none where neither was drawn."""
        shares = {name: self.numbers.get(f"{quantity}/{name}", self.numbers.get(quantity)) for name in parts.effort}
        return {name: share * parts.effort[name] for name, share in shares.items() if share is not None}


def draw(
    randomisation: Randomisation, rng: np.random.Generator, parts: Parts, *, terrain_level: int | None = None
) -> Draw:
    """Draw an episode's world; on a level of the terrain's curriculum from that share of its range, by default of all.

    Each number has a share of the generator's own, in an order that the ranges do not change: of one seed, what a wider
    range makes of friction is a wider friction, and no other quantity differs.
    """
    names = parts.names
    found = {}
    for name, share in zip(names, rng.random(len(names)).tolist(), strict=True):
        if name == PUSH_SEED:
            if randomisation.push_speed_m_s is not None:
                found[name] = float(math.floor(share * SEEDS))
        elif name in TERRAIN:
            if randomisation.terrain_height_m is not None:
                found |= _terrain_number(name, share, randomisation, terrain_level)
        elif (given := randomisation.range_of(name)) is not None:
            found[name] = given.at(share)
    return Draw(found)


def _terrain_number(name: str, share: float, randomisation: Randomisation, level: int | None) -> dict[str, float]:
    heights, levels = randomisation.terrain_height_m, randomisation.terrain_levels
    assert heights is not None
    level = levels if level is None else level
    if name == TERRAIN_SEED:
        return {name: float(math.floor(share * SEEDS))}
    if levels is None or level is None:
        return {name: heights.at(share)} if name == TERRAIN_HEIGHT else {}
    return {name: heights.at(share * level / levels) if name == TERRAIN_HEIGHT else float(level)}


def drawn_names(randomisation: Randomisation, parts: Parts) -> tuple[str, ...]:
    """Names of all numbers that `draw` draws."""
    return tuple(draw(randomisation, np.random.default_rng(0), parts).numbers)


def _bounds(name: str) -> Bounds:
    if name in (PUSH_SEED, TERRAIN_SEED):
        return Bounds("1", 0, SEEDS - 1)
    return Bounds("1", 0, MOST_LEVELS) if name == TERRAIN_LEVEL else BOUNDS[name.split("/")[0]]
