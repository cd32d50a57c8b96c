"""The way of samples from the sensors to who acts on them: late, jittering, lossy and noisy, as a SensorModel says."""

from __future__ import annotations

from collections import deque

import numpy as np

from robot_wm_sim.sensing.delay import delay_steps
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
        self._sensors, self._model, self._rate_hz = sensors, model, rate_hz
        self._noise = Noise(model, sensors)
        self._noise_rng, self._fate_rng = rng.spawn(2)
        self.most_steps = delay_steps(model.observation_latency_s + model.jitter_s, rate_hz)  # that a sample is late
        self._readings: deque[tuple[int, Reading]] = deque()  # oldest first
        self._fates: deque[tuple[int, bool]] = deque()  # of samples to come: steps late, whether lost
        self._latest: Reading | None = None  # the last that arrived, with its noise

    def read(self, step: int, *, look: bool = False) -> None:
        """Read the sensors as they are now, at ``step``, and with ``look`` the cameras. The first is of the start."""
        reading = self._sensors.read(step / self._rate_hz)
        if look:
            reading.images = self._sensors.pictures()
        self._readings.append((step, reading))
        self._forget(step - self.most_steps)

    def due(self, step: int, period: int) -> list[int]:
        """Steps within (step, step + period] whose readings will be asked for, in order.

        For who asks for the next sample at ``step + period``, and then for one every ``period`` steps.
        """
        ticks = range(1, 2 + self.most_steps // period)  # whose samples may be of this period
        wanted = {step + tick * period - self._fate(tick - 1)[0] for tick in ticks}
        return sorted(at for at in wanted if step < at <= step + period)

    def sample(self, step: int) -> Sample:
        """What has arrived by ``step``, as `latest` has it; the caller's own."""
        return self._sensors.sample(self.latest(step))

    def latest(self, step: int) -> Reading:
        """What has arrived by ``step``: at first the reading of the start, however late it is. Ours: leave it be."""
        late_steps, is_lost = self._fate(0)
        self._fates.popleft()
        if self._latest is None or not is_lost:
            self._forget(step - late_steps)  # so that no sample is older than one before it
            self._latest = self._readings[0][1].copy()
            self._noise.add_to(self._latest, self._noise_rng)
        return self._latest

    def _fate(self, ahead: int) -> tuple[int, bool]:
        while len(self._fates) <= ahead:
            jitter, loss = self._fate_rng.random(2).tolist()
            late_s = self._model.observation_latency_s + jitter * self._model.jitter_s
            self._fates.append((delay_steps(late_s, self._rate_hz), loss < self._model.drop_probability))
        return self._fates[ahead]

    def _forget(self, step: int) -> None:
        """Drop what is older than the newest reading that is at least as old as ``step``."""
        while len(self._readings) > 1 and self._readings[1][0] <= step:
            self._readings.popleft()
