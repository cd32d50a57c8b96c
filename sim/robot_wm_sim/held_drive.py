"""A command held by the drives from whenever it comes until the next one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from robot_wm.spec import AgentSpec
from robot_wm_sim.drive import CommandDrive, Drive
from robot_wm_sim.randomisation.episode import VariedMotors
from robot_wm_sim.robot import Robot


class HeldDrive:
    """A CommandDrive that is told of commands at any physics step, on the beat of control or off it.

    Before the first command the motors brake with kd alone; it then finds them where they are. A command that nothing
    follows begins anew after each control period: a moving set-point moves on. What the motors make of all that is the
    episode's world.
    """

    def __init__(self, robot: Robot, spec: AgentSpec) -> None:
        self._commands = CommandDrive(robot, spec.action, period_s=spec.control_period_s)
        self._rate_hz = spec.physics_rate_hz
        self._step_s = spec.control_period_s / spec.physics_steps
        self._period_steps = spec.physics_steps
        # Whether set-points move between commands, or depend on where the joints are.
        self.moves = self._commands.moves
        self._brake = Drive.braking(robot)
        # The commanded drive as it stands within the control period; only its position is an array of its own.
        self._now = replace(self._commands.drive, position=self._commands.drive.position.copy())
        self.begin()

    def begin(self, motors: VariedMotors | None = None) -> None:
        """An episode begins, whose motors these are; None do as they are told."""
        self._motors = motors
        self._steps = 0  # physics steps in the episode
        self._drive = self._brake  # of the last run, before the motors make something of it
        self.is_same = False  # whether the last run's drive is, number by number, that of the run before it
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
        """Physics steps for which the next drive will do; a control period where it would do for ever."""
        held_steps = 0 if self._is_new or self._held_steps is None or not self.moves else self._held_steps
        return self._period_steps - held_steps % self._period_steps

    def run(self, joint_position: NDArray[np.float64], steps: int = 1) -> Drive:
        """The drive for the next ``steps``, at most ``steps_left``; valid until the next call. Joints [J] are there."""
        held_steps = self._held_steps
        if self._is_new or held_steps is None or self.moves:
            self.is_same = False
            drive = self._brake if self._command is None else self._following(self._command, joint_position, steps)
            self._drive = drive
        else:
            self.is_same = True
            self._held_steps = held_steps + steps
            drive = self._drive
        if self._motors is not None:
            drive, self.is_same = self._motors.driven(drive, self._steps / self._rate_hz, is_same=self.is_same)
        self._steps += steps
        return drive

    def _following(self, command: NDArray[np.float64], joint_position: NDArray[np.float64], steps: int) -> Drive:
        held_steps, period = self._held_steps, self._period_steps
        if held_steps is None:
            self._commands.reset(joint_position)
            held_steps = 0
        if self._is_new or held_steps == period:
            elapsed_s = None if held_steps == period else held_steps * self._step_s
            self._commands.update(command, joint_position, elapsed_s=elapsed_s)
            held_steps, self._is_new = 0, False
        self._held_steps = held_steps + steps
        drive = self._commands.drive
        if held_steps == 0 or not self.moves:
            return drive
        np.multiply(drive.velocity, held_steps * self._step_s, out=self._now.position)
        self._now.position += drive.position
        return self._now
