"""What an operator reads while the robot runs: every change of mode and of faults in words, once."""

from __future__ import annotations

import math
from typing import Any

from robot_wm.runtime.command import Command
from robot_wm.runtime.faults import fault_names
from robot_wm.runtime.modes import Mode

SOUND_S = 1.0  # without a fault, and faults that come later are others

_GRAVE = (Mode.HOLD, Mode.CROUCH, Mode.DAMP, Mode.ESTOP)


class EventLog:
    """Logs what changes from tick to tick to a ROS logger: modes, faults that come, and that they are over.

    A fault that lasts is told once, however long it lasts or flickers, and again with every change of mode;
    /diagnostics repeats it. Faults are over when there was none for ``SOUND_S``, or when the robot is driven again:
    then a line says how many ticks they took.
    """

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self.mode = Mode.INACTIVE  # the last one that was told
        self._told_bits = 0  # faults that were told of these
        self._faulty_ticks = 0  # since the last line
        self._faulty_s = -math.inf  # when the last was
        self._has_faults = False

    def add(self, command: Command, problem: str, now_s: float) -> None:
        """Take note of a tick. ``problem`` is the sensor frame's, ``now_s`` a steady clock's."""
        bits = command.fault_bits
        changed = command.mode is not self.mode
        if bits:
            self._faulty_ticks += 1
            self._faulty_s, self._has_faults = now_s, True
        is_over = self._has_faults and not bits and now_s - self._faulty_s >= SOUND_S
        if not (changed or is_over or bits & ~self._told_bits):
            return
        text = f"{self.mode.value} -> {command.mode.value}" if changed else command.mode.value
        if bits:
            told = "; ".join(part for part in (command.detail, problem) if part)
            text += f": {' '.join(fault_names(bits))}: {told}"
        elif changed and command.detail:
            text += f": {command.detail}"
        elif is_over:
            text += ": no fault any more"
        if self._faulty_ticks > bool(bits):
            text += f" ({self._faulty_ticks} faulty ticks since the last such line)"
        # One call a severity: rclpy ties a severity to the line that it is called from.
        if bits or command.mode in _GRAVE:
            self._logger.warning(text)
        else:
            self._logger.info(text)
        self._told_bits = 0 if is_over else bits if changed else self._told_bits | bits
        drives_again = changed and not bits and command.mode not in _GRAVE
        self._has_faults &= not (is_over or drives_again)
        self.mode = command.mode
        self._faulty_ticks = 0
