"""A task's robot that stands in for the real one: physics, firmware, sensors, noise and latency, step by step.

Nobody but ``reset`` puts it back on its feet, and its operator's commands (a velocity, a target) are not its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.utils import seeding
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.tasks import make_env
from robot_wm_sim.env import RobotEnv
from robot_wm_sim.realtime.delay import DelayLine
from robot_wm_sim.realtime.firmware import Firmware
from robot_wm_sim.realtime.noise import SensorNoise
from robot_wm_sim.realtime.sample import Sample
from robot_wm_sim.realtime.sensors import Sensors


class SimulatedRobot:
    """One robot. Physics moves in ``advance`` only; a seed fixes everything that follows from the same calls.

    The drives, gains and limits are those of the task's scene. A command takes ``action_latency_s`` to reach the
    drives, a reading ``sensor_latency_s`` to reach ``sample``; both are rounded to whole physics steps.
    """

    def __init__(
        self,
        env: RobotEnv,
        *,
        seed: int = 0,
        watchdog_s: float | None = None,
        noise: SensorNoise | None = None,
        sensor_latency_s: float = 0.0,
        action_latency_s: float = 0.0,
    ) -> None:
        """Takes over task and physics of ``env``, which nobody else may step. Raises UserError for a bad number."""
        self._env, self.task, self.sim = env, env.task, env.sim
        self.spec = env.task.spec
        self.firmware = Firmware(env.task.scene.robot, self.spec, watchdog_s=watchdog_s)
        self.steps = 0  # physics steps since it was built; a reset does not turn time back
        self._noise = noise
        self._sensors = Sensors(self.task, self.sim)
        self._readings: DelayLine[Sample] = DelayLine(self._latency_steps("sensor_latency_s", sensor_latency_s))
        self._pictures: DelayLine[dict[str, NDArray[np.uint8]]] = DelayLine(self._readings.steps)
        self._commands: DelayLine[tuple[tuple[str, ...], Sequence[float]]] = DelayLine(
            self._latency_steps("action_latency_s", action_latency_s)
        )
        self._task_rng = seeding.np_random(seed)[0]  # the very episodes that the environment has for this seed
        self._noise_rng = np.random.default_rng((seed, 1))
        self._start = self.sim.save()
        self.refused = 0  # commands
        self.refusal = ""  # of the last refused command, and why
        self.reset()

    @classmethod
    def of_task(
        cls, task: str, options: Mapping[str, Any] | None = None, *, seed: int = 0, **robot: Any
    ) -> SimulatedRobot:
        """The robot of a registered task; ``options`` go to the task. Raises UserError unless it is one of ours."""
        env = make_env(task, seed=seed, **(options or {}))
        if isinstance(env.unwrapped, RobotEnv):
            try:
                return cls(env.unwrapped, seed=seed, **robot)
            except BaseException:
                env.close()
                raise
        env.close()
        raise UserError(f"task {task}: it has no robot that could be simulated in real time")

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Joints and couplings in the order of a sample's arrays, [N]."""
        return self._sensors.joint_names

    @property
    def has_cameras(self) -> bool:
        """Whether its spec has pictures."""
        return bool(self._sensors.images)

    @property
    def time_s(self) -> float:
        """Physics time since the robot was built, s."""
        return self.steps / self.spec.physics_rate_hz

    def reset(self) -> None:
        """Put the robot where the task starts, with everything forgotten that was said to it, the e-stop included."""
        self.sim.restore(self._start)
        self.task.reset(self.sim, self._task_rng)
        self.firmware.reset()
        self._commands.clear()
        self._readings.clear()
        self._pictures.clear()
        self._steps_in_episode = 0
        self._sensors.before_step()
        self._reading = self._read()

    def command(self, names: Sequence[str], values: Sequence[float]) -> None:
        """Send a command, a value for each named joint, which reaches the drives ``action_latency_s`` from now."""
        self._commands.put((tuple(names), values), self.steps)

    def advance(self, steps: int = 1) -> None:
        """So many physics steps, each with what has reached the drives by its start."""
        for _ in range(steps):
            for names, values in self._commands.take(self.steps):
                refusal = self.firmware.take(names, values)
                if refusal:
                    self.refused, self.refusal = self.refused + 1, refusal
            if self._steps_in_episode % self.spec.physics_steps == 0:
                self.task.advance(self.sim, self._task_rng)
            self._sensors.before_step()
            self.sim.run(self.firmware.step(self.sim.state.joint_position), 1)
            self.steps += 1
            self._steps_in_episode += 1
            if self._readings.steps:
                self._readings.put(self._read(), self.steps)

    def stand(self, steps: int) -> None:
        """Let the time of so many physics steps pass while the robot is held: nothing moves, nothing is obeyed."""
        self.steps += steps

    def look(self) -> None:
        """Take a picture with each camera of the spec, for a later ``sample``."""
        self._pictures.put(self._sensors.pictures(), self.steps)

    def sample(self) -> Sample:
        """What the sensors say now, with noise, and the pictures that have come since the last; the caller's own."""
        if self._readings.steps == 0:
            self._reading = self._read()
        elif arrived := self._readings.take(self.steps):
            self._reading = arrived[-1]
        sample = self._reading.copy()
        for pictures in self._pictures.take(self.steps):
            sample.images.update(pictures)
        if self._noise is not None:
            self._noise.add_to(sample, self._noise_rng)
        return sample

    def close(self) -> None:
        """Free the physics engine."""
        self._env.close()

    def _read(self) -> Sample:
        return self._sensors.read(self.time_s)

    def _latency_steps(self, name: str, latency_s: float) -> int:
        if not 0.0 <= latency_s < math.inf:
            raise UserError(f"{name} must be at least 0 s, got {latency_s}")
        return round(latency_s * self.spec.physics_rate_hz)
