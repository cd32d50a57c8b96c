"""A task's robot that stands in for the real one: physics, firmware, and the way there and back, step by step.

Nobody but ``reset`` puts it back on its feet, and its operator's commands (a velocity, a target) are not its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.utils import seeding
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.tasks import make_env
from robot_wm_sim.env import RobotEnv
from robot_wm_sim.realtime.firmware import Firmware
from robot_wm_sim.sensing.channel import SensorChannel
from robot_wm_sim.sensing.command_channel import CommandChannel
from robot_wm_sim.sensing.delay import DelayLine, delay_steps
from robot_wm_sim.sensing.sample import Sample
from robot_wm_sim.sensing.sensor_model import EXACT, SensorModel
from robot_wm_sim.sensing.sensors import Sensors


class SimulatedRobot:
    """One robot. Physics moves in ``advance`` only; a seed fixes everything that follows from the same calls.

    The drives, gains and limits are those of the task's scene. Samples and commands are late and noisy as the
    SensorModel says, through the very code, and with the very draws, of an environment that is reset with this seed. So
    is its world, where the task's options randomise it.
    """

    def __init__(
        self,
        env: RobotEnv,
        *,
        seed: int = 0,
        watchdog_s: float | None = None,
        sensor_model: SensorModel | None = None,
    ) -> None:
        """Takes over task and physics of ``env``, which nobody else may step. Raises UserError for a bad number.

        ``sensor_model`` is by default that of ``env``; both is one too many.
        """
        self._env, self.task, self.sim = env, env.task, env.sim
        self.spec = env.task.spec
        self.firmware = Firmware(env.task.scene.robot, self.spec, watchdog_s=watchdog_s)
        self.steps = 0  # physics steps since it was built; a reset does not turn time back
        if sensor_model is not None and env.sensor_model != EXACT:
            raise UserError(f"task {self.spec.task}: its options tell of a sensor model, and so do those of the robot")
        self._model = env.sensor_model if sensor_model is None else sensor_model
        self._sensors = Sensors(self.task, self.sim)
        self._task_rng = seeding.np_random(seed)[0]  # the very episodes that the environment has for this seed
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
        self._world = self._env.worlds.begin(None, self._task_rng)
        model = self._world.sensor_model(self._model)
        self.task.reset(self.sim, self._task_rng)
        self.firmware.reset(self._world.motors)
        (rng,) = self._task_rng.spawn(1)  # as RobotEnv does
        sample_rng, command_rng = rng.spawn(2)
        rate_hz = self.spec.physics_rate_hz
        self._commands: CommandChannel[tuple[tuple[str, ...], Sequence[float]]] = CommandChannel(
            model, rate_hz, command_rng
        )
        self._pictures: DelayLine[dict[str, NDArray[np.uint8]]] = DelayLine()
        self._picture_steps = delay_steps(model.observation_latency_s, rate_hz)
        self._samples = SensorChannel(self._sensors, model, rate_hz, sample_rng)
        self._steps_in_episode = 0
        self._sensors.before_run()
        self._samples.read(self.steps)

    def command(self, names: Sequence[str], values: Sequence[float]) -> None:
        """Send a command, a value for each named joint, which reaches the drives as late as the model says."""
        self._commands.send((tuple(names), values), self.steps)

    def advance(self, steps: int = 1) -> None:
        """So many physics steps, each with what has reached the drives by its start."""
        for _ in range(steps):
            for names, values in self._commands.take(self.steps):
                refusal = self.firmware.take(names, values)
                if refusal:
                    self.refused, self.refusal = self.refused + 1, refusal
            if self._steps_in_episode % self.spec.physics_steps == 0:
                if (pushes := self._world.pushes) is not None:
                    pushes.advance(self.sim, self._steps_in_episode / self.spec.physics_rate_hz)
                self.task.advance(self.sim, self._task_rng)
            self._sensors.before_run()
            self.sim.run(self.firmware.step(self.sim.state.joint_position), 1)
            self.steps += 1
            self._steps_in_episode += 1
            if self._samples.most_steps:
                self._samples.read(self.steps)

    def stand(self, steps: int) -> None:
        """Let the time of so many physics steps pass while the robot is held: nothing moves, nothing is obeyed."""
        self.steps += steps

    def look(self) -> None:
        """Take a picture with each camera of the spec, for a later ``sample``."""
        self._pictures.put(self._sensors.pictures(), self.steps + self._picture_steps)

    def sample(self) -> Sample:
        """What the sensors say now, with noise, and the pictures that have come since the last; the caller's own."""
        if not self._samples.most_steps:
            self._samples.read(self.steps)
        sample = self._samples.sample(self.steps)
        for pictures in self._pictures.take(self.steps):
            sample.images.update(pictures)
        return sample

    def close(self) -> None:
        """Free the physics engine."""
        self._env.close()
