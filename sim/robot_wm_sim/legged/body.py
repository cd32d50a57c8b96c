"""Legged: what a velocity task has to know of a robot beside its joints: trunk, feet, limbs, size, and its drives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.spec import ActionSpec
from robot_wm_sim.backend import PhysicsBackend
from robot_wm_sim.frames import Vector, rotate
from robot_wm_sim.locomotion import CLEARANCE_SHARE, REFERENCE_TORQUE_N_M
from robot_wm_sim.robot import Robot

_GRAVITY_M_S2 = 9.81


@dataclass(frozen=True, kw_only=True)
class Legged:
    """A robot on legs. Rewards are legged_gym's for an A1, made relative to weight and legs of this one."""

    robot: Robot
    actions: tuple[str, ...]  # joints that the agent commands, in order
    scale: tuple[float, ...]  # of each action, SI units at one policy unit (from home, where it is a position)
    clip: float  # policy units
    mode: Literal["position", "velocity", "effort"] = "position"
    unit: str = "rad"  # of the actions' joints; m for legs that slide
    trunk: str  # link with the IMU; an episode is over when it touches something, or one of the sides does
    sides: tuple[str, ...] = ()  # links that a robot on its side lies on, where its trunk need touch nothing
    feet: tuple[str, ...]  # links
    # Of each foot, in its link's frame, m: a ball's centre, or the end of a shin that is the foot. () for the origins.
    foot_centres: tuple[tuple[float, float, float], ...] = ()
    limbs: tuple[str, ...] = ()  # links that should touch nothing, either
    sole_m: float  # sole under a foot's centre
    mass_kg: float  # of all links
    leg_m: float  # from hip to sole, stretched
    start_height_m: float  # of the trunk where an episode starts: legs clear of the ground, at half their home, too
    tipped: float | None = None  # z of gravity in the trunk's axes, above which an episode is over as well

    def __post_init__(self) -> None:
        """Raise UserError for lengths that do not fit, and sizes that nothing has."""
        if len(self.scale) != len(self.actions):
            raise UserError(f"robot {self.robot.name}: {len(self.scale)} scales of {len(self.actions)} actions")
        if len(self.foot_centres) not in (0, len(self.feet)):
            raise UserError(f"robot {self.robot.name}: {len(self.foot_centres)} foot_centres of {len(self.feet)} feet")
        for name in ("mass_kg", "leg_m", "clip"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise UserError(f"robot {self.robot.name}: {name} is {getattr(self, name)!r}, but must be above 0")

    @cached_property
    def home(self) -> NDArray[np.float64]:
        """Of every joint, [J] rad or m."""
        return np.array([joint.home for joint in self.robot.joints])

    @cached_property
    def stops(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lowest and highest position of every joint, [J] rad or m each; infinite without stops."""
        ranges = [joint.limits.position or (-np.inf, np.inf) for joint in self.robot.joints]
        low, high = np.array(ranges).T
        return low, high

    @cached_property
    def rows(self) -> slice | list[int]:
        """Places of the actions' joints along axis J."""
        places = self.robot.index(self.actions)
        return slice(None) if places == list(range(len(self.robot.joints))) else places

    @cached_property
    def offset(self) -> tuple[float, ...]:
        """SI command at policy unit 0, [A]: home where positions are commanded, else 0."""
        if self.mode != "position":
            return (0.0,) * len(self.actions)
        return tuple(self.robot.joint(name).home for name in self.actions)

    def feet_at(self, sim: PhysicsBackend) -> list[Vector]:
        """Where the feet's centres are in the world, [K] of (x, y, z) m."""
        if not any(map(any, self.foot_centres)):
            return sim.link_positions(self.feet)
        found = []
        for link, centre in zip(self.feet, self.foot_centres, strict=True):
            place, turn = sim.link_pose(link)
            x, y, z = (place + rotate(turn, centre)).tolist()
            found.append((x, y, z))
        return found

    @property
    def clearance_m(self) -> float:
        """How high a moving foot should be over the ground."""
        return CLEARANCE_SHARE * self.leg_m

    @property
    def torque_scale(self) -> float:
        """Torque² of the reference robot over that of this one, for as much work: weight times leg, squared."""
        return (REFERENCE_TORQUE_N_M / (self.mass_kg * _GRAVITY_M_S2 * self.leg_m)) ** 2

    def action(self) -> ActionSpec:
        """What the agent commands."""
        unit, effort = self.unit, "N·m" if self.unit == "rad" else "N"
        return ActionSpec(
            mode=self.mode,
            joints=self.actions,
            unit={"position": unit, "velocity": f"{unit}/s", "effort": effort}[self.mode],
            scale=self.scale,
            offset=self.offset,
            clip=self.clip,
            limits=self.robot.limits(self.actions),
        )
