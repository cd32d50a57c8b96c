"""RobotEnv: a Gymnasium environment over one Task and one PhysicsBackend."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.evaluation.overlay import Panel
from robot_wm.spec import AgentSpec, Source
from robot_wm.tasks import DEFAULT_BACKEND
from robot_wm_sim.backend import load_backend
from robot_wm_sim.chase import Chase
from robot_wm_sim.held_drive import HeldDrive
from robot_wm_sim.posed import PosedTask, posed_task
from robot_wm_sim.randomisation.ranges import NONE, Randomisation
from robot_wm_sim.randomisation.worlds import Worlds
from robot_wm_sim.scene import Scene
from robot_wm_sim.sensing.late_ticks import LateTicks
from robot_wm_sim.sensing.noise import Noise
from robot_wm_sim.sensing.sensor_model import EXACT, SensorModel
from robot_wm_sim.sensing.sensors import Sensors
from robot_wm_sim.spaces import action_space, command_bounds, observation_space
from robot_wm_sim.task import VIDEO, Outcome, Task, Vector

if TYPE_CHECKING:
    from robot_wm_sim.window import Window

VIDEO_SIZE = (480, 640)  # height, width in pixels
WINDOW_RATE_HZ = 25.0  # of new poses in a window, at most

Observation = dict[str, Any]  # name → float32 [O] or uint8 [height, width, 3]


class RobotEnv(gymnasium.Env[Observation, Any]):
    """Observations are the spec's fields, raw in SI, one frame; actions are SI commands [A].

    Scaling, clipping and history are the Controller's business, not the environment's. A seed fixes an episode bit by
    bit, whatever was run before: each reset restores the snapshot taken when the scene was built.
    """

    # Gymnasium declares it an instance's.
    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "human"]}  # noqa: RUF012

    def __init__(
        self,
        task: Task,
        *,
        seed: int = 0,
        render_mode: str | None = None,
        backend: str = DEFAULT_BACKEND,
        sensor_model: SensorModel = EXACT,
        randomisation: Randomisation = NONE,
    ) -> None:
        """``seed`` is that of the first reset, unless that reset names another. Raises UserError.

        With render mode "human" a window of PyBullet's shows the robot of any backend. ``sensor_model`` is that of all
        episodes whose reset names no other. What ``randomisation`` draws for an episode is told by its reset, under
        ``info["randomisation"]``.
        """
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise UserError(f"render_mode {render_mode!r} is not one of {self.metadata['render_modes']}")
        self.task = task
        self.agent_spec: AgentSpec = task.spec
        self.figure_names = task.figure_names
        self.reward_from = task.reward_from()
        self.render_mode = render_mode
        self.metadata = {**type(self).metadata, "render_fps": round(task.spec.control_rate_hz)}
        self.observation_space = observation_space(task.spec)
        self.action_space = action_space(task.spec.action)
        low, high = command_bounds(task.spec.action)
        self._low, self._high = low.astype(np.float64), high.astype(np.float64)  # [A]
        self._shape = self._low.shape
        self._physics_steps, self._control_period_s = task.spec.physics_steps, task.spec.control_period_s
        self._window = _open_window(task.scene) if render_mode == "human" else None
        self.sim = load_backend(backend)(task.scene)
        if self._window is not None:
            self.sim = self._window.watch(self.sim)
        self._start = self.sim.save()
        self._sensors = Sensors(task, self.sim)
        self.sensor_model = self._checked(sensor_model)
        self.worlds = Worlds(randomisation, task, self.sim, self._sensors)
        self.randomisation_names = self.worlds.names
        self._world = self.worlds.as_built
        self._late: LateTicks | None = None  # of this episode, unless all is exact and at once
        self._held = HeldDrive(task.scene.robot, task.spec)
        self._first_seed: int | None = seed
        vectors = [field for field in task.spec.observations if not field.is_image]
        ends = np.cumsum([field.shape[0] for field in vectors]).tolist()
        self._vectors = [(f.name, end - f.shape[0], end) for f, end in zip(vectors, ends, strict=True)]
        self._last_action_fields = [f.name for f in task.spec.observations if f.source is Source.LAST_ACTION]
        # A zero action, in the model's units, is the last action of an episode that has not begun.
        self._rest = np.broadcast_to(np.array(task.spec.action.offset), (task.spec.action_dim,))  # [A]
        self._last_command = self._rest
        self._steps = 0
        self._ended: Outcome | None = None  # of the episode's last step, once it was made
        self._window_steps = max(1, round(task.spec.control_rate_hz / WINDOW_RATE_HZ))
        self._chase = Chase(replace(task.scene.cameras[VIDEO], for_people=True))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; without ``seed`` it follows from the last one's generator.

        ``options["sensor_model"]`` is a SensorModel for this episode alone. What it draws comes from a generator of its
        own and changes nothing that the task draws; so does what is randomised. ``options["randomisation"]`` are the
        numbers of an earlier episode, in place of new ones: with its seed it is that episode again. Raises UserError
        for either that is none, or does not fit the task.
        """
        model = self.sensor_model
        if options is not None and "sensor_model" in options:
            model = self._checked(options["sensor_model"])
        logged = None if options is None else options.get("randomisation")
        replayed = None if logged is None else self.worlds.checked(logged)
        seed = self._first_seed if seed is None else seed
        super().reset(seed=seed, options=options)
        self._first_seed = None
        self.sim.restore(self._start)
        is_seeded, after = seed is not None, self._ended
        world = self._world = self.worlds.begin(replayed, self.np_random, is_seeded=is_seeded, after=after)
        self._ended = None
        self.task.reset(self.sim, self.np_random)
        self._held.begin(world.motors)
        self._last_command = self._rest
        self._steps = 0
        (rng,) = self.np_random.spawn(1)  # at every reset, so that what others spawn does not depend on the model
        model = world.sensor_model(model)
        exact = model.is_exact and model.is_prompt
        self._late = None if exact else LateTicks(self.task, self.sim, self._sensors, self._held, model, rng)
        self._chase.reset()
        if self._window is not None:
            self.render()
        return self._observe(), world.info

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """One control period under an SI command [A], cut to the action space; ValueError for NaN or another shape."""
        command = np.array(action, dtype=np.float64)  # ours; a lone number would be spread over all joints below
        if command.shape == self._shape:
            np.maximum(command, self._low, out=command)  # a NaN stays one
            np.minimum(command, self._high, out=command)
        if command.shape != self._shape or math.isnan(sum(command.tolist())):
            raise ValueError(f"action {action!r} is not {len(self._low)} finite numbers, {self.agent_spec.action.unit}")
        world = self._world
        if world.pushes is not None:
            world.pushes.advance(self.sim, self._steps * self._control_period_s)
        self.task.advance(self.sim, self.np_random)
        if self._late is None:
            self._held.take(command)
            self.sim.run(self._held.run(self.sim.state.joint_position, self._physics_steps), self._physics_steps)
        else:
            self._late.run(command)
        self._last_command = command
        self._steps += 1
        outcome = self.task.outcome(self.sim, command)
        truncated = self._steps >= self.task.step_limit and not outcome.terminated
        if outcome.terminated or truncated:
            self._ended = outcome
        if self._window is not None and self._steps % self._window_steps == 0:
            self.render()
        return self._observe(), float(outcome.reward), bool(outcome.terminated), truncated, dict(outcome.info)

    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]  # Gymnasium's union leaves None out
        """A picture through the scene's video camera: uint8 [480, 640, 3].

        None without a render mode; with "human" the window shows the robot as it is now, as it does by itself after
        every few steps, and the answer is None, too.
        """
        if self._window is not None:
            self._window.show(self.sim, ", ".join(f"{name} {value}" for name, value in self.overlay().items()))
        if self.render_mode != "rgb_array":
            return None
        camera = self._chase.follow(self.sim, self._steps * self.agent_spec.control_period_s)
        return self.sim.render(camera, height=VIDEO_SIZE[0], width=VIDEO_SIZE[1])

    def overlay(self) -> Panel:
        """Lines about the robot as it is now, to be drawn on a picture of it: see Task.overlay."""
        return self.task.overlay(self.sim)

    def posed_robot(self, spec: AgentSpec) -> PosedTask | None:
        """The robot to be shown as ``spec``'s fields tell it, in place of an episode: see `robot_wm.posed`."""
        return posed_task(self.task, self.sim, spec)

    def close(self) -> None:
        """Free the physics engine, and the window where there is one."""
        self.sim.close()
        if self._window is not None:
            self._window.close()

    def _checked(self, model: Any) -> SensorModel:
        """The model; UserError for one that is none, or does not fit the task."""
        if not isinstance(model, SensorModel):
            raise UserError(f"sensor_model {model!r} is not a SensorModel")
        Noise(model, self._sensors)
        return model

    def _observe(self) -> Observation:
        values: dict[str, Vector]
        if self._late is None:
            values = dict(self.task.observe(self.sim))
            pictures = self._sensors.pictures() if self._sensors.images else {}
        else:
            values, pictures = self._late.observe()
        for name in self._last_action_fields:
            values[name] = self._last_command
        observation: Observation = {}
        if self._vectors:
            # One new array, cut into fields: an array for each costs several times as much.
            numbers: list[float] = []
            for name, _, _ in self._vectors:
                value = values[name]
                numbers += value.tolist() if isinstance(value, np.ndarray) else value
            flat = np.array(numbers, dtype=np.float32)
            observation = {name: flat[start:end] for name, start, end in self._vectors}
        observation.update(pictures)
        return observation


def _open_window(scene: Scene) -> Window:
    from robot_wm_sim.window import Window  # who needs none needs no PyBullet for it

    return Window(scene, scene.cameras[VIDEO])
