"""The latest values of all observation fields, as the Controller takes them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.spec import AgentSpec, Source

_SPEEDS = ("m/s", "rad/s")


class SensorFrame:
    """What ``Controller.step`` gets. Its arrays are made once and written in place when messages are read.

    An operator's command that timed out is zero, if it is one of speeds whose ranges include zero and
    ``zero_commands`` is set: robots stand when the operator lets go. Every other value just gets old, and the
    Controller finds that.
    """

    def __init__(self, spec: AgentSpec, *, zero_commands: bool) -> None:
        fields = [field for field in spec.observations if field.source is not Source.LAST_ACTION]
        self.buffers: dict[str, NDArray[Any]] = {
            field.name: np.zeros(field.shape, dtype=field.dtype) for field in fields
        }
        # None: there is no message, or the latest one could not be read.
        self.observation: dict[str, NDArray[Any] | None] = dict.fromkeys(self.buffers)
        self.stamps_s: dict[str, float] = dict.fromkeys(self.buffers, math.nan)  # ROS time
        self.problems: dict[str, str] = {}  # of the latest message of each topic; "" if it was sound
        is_speed = all(command.unit in _SPEEDS and command.low <= 0 <= command.high for command in spec.commands)
        self._max_ages_s = {
            field.name: field.max_age_s
            for field in fields
            if zero_commands and is_speed and field.source is Source.COMMAND
        }
        self._command_stamps_s = dict.fromkeys(self._max_ages_s, math.nan)

    @property
    def problem(self) -> str:
        """What is wrong with the latest messages, naming topic and joint; "" if nothing is."""
        return "; ".join(f"{topic}: {problem}" for topic, problem in self.problems.items() if problem)

    def stamps_of(self, name: str) -> dict[str, float]:
        """Where the stamp of a field's messages is to be written."""
        return self._command_stamps_s if name in self._command_stamps_s else self.stamps_s

    def needs_message(self, name: str) -> bool:
        """Whether a field is nothing without a message; others are zero."""
        return name not in self._command_stamps_s

    def refresh(self, now_s: float) -> None:
        """Call once before each step, in ROS time: commands that timed out become zero.

        Whether such a command is too old is decided here and nowhere else: sound or zero, it is of now. So it is not
        a clock's fault when an operator's message from before the zeros follows them.
        """
        for name, stamp_s in self._command_stamps_s.items():
            age_s, max_age_s = now_s - stamp_s, self._max_ages_s[name]
            if not -max_age_s <= age_s <= max_age_s:  # also NaN: there was none yet
                self.buffers[name].fill(0)
                self.observation[name] = self.buffers[name]
            self.stamps_s[name] = now_s
