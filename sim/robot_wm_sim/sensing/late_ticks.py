"""Control periods of an environment in which commands come late, or in which the agent is not told what is so now."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from robot_wm_sim.backend import PhysicsBackend
from robot_wm_sim.held_drive import HeldDrive
from robot_wm_sim.sensing.channel import SensorChannel
from robot_wm_sim.sensing.command_channel import CommandChannel
from robot_wm_sim.sensing.sensed_world import SensedWorld
from robot_wm_sim.sensing.sensor_model import SensorModel
from robot_wm_sim.sensing.sensors import Sensors
from robot_wm_sim.task import Task, Vector


class LateTicks:
    """One episode under a SensorModel, from a robot that was just put where it starts.

    Physics runs from one event to the next: a command arrives, a reading is due, a set-point is renewed. Where nothing
    is late that is the whole control period. As a robot's firmware does, the drives brake until the first command.
    """

    def __init__(
        self,
        task: Task,
        sim: PhysicsBackend,
        sensors: Sensors,
        held: HeldDrive,
        model: SensorModel,
        rng: np.random.Generator,
    ) -> None:
        """``held`` has begun. Raises UserError for what the model names and the task's sensors do not read."""
        self._task, self._sim, self._model = task, sim, model
        spec = task.spec
        self._period = spec.physics_steps
        self._step = 0  # physics steps in the episode
        self._sensors, self._held = sensors, held
        self._world = SensedWorld(sim)
        sample_rng, command_rng = rng.spawn(2)
        self._samples = SensorChannel(sensors, model, spec.physics_rate_hz, sample_rng)
        self._samples.read(0, look=True)
        self._commands: CommandChannel[NDArray[np.float64]] = CommandChannel(model, spec.physics_rate_hz, command_rng)

    def run(self, command: NDArray[np.float64]) -> None:
        """One control period that begins with sending a command [A], SI."""
        sim, held, commands, step = self._sim, self._held, self._commands, self._step
        commands.send(command, step)
        due = [] if self._model.is_exact else self._samples.due(step, self._period)
        self._step = end = step + self._period
        while step < end:
            for arrived in commands.take(step):
                held.take(arrived)
            until = min(end, step + held.steps_left, commands.next_step or end, *due[:1])
            is_read = bool(due) and due[0] == until
            drive = held.run(sim.state.joint_position, until - step)
            refresh = is_read or until == end or held.moves
            sim.run(drive, until - step, refresh=refresh, is_same=held.is_same)
            step = until
            if is_read:
                self._samples.read(due.pop(0), look=True)

    def observe(self) -> tuple[dict[str, Vector], dict[str, NDArray[np.uint8]]]:
        """What the agent is told at this tick: vectors and pictures, by field. Called once a tick."""
        if self._model.is_exact:
            return dict(self._task.observe(self._sim)), self._sensors.pictures()
        reading = self._samples.latest(self._step)
        self._world.show(reading)
        values = {**self._task.observe(cast(PhysicsBackend, self._world)), **reading.fields}
        return values, {name: picture.copy() for name, picture in reading.images.items()}  # readings share them
