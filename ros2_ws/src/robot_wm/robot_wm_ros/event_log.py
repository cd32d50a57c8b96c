"""What an operator reads while the robot runs: every change of mode, and faults in words, not too often."""

from __future__ import annotations

import math
from typing import Any

from robot_wm.runtime.controller import Command
from robot_wm.runtime.faults import fault_names
from robot_wm.runtime.modes import Mode

EVERY_S = 1.0  # while faults go on

_GRAVE = (Mode.HOLD, Mode.DAMP, Mode.ESTOP)


class EventLog:
    """Logs what happens from tick to tick to a ROS logger: changes of mode at once, faults once a second."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self.mode = Mode.INACTIVE  # the last one that was told
        self._faulty_ticks = 0  # since the last line
        self._logged_s = -math.inf

    def add(self, command: Command, problem: str, now_s: float) -> None:
        """Take note of a tick. ``problem`` is the sensor frame's, ``now_s`` a steady clock's."""
        faulty = command.fault_bits != 0
        changed = command.mode is not self.mode
        self._faulty_ticks += faulty
        if not changed and not (faulty and now_s - self._logged_s >= EVERY_S):
            return
        text = f"{self.mode.value} -> {command.mode.value}" if changed else command.mode.value
        if faulty:
            told = "; ".join(part for part in (command.detail, problem) if part)
            text += f": {' '.join(fault_names(command.fault_bits))}: {told}"
            if self._faulty_ticks > 1:
                text += f" ({self._faulty_ticks} faulty ticks since the last such line)"
        # One call a severity: rclpy ties a severity to the line that it is called from.
        if faulty or command.mode in _GRAVE:
            self._logger.warning(text)
        else:
            self._logger.info(text)
        self.mode = command.mode
        self._faulty_ticks = 0
        self._logged_s = now_s
