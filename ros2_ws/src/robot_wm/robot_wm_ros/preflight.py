"""What an agent would find if it were activated now: sensors silent, broken or slow, and commands that nobody hears."""

from __future__ import annotations

import math

from robot_wm_ros.bindings import Input
from robot_wm_ros.commands import CommandPublisher
from robot_wm_ros.sensor_frame import SensorFrame

SLOW = 0.9  # of the control rate; a sensor that is slower cannot make the agent tick at its own


class Preflight:
    """Looks at the sensors that have come since the node was configured, whether or not it drives."""

    def __init__(
        self, frame: SensorFrame, inputs: tuple[Input, ...], commands: CommandPublisher, *, wanted_rate_hz: float
    ) -> None:
        self._frame, self._commands, self._wanted_rate_hz = frame, commands, wanted_rate_hz
        # What an operator has not said (yet) is a command of zero, and no sensor's fault.
        self._inputs = [entry for entry in inputs if any(frame.needs_message(name) for name in entry.fields)]

    @property
    def unheard_topic(self) -> str:
        """The topic of the commands, if nobody listens to it; else ""."""
        return "" if self._commands.listeners else self._commands.topic

    def problems(self, now_s: float, trigger_rate_hz: float) -> tuple[str, ...]:
        """Of the sensors, in words; ``now_s`` is ROS time, ``trigger_rate_hz`` NaN where it is not known."""
        found = []
        for entry in self._inputs:
            stamps_s = [self._frame.stamps_s[name] for name in entry.fields if self._frame.needs_message(name)]
            age_s = now_s - min(stamps_s)
            if math.isnan(age_s):
                found.append(f"{entry.topic}: no message yet")
            elif problem := self._frame.problems[entry.topic]:
                found.append(f"{entry.topic}: {problem}")
            elif not -entry.max_age_s <= age_s <= entry.max_age_s:
                found.append(f"{entry.topic}: silent, the last message is {age_s:.3g} s old")
            elif entry.is_trigger and trigger_rate_hz < SLOW * self._wanted_rate_hz:
                found.append(f"{entry.topic} comes at {trigger_rate_hz:.3g} Hz, {self._wanted_rate_hz:g} Hz wanted")
        return tuple(found)
