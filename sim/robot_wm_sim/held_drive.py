"""A command held by the drives from whenever it comes until the next one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from robot_wm.spec import ActionSpec
from robot_wm_sim.drive import CommandDrive, Drive
from robot_wm_sim.robot import Robot


class HeldDrive:
    """A CommandDrive that is told of commands at any physics step, on the beat of control or off it.

    Before the first command the motors brake with kd alone; it then finds them where they are. A command that nothing
    follows begins anew after each control period: a moving set-point moves on.
    """

    def __init__(self, robot: Robot, action: ActionSpec, *, period_s: float, physics_steps: int) -> None:
        """``physics_steps`` are in a control period of ``period_s``."""
        self._commands = CommandDrive(robot, action, period_s=period_s)
        self._step_s = period_s / physics_steps
        self._period_steps = physics_steps
        self._brake = Drive.braking(robot)
        # The commanded drive as it stands within the control period; only its position is an array of its own.
        self._now = replace(self._commands.drive, position=self._commands.drive.position.copy())
        self.release()

    def release(self) -> None:
        """Brake, until another command comes."""
        self._command: NDArray[np.float64] | None = None  # [A]
        self._held_steps: int | None = None  # since the set-points were given to the drives; None while braking
        self._is_new = False

    @property
    def is_released(self) -> bool:
        """Whether no command has come since."""
        return self._command is None

    def take(self, command: NDArray[np.float64]) -> None:
        """From now on follow a command [A], SI."""
        self._command, self._is_new = command, True

    @property
    def steps_left(self) -> int:
        """Physics steps for which the next drive will do."""
        held_steps = 0 if self._is_new or self._held_steps is None else self._held_steps
        return self._period_steps - held_steps % self._period_steps

    def run(self, joint_position: NDArray[np.float64], steps: int = 1) -> Drive:
        """The drive for the next ``steps``, at most ``steps_left``; valid until the next call. Joints [J] are there."""
        if self._command is None:
            return self._brake
        if self._held_steps is None:
            self._commands.reset(joint_position)
            self._held_steps = 0
        if self._is_new or self._held_steps == self._period_steps:
            self._commands.update(self._command, joint_position, elapsed_s=self._held_steps * self._step_s)
            self._held_steps, self._is_new = 0, False
        drive = self._commands.drive
        np.multiply(drive.velocity, self._held_steps * self._step_s, out=self._now.position)
        self._now.position += drive.position
        self._held_steps += steps
        return self._now
