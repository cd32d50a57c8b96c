"""The way of commands to the drives, as late as a SensorModel says."""

from __future__ import annotations

import numpy as np

from robot_wm_sim.sensing.delay import DelayLine, Item, delay_steps
from robot_wm_sim.sensing.sensor_model import SensorModel


class CommandChannel(DelayLine[Item]):
    """A delay line whose items are commands. Steps are physics steps."""

    def __init__(self, model: SensorModel, rate_hz: float, rng: np.random.Generator) -> None:
        """``rate_hz`` is that of physics; ``rng`` is for jitter alone."""
        super().__init__()
        self._model, self._rate_hz, self._rng = model, rate_hz, rng

    def send(self, command: Item, step: int) -> None:
        """Let a command go at ``step``."""
        late_s = self._model.action_latency_s + self._model.jitter_s * self._rng.random()
        self.put(command, step + delay_steps(late_s, self._rate_hz))
