"""The way of commands to the drives, as late as a SensorModel says."""

from __future__ import annotations

import numpy as np

from robot_wm_sim.sensing.ahead import Ahead
from robot_wm_sim.sensing.delay import DelayLine, Item, delays_steps
from robot_wm_sim.sensing.sensor_model import SensorModel


class CommandChannel(DelayLine[Item]):
    """A delay line whose items are commands. Steps are physics steps."""

    def __init__(self, model: SensorModel, rate_hz: float, rng: np.random.Generator) -> None:
        """``rate_hz`` is that of physics; ``rng`` is for jitter alone, and ours from now on."""
        super().__init__()

        def draw(count: int) -> list[int]:
            return delays_steps(model.action_latency_s + model.jitter_s * rng.random(count), rate_hz)

        self._late_steps = Ahead(draw)

    def send(self, command: Item, step: int) -> None:
        """Let a command go at ``step``."""
        self.put(command, step + self._late_steps.take())
