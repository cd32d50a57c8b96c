"""The way of samples from the sensors to who acts on them: late, jittering, lossy and noisy, as a SensorModel says."""

from __future__ import annotations

from collections import deque
from functools import partial

import numpy as np

from robot_wm_sim.sensing.ahead import Ahead
from robot_wm_sim.sensing.delay import delay_steps, delays_steps
from robot_wm_sim.sensing.noise import Noise
from robot_wm_sim.sensing.reading import Reading
from robot_wm_sim.sensing.sample import Sample
from robot_wm_sim.sensing.sensor_model import SensorModel
from robot_wm_sim.sensing.sensors import Sensors


class SensorChannel:
    """Remembers readings and hands out samples, through one episode. Steps are physics steps, of any origin.

    The k-th sample has the k-th latency and the k-th chance to get lost, whenever it is asked for, and
    noise has a generator of its own: a seed gives the same samples in an environment and in real time.
    """

    def __init__(self, sensors: Sensors, model: SensorModel, rate_hz: float, rng: np.random.Generator) -> None:
        """``rate_hz`` is that of physics. Raises UserError for what the model names and the sensors do not read."""
        self._sensors, self._rate_hz = sensors, rate_hz
        noise_rng, fate_rng = rng.spawn(2)
        self._noise = Noise(model, sensors)
        self._errors = Ahead(partial(self._noise.errors, noise_rng))  # of samples that are not lost
        self._fates = Ahead(partial(_fates, model, rate_hz, fate_rng))
        self.most_steps = delay_steps(model.observation_latency_s + model.jitter_s, rate_hz)  # that a sample is late
        self._readings: deque[tuple[int, Reading]] = deque()  # oldest first
        self._latest: Reading | None = None  # the last that arrived, with its noise

    def read(self, step: int, *, look: bool = False) -> None:
        """Read the sensors as they are now, at ``step``, and with ``look`` the cameras. The first is of the start."""
        self._readings.append((step, self._sensors.read(step / self._rate_hz, look=look)))
        self._forget(step - self.most_steps)

    def due(self, step: int, period: int) -> list[int]:
        """Steps within (step, step + period] whose readings will be asked for, in order.

        For who asks for the next sample at ``step + period``, and then for one every ``period`` steps.
        """
        wanted, ahead = [], self._fates.peek
        for tick in range(1 + self.most_steps // period):  # whose samples may be of this period
            at = step + (tick + 1) * period - ahead(tick)[0]
            if step < at <= step + period and at not in wanted:
                wanted.append(at)
        return sorted(wanted) if len(wanted) > 1 else wanted

    def sample(self, step: int) -> Sample:
        """What has arrived by ``step``, as `latest` has it; the caller's own."""
        return self._sensors.sample(self.latest(step))

    def latest(self, step: int) -> Reading:
        """What has arrived by ``step``: at first the reading of the start, however late it is. Ours: leave it be."""
        late_steps, is_lost = self._fates.take()
        if self._latest is None or not is_lost:
            self._forget(step - late_steps)  # so that no sample is older than one before it
            self._latest = self._noise.added_to(self._readings[0][1], self._errors.take())
        return self._latest

    def _forget(self, step: int) -> None:
        """Drop what is older than the newest reading that is at least as old as ``step``."""
        readings = self._readings
        while len(readings) > 1 and readings[1][0] <= step:
            readings.popleft()


def _fates(model: SensorModel, rate_hz: float, rng: np.random.Generator, count: int) -> list[tuple[int, bool]]:
    """Of so many samples: physics steps late, and whether lost."""
    jitter, loss = rng.random((count, 2)).T
    late = delays_steps(model.observation_latency_s + jitter * model.jitter_s, rate_hz)
    return list(zip(late, (loss < model.drop_probability).tolist(), strict=True))
