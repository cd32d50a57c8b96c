"""What a draw does while its episode runs: weaker or stronger motors, and pushes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from robot_wm.spec import AgentSpec
from robot_wm_sim.backend import PhysicsBackend
from robot_wm_sim.drive import Drive
from robot_wm_sim.randomisation.draw import PUSH_SEED, Draw, Parts
from robot_wm_sim.robot import Robot

_STRENGTHS = ("motor_strength", "kp_scale", "kd_scale", "battery_sag")


class VariedMotors:
    """Motors that do something else than their drives were told."""

    @classmethod
    def of(cls, draw: Draw, parts: Parts, robot: Robot, spec: AgentSpec, *, episode_s: float) -> VariedMotors | None:
        """Those of a draw; None where they do as they are told."""
        offsets = np.array(draw.joint_offsets(parts))  # [J]
        is_offset = spec.action.mode == "position" and offsets.any()
        if not is_offset and not any(name in draw.numbers for name in _STRENGTHS):
            return None
        commanded = {motor for name in spec.action.joints for motor in robot.couplings.get(name, (name,))}
        offset = np.array(
            [offsets[parts.joints.index(m.name)] if is_offset and m.name in commanded else 0.0 for m in robot.motors]
        )
        return cls(draw, offset, Drive.holding_home(robot), episode_s)

    def __init__(self, draw: Draw, offset: NDArray[np.float64], drive: Drive, episode_s: float) -> None:
        """``offset`` [M], rad: encoders say so much more than is so; ``drive``'s arrays become ours."""
        number = draw.numbers.get
        self._strength, self._sag = number("motor_strength", 1.0), number("battery_sag", 0.0)
        self._kp, self._kd = number("kp_scale", 1.0), number("kd_scale", 1.0)
        self._offset, self._episode_s = offset, episode_s
        self._drive = drive
        self._latest_kp: NDArray[np.float64] | None = None  # of the drive that ours follows from
        self._latest_strength = 1.0

    def driven(self, drive: Drive, time_s: float, *, is_same: bool = False) -> tuple[Drive, bool]:
        """What comes of a drive at that time of the episode, valid until the next call; and whether it did not change.

        ``is_same``: it is the drive of the last call, and nothing in it has changed.
        A battery's sag is renewed once a second: drives that change cost more than those that do not.
        """
        strength = self._strength * (1.0 - self._sag * min(math.floor(time_s) / self._episode_s, 1.0))
        ours = self._drive
        if is_same and strength == self._latest_strength:
            return ours, True
        # The firmware counts from its encoder's zero: what it believes to be at p is at p - offset.
        np.subtract(drive.position, self._offset, out=ours.position)
        ours.velocity[:] = drive.velocity
        np.multiply(drive.effort, strength, out=ours.effort)
        if drive.kp is not self._latest_kp or strength != self._latest_strength:  # a Drive's gains and limits stay
            self._latest_kp, self._latest_strength = drive.kp, strength
            np.multiply(drive.kp, strength * self._kp, out=ours.kp)
            np.multiply(drive.kd, strength * self._kd, out=ours.kd)
            np.multiply(drive.limit, strength, out=ours.limit)
        return ours, False


class Pushes:
    """Somebody who pushes the robot from time to time: its base's velocity changes at once, in some direction."""

    @classmethod
    def of(cls, draw: Draw) -> Pushes | None:
        """Those of a draw; None where nobody pushes."""
        if "push_speed_m_s" not in draw.numbers:
            return None
        return cls(draw.numbers["push_speed_m_s"], draw.numbers["push_interval_s"], int(draw.numbers[PUSH_SEED]))

    def __init__(self, speed_m_s: float, interval_s: float, seed: int) -> None:
        """The first push comes within the first interval."""
        self._speed_m_s, self._interval_s = speed_m_s, interval_s
        self._rng = np.random.default_rng(seed)
        self._next_s = interval_s * self._rng.random()

    def advance(self, sim: PhysicsBackend, time_s: float) -> None:
        """Push, if it is time; called at every control step of the episode, before its physics."""
        if time_s < self._next_s:
            return
        self._next_s += self._interval_s
        angle = 2 * math.pi * self._rng.random()
        state = sim.state
        push = np.array([math.cos(angle), math.sin(angle), 0.0]) * self._speed_m_s
        sim.place(
            joint_position=state.joint_position.copy(),
            joint_velocity=state.joint_velocity.copy(),
            base_position=state.base_position.copy(),
            base_quaternion=state.base_quaternion.copy(),
            base_linear_velocity=state.base_linear_velocity + push,
            base_angular_velocity=state.base_angular_velocity.copy(),
        )
