"""From an agent's command to what each motor's drive is told: the part of a robot that its firmware plays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot_wm.spec import ActionSpec
from robot_wm_sim.robot import Robot


@dataclass
class Drive:
    """Set-points and gains of every motor, held for one control period. All arrays [M], float64, SI.

    At time t after the start of the period an ideal motor's effort (see `Actuator` for others) is
    ``clip(effort + kp * (position + velocity * t - q) + kd * (velocity - q'), -limit, limit)``.
    """

    position: NDArray[np.float64]
    velocity: NDArray[np.float64]
    effort: NDArray[np.float64]
    kp: NDArray[np.float64]
    kd: NDArray[np.float64]
    limit: NDArray[np.float64]

    @classmethod
    def holding_home(cls, robot: Robot) -> Drive:
        """Every motor holds its home position with the gains of the robot's firmware profile."""
        motors = robot.motors
        return cls(
            position=np.array([motor.home for motor in motors]),
            velocity=np.zeros(len(motors)),
            effort=np.zeros(len(motors)),
            kp=np.array([motor.kp for motor in motors]),
            kd=np.array([motor.kd for motor in motors]),
            limit=np.array([motor.limits.effort for motor in motors], dtype=np.float64),
        )

    @classmethod
    def braking(cls, robot: Robot) -> Drive:
        """Every motor brakes with its velocity gain alone: no position gain, no effort."""
        drive = cls.holding_home(robot)
        drive.position[:], drive.kp[:] = 0.0, 0.0
        return drive


class CommandDrive:
    """Turns commands [A] of an ActionSpec into a Drive; motors outside the action hold their home position, or follow.

    What mimics another joint has its set-point where that joint is measured to put it, moving as fast as that moved.

    * position: the command is the position set-point.
    * velocity: the set-point moves with the commanded velocity from where it stood, stays inside the position limits,
      and never runs further ahead of the joint than the motor can pull (else a blocked joint would wind it up).
    * effort: the command is the effort; the drive's gains are off.
    """

    def __init__(self, robot: Robot, action: ActionSpec, *, period_s: float) -> None:
        motors = [motor.name for motor in robot.motors]
        pairs = [(motors.index(m), a) for a, n in enumerate(action.joints) for m in robot.couplings.get(n, (n,))]
        self._motor = np.array([pair[0] for pair in pairs])  # [K] along M
        self._command = np.array([pair[1] for pair in pairs])  # [K] along A
        self._joint = np.array([robot.joint_names.index(motors[m]) for m in self._motor])  # [K] along J
        # One motor a command and in the same order: then plain copies do, at a fraction of an indexed copy's price.
        self._straight = self._motor.tolist() == self._command.tolist() == list(range(len(motors)))
        self._mode = action.mode
        self._period_s = period_s
        self.drive = Drive.holding_home(robot)
        if action.mode == "effort":
            self.drive.kp[self._motor] = 0.0
            self.drive.kd[self._motor] = 0.0
        ranges = [robot.motors[m].limits.position or (-np.inf, np.inf) for m in self._motor]
        self._low, self._high = (np.array(side, dtype=np.float64) for side in zip(*ranges, strict=True))  # [K]
        kp = self.drive.kp[self._motor]
        self._lead = np.divide(self.drive.limit[self._motor], kp, out=np.zeros_like(kp), where=kp > 0)  # [K], rad or m
        self._followers = _Followers(robot, commanded=set(self._motor.tolist()))
        # Else a drive hangs on its command alone, and stays what it is until the next.
        self.moves = action.mode == "velocity" or len(self._followers) > 0

    def reset(self, joint_position: NDArray[np.float64]) -> None:
        """Start an episode: set-points stand where the joints [J] are."""
        self.drive.position[self._motor] = joint_position[self._joint]
        self.drive.velocity[self._motor] = 0.0
        self.drive.effort[self._motor] = 0.0
        self._followers.reset(self.drive, joint_position)

    def update(
        self,
        command: NDArray[np.float64],
        joint_position: NDArray[np.float64],
        *,
        elapsed_s: float | None = None,
    ) -> Drive:
        """The drive for the next control period. ``command`` [A] in SI, ``joint_position`` [J] now.

        ``elapsed_s`` is how long the last one was held: a control period unless a command comes off the beat.
        """
        drive, motor = self.drive, self._motor
        if self._straight and self._mode == "position":
            drive.position[:] = command
            return drive
        held_s = self._period_s if elapsed_s is None else elapsed_s
        self._followers.update(drive, joint_position, held_s=held_s, period_s=self._period_s)
        wanted = command[self._command]  # [K]
        if self._mode == "position":
            drive.position[motor] = wanted
        elif self._mode == "effort":
            drive.effort[motor] = wanted
        else:
            # Where the set-point has come to.
            start = drive.position[motor] + drive.velocity[motor] * held_s
            here = joint_position[self._joint]
            start = np.clip(np.clip(start, here - self._lead, here + self._lead), self._low, self._high)
            end = np.clip(start + wanted * self._period_s, self._low, self._high)
            drive.position[motor] = start
            drive.velocity[motor] = (end - start) / self._period_s
        return drive


class _Followers:
    """Motors [F] that mimic another joint and that nobody commands."""

    def __init__(self, robot: Robot, *, commanded: set[int]) -> None:
        pairs = [(m, motor, motor.mimics) for m, motor in enumerate(robot.motors) if m not in commanded]
        led = [(m, motor, mimic) for m, motor, mimic in pairs if mimic is not None]
        self._motor = np.array([m for m, _, _ in led], dtype=np.intp)  # [F] along M
        self._leader = np.array([robot.joint_names.index(mimic.joint) for _, _, mimic in led], dtype=np.intp)  # [F], J
        self._multiplier = np.array([mimic.multiplier for _, _, mimic in led])  # [F]
        self._offset = np.array([mimic.offset for _, _, mimic in led])  # [F]
        ranges = [motor.limits.position or (-np.inf, np.inf) for _, motor, _ in led]
        self._low, self._high = np.array(ranges, dtype=np.float64).reshape(-1, 2).T  # [F] each
        self._last = np.zeros(len(led))  # [F] where it had to be an update ago

    def __len__(self) -> int:
        return len(self._motor)

    def reset(self, drive: Drive, joint_position: NDArray[np.float64]) -> None:
        """An episode begins with the joints [J] there, and at rest."""
        self._last = self._at(joint_position)
        drive.position[self._motor] = np.clip(self._last, self._low, self._high)
        drive.velocity[self._motor] = 0.0

    def update(self, drive: Drive, joint_position: NDArray[np.float64], *, held_s: float, period_s: float) -> None:
        """Set-points of the next control period, from where the leaders are and how they got there in ``held_s``."""
        if not len(self._motor):
            return
        now = self._at(joint_position)
        speed = (now - self._last) / held_s if held_s > 0.0 else np.zeros_like(now)
        start, end = (np.clip(place, self._low, self._high) for place in (now, now + speed * period_s))
        self._last = now
        drive.position[self._motor] = start
        drive.velocity[self._motor] = (end - start) / period_s

    def _at(self, joint_position: NDArray[np.float64]) -> NDArray[np.float64]:
        where: NDArray[np.float64] = self._multiplier * joint_position[self._leader] + self._offset
        return where
