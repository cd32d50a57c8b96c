"""What the agent's monitor says of each tick: its inputs gathered, its judgement written into the command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from robot_wm.runtime.command import Command
from robot_wm.runtime.monitor import Monitor, MonitorSection

Float32 = NDArray[np.float32]


class Alarm:
    """A ``Monitor`` with the tick that it watches.

    ``outputs`` are the engine's, ``operator`` [U in all] views of the command fields as they were given, SI.
    """

    def __init__(self, section: MonitorSection, outputs: Mapping[str, Float32], operator: Sequence[Float32]) -> None:
        self._monitor = Monitor(section)
        # [F] of the output that tells of falls, a view
        self._belief = None if section.fall is None else outputs[section.fall.output].reshape(-1)
        self._operator = operator

    def judge(self, command: Command, *, is_first: bool) -> None:
        """Write the tick's scores, and what they mean, into ``command``, whose surprise is known."""
        wanted = [number for view in self._operator for number in view.tolist()]  # [U]
        scores = command.scores = self._monitor.scores(command.surprise, self._belief, wanted, is_first=is_first)
        command.changed, command.falling = self._monitor.is_changed(scores), self._monitor.is_falling(scores)

    def text(self, command: Command) -> str:
        """What was judged, in words; "" for nothing."""
        return self._monitor.text(command.scores) if command.falling or command.changed else ""
