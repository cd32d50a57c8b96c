"""What a robot's own firmware does with commands: keep the last, cut it to the limits, brake when nobody commands.

Time is counted in physics steps, so that no clock can stretch a watchdog.

=============  =======================================================  =================================
mode           entered when                                             left when
=============  =======================================================  =================================
following      a command is at most ``watchdog_s`` old, nothing below   see below
watchdog_damp  no command was taken for ``watchdog_s``; at the start    a command is taken
damp           the agent asks for it                                    the agent asks for it no longer
estop          the button is pressed; above all others                  ``reset``, and nothing else
=============  =======================================================  =================================

In every mode but the first all motors brake with kd alone: no position gain, no target velocity, no effort.
Shape letters: A actions, J joints, M motors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.runtime.limits import command_limits
from robot_wm.spec import AgentSpec
from robot_wm_sim.drive import Drive
from robot_wm_sim.held_drive import HeldDrive
from robot_wm_sim.randomisation.episode import VariedMotors
from robot_wm_sim.robot import Robot

WATCHDOG_PERIODS = 5  # control periods without a command, unless told otherwise


class FirmwareMode(str, Enum):
    """What the drives do."""

    FOLLOWING = "following"
    WATCHDOG_DAMP = "watchdog_damp"
    DAMP = "damp"
    ESTOP = "estop"


class Firmware:
    """Drives of one robot, commanded in the units of its spec's action. ``step`` is called once a physics step."""

    def __init__(self, robot: Robot, spec: AgentSpec, *, watchdog_s: float | None = None) -> None:
        """Raises UserError for an action that is not joints', and for a watchdog shorter than a physics step."""
        if spec.action.is_discrete:
            raise UserError(f"task {spec.task}: a discrete action commands no joints")
        watchdog_s = WATCHDOG_PERIODS * spec.control_period_s if watchdog_s is None else watchdog_s
        shortest = 1.0 / spec.physics_rate_hz
        if not shortest <= watchdog_s < math.inf:
            raise UserError(f"watchdog_s must be at least a physics step, {shortest:g} s, got {watchdog_s}")
        self.joints = spec.action.joints  # [A]
        self.mode = FirmwareMode.WATCHDOG_DAMP
        self.watchdog_s = watchdog_s
        self._watchdog_steps = round(watchdog_s * spec.physics_rate_hz)
        limits = command_limits(spec)
        self._low, self._high = limits.low.astype(np.float64), limits.high.astype(np.float64)  # [A]
        self._held = HeldDrive(robot, spec)
        self._names: tuple[str, ...] = self.joints  # of the last message, and where its values belong
        self._order: list[int] | None = list(range(len(self.joints)))
        self._damp = False
        self.reset()

    def reset(self, motors: VariedMotors | None = None) -> None:
        """Forget every command and the e-stop; what the agent asks of ``damp`` stands. The motors are now these."""
        self._command: NDArray[np.float64] | None = None  # [A]
        self._age_steps = 0  # since a command was taken
        self._held.begin(motors)
        self._stopped = False
        self._decide()

    def take(self, names: Sequence[str], values: Sequence[float]) -> str:
        """Take a command, a value for each joint in any order; the reason if it is refused, else "".

        A refused command changes nothing, nor does it feed the watchdog: the last one is held.
        """
        if self._names != tuple(names):
            self._names, self._order = tuple(names), self._places(names)
        if self._order is None:
            return f"joints {', '.join(map(str, names[:20]))} are not {', '.join(self.joints)}"
        if len(values) != len(self._order):
            return f"{len(values)} values for {len(self._order)} joints"
        command = np.array(values, dtype=np.float64)[self._order]  # [A]
        if not np.isfinite(command).all():
            joint = self.joints[int(np.argmin(np.isfinite(command)))]
            return f"joint {joint}: command {command[self.joints.index(joint)]} is not finite"
        self._command = np.minimum(np.maximum(command, self._low), self._high)
        self._age_steps = 0
        self._held.take(self._command)
        return ""

    def damp(self, wanted: bool) -> None:
        """Brake as long as the agent wants it."""
        self._damp = wanted
        self._decide()

    def estop(self) -> None:
        """Brake until ``reset``."""
        self._stopped = True
        self._decide()

    def step(self, joint_position: NDArray[np.float64]) -> Drive:
        """The drives for the next physics step, valid until the next call; ``joint_position`` [J] now."""
        self._decide()
        self._age_steps += 1
        if self.mode is not FirmwareMode.FOLLOWING:
            self._held.release()
        elif self._held.is_released and self._command is not None:
            self._held.take(self._command)
        return self._held.run(joint_position)

    def _decide(self) -> None:
        if self._stopped:
            self.mode = FirmwareMode.ESTOP
        elif self._damp:
            self.mode = FirmwareMode.DAMP
        elif self._command is None or self._age_steps >= self._watchdog_steps:
            self.mode = FirmwareMode.WATCHDOG_DAMP
        else:
            self.mode = FirmwareMode.FOLLOWING

    def _places(self, names: Sequence[str]) -> list[int] | None:
        """Where each joint's value stands in a message with these names; None unless they are the joints."""
        if len(names) != len(self.joints) or set(names) != set(self.joints):
            return None
        return [list(names).index(joint) for joint in self.joints]
