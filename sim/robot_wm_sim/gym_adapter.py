"""Any Gymnasium environment as a task: ``gym:<module>:<Id>``."""

from __future__ import annotations

import importlib
import logging
import math
from collections.abc import Mapping
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces
from pydantic import ValidationError

from robot_wm.errors import UserError
from robot_wm.figures import success
from robot_wm.spec import ActionSpec, AgentSpec, FirmwareProfile, ObservationField
from robot_wm_sim import opengl
from robot_wm_sim.gym_calls import FLOAT32_MAX, as_reset, as_step, attribute, foreign, shown
from robot_wm_sim.gym_fields import Leaf, leaves
from robot_wm_sim.gym_pictures import as_frame, resize, resized_shape

# What a Gymnasium environment that names no rate is taken to run at; only `robot-wm run` keeps time by it.
DEFAULT_RATE_HZ = 30.0
# Side of a rendered image, in pixels, where no size is given.
DEFAULT_IMAGE_SIZE = 64

_log = logging.getLogger(__name__)


class GymAdapter(gymnasium.Env[dict[str, Any], Any]):
    """A Gymnasium environment with the observation, action and AgentSpec conventions of our own tasks.

    Observations become a Dict of float32 vectors (O,) and uint8 images (H, W, C); nested Dicts and Tuples get names
    joined by ``_``, discrete ones are one-hot. It is an Env and not a Wrapper, so that ``unwrapped`` carries
    ``agent_spec``. Created by `gym_task`, which documents the options. Every method raises UserError where the
    environment's own code raises, or gives what its spaces do not say.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        *,
        task: str,
        seed: int = 0,
        render_mode: str | None = None,
        observation: Literal["proprio", "image", "both"] | None = None,
        fields: str | None = None,
        action_repeat: int = 1,
        time_limit: int | None = None,
        size: int | None = None,
        control_rate_hz: float | None = None,
    ) -> None:
        self.env = env
        self.render_mode = render_mode
        self._task = task
        self._first_seed: int | None = seed
        self._repeat = action_repeat
        self._time_limit = time_limit
        self._elapsed = 0  # control steps of this episode
        with foreign(task, "its spaces"):
            observed, acted = env.observation_space, env.action_space
        names = None if fields is None else [name.strip() for name in fields.split(",")]
        self._leaves, self._rendered = _wanted(task, leaves(task, observed, names), observation)
        self._shapes = {leaf.name: resized_shape(leaf.origin, leaf.shape, size) for leaf in self._leaves}
        boxes: dict[str, spaces.Space[Any]] = {leaf.name: leaf.space(self._shapes[leaf.name]) for leaf in self._leaves}
        if self._rendered:
            self._shapes["image"] = (size or DEFAULT_IMAGE_SIZE, size or DEFAULT_IMAGE_SIZE, 3)
            boxes["image"] = spaces.Box(0, 255, self._shapes["image"], np.uint8)
        self.observation_space = spaces.Dict(boxes)
        action = _action_spec(task, env, acted)
        self.action_space = _action_space(action)
        self.figure_names = _told_names(task, env, "figure_names")
        self.randomisation_names = _told_names(task, env, "randomisation_names")
        self._success_told = True  # until one is told that is no truth value
        inner_rate_hz = control_rate_hz * action_repeat if control_rate_hz else _rate_hz(env)
        try:
            self.agent_spec = AgentSpec(
                task=task,
                robot=task.split(":", 2)[2],
                control_rate_hz=inner_rate_hz / action_repeat,
                physics_rate_hz=inner_rate_hz,  # a step of the wrapped environment; what it integrates is its own
                observations=tuple(
                    ObservationField(name=name, shape=shape, dtype="uint8" if len(shape) == 3 else "float32", unit="1")
                    for name, shape in self._shapes.items()
                ),
                action=action,
                firmware=FirmwareProfile(name="gymnasium"),
            )
        except ValidationError as error:
            raise UserError.from_validation(error, origin=f"task {task}") from None
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": max(1, round(self.agent_spec.control_rate_hz))}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start an episode; the first one without a seed takes the seed that the task was made with."""
        seed = self._first_seed if seed is None else seed
        self._first_seed = None
        super().reset(seed=seed)
        self._elapsed = 0
        with foreign(self._task, "reset()"):
            raw, info = as_reset(self.env.reset(seed=seed, options=options))
        return self._observe(raw), self._with_success(info)

    def step(self, action: Any) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Apply one action (A,) float32, or the index of a discrete one, for ``action_repeat`` inner steps.

        The reward is their sum. The time limit truncates and never terminates.
        """
        inner = self._inner_action(action)
        total = 0.0
        for _ in range(self._repeat):
            with foreign(self._task, "step()"):
                result = self.env.step(inner.copy() if isinstance(inner, np.ndarray) else inner)  # it may change it
            raw, reward, terminated, truncated, info = as_step(self._task, result)
            total += reward
            if terminated or truncated:
                break
        self._elapsed += 1
        truncated = truncated or (self._time_limit is not None and self._elapsed >= self._time_limit)
        return self._observe(raw), total, terminated, truncated, self._with_success(info)

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """The wrapped environment's frame (H, W, 3) uint8, or None without a render mode."""
        return None if self.render_mode is None else self._frame()

    def close(self) -> None:
        """Close the wrapped environment; what it raises then is told in the log, as nothing depends on it any more."""
        try:
            with foreign(self._task, "close()"):
                self.env.close()
        except UserError as error:
            _log.warning("%s", error)

    def _observe(self, raw: Any) -> dict[str, np.ndarray]:
        found = {leaf.name: resize(leaf.read(raw), self._shapes[leaf.name]) for leaf in self._leaves}
        if self._rendered:
            found["image"] = resize(self._frame(), self._shapes["image"])
        return found

    def _with_success(self, info: Mapping[str, Any]) -> dict[str, Any]:
        """The info with ``success`` as a truth value, or without; some environments call it ``is_success``."""
        rest = {name: value for name, value in info.items() if name != "success"}
        told = success(info)
        if not math.isnan(told):
            return rest | {"success": bool(told)}
        value = info.get("success", info.get("is_success"))
        if value is not None and self._success_told:
            self._success_told = False
            _log.warning("task %s: success is %.60s, no truth value: none is counted", self._task, shown(value))
        return rest

    def _frame(self) -> np.ndarray:
        with foreign(self._task, "render()"):
            frame = self.env.render()
        return as_frame(frame, origin=f"task {self._task}: render()")

    def _inner_action(self, action: Any) -> Any:
        space = self.env.action_space
        if isinstance(space, spaces.Discrete):
            return space.start + int(action)
        assert isinstance(space, spaces.Box)
        # float32 bounds may lie a rounding error outside the float64 ones
        return np.clip(np.asarray(action, space.dtype).reshape(space.shape), space.low, space.high)


def gym_task(
    *,
    target: str,
    seed: int = 0,
    render_mode: str | None = None,
    observation: Literal["proprio", "image", "both"] | None = None,
    fields: str | None = None,
    action_repeat: int = 1,
    time_limit: int | None = None,
    size: int | None = None,
    control_rate_hz: float | None = None,
    **options: Any,
) -> GymAdapter:
    """Any Gymnasium environment: its module is imported, then its Id is made.

    Args:
        target: ``<module>:<Id>``, such as ``shimmy:dm_control/walker-stand-v0``.
        seed: seed of the first episode.
        render_mode: ``rgb_array`` or None.
        observation: ``proprio`` its vectors, ``image`` its images, or its rendering where it has none, ``both``;
            None takes what it gives.
        fields: names of the observation fields to take, joined by commas; None takes all of them.
        action_repeat: inner steps per control step; rewards are added up.
        time_limit: control steps per episode, in place of the registered limit; the episode is then truncated.
        size: side in pixels that images are resized to.
        control_rate_hz: rate of control steps; by default from the environment's ``dt`` or ``render_fps``.
        options: keyword arguments of ``gymnasium.make``.

    Raises UserError for an unknown module or Id, an unbounded action space, spaces that have no named vector, and
    where the environment's own code raises.
    """
    task = f"gym:{target}"
    module, colon, identifier = target.partition(":")
    if not (module and colon and identifier):
        raise UserError(f"task {task}: write gym:<module>:<Id>, such as gym:gymnasium:Pendulum-v1")
    for name, value in (("action_repeat", action_repeat), ("time_limit", time_limit), ("size", size)):
        if value is not None and value < 1:
            raise UserError(f"task {task}: {name} is {value}, but must be at least 1")
    if control_rate_hz is not None and not control_rate_hz > 0:
        raise UserError(f"task {task}: control_rate_hz is {control_rate_hz} Hz, but must be positive")
    opengl.choose_for_mujoco()
    with foreign(task, f"importing {module}"):
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise UserError(f"task {task}: cannot import {module!r}: {error}") from None
    if render_mode is not None or observation in ("image", "both"):
        options["render_mode"] = "rgb_array"
    if time_limit is not None:
        options.setdefault("max_episode_steps", -1)  # Gymnasium's word for: no limit of its own
    with foreign(task, "making it"):
        try:
            env = gymnasium.make(identifier, disable_env_checker=True, **options)
        except (gymnasium.error.Error, TypeError) as error:
            if isinstance(error, TypeError) and "unexpected keyword argument" not in str(error):
                raise
            raise UserError(f"task {task}: {error}") from None
    return GymAdapter(
        env,
        task=task,
        seed=seed,
        render_mode=render_mode,
        observation=observation,
        fields=fields,
        action_repeat=action_repeat,
        time_limit=time_limit,
        size=size,
        control_rate_hz=control_rate_hz,
    )


def _wanted(task: str, found: list[Leaf], observation: str | None) -> tuple[list[Leaf], bool]:
    """The fields to keep, and whether a rendered image joins them."""
    images = [leaf for leaf in found if len(leaf.shape) == 3]
    vectors = [leaf for leaf in found if len(leaf.shape) == 1]
    if observation is None:
        return found, False
    if observation == "proprio":
        if not vectors:
            raise UserError(f"task {task}: has no vector observation; use observation image")
        return vectors, False
    return (found if observation == "both" else images), not images


def _action_spec(task: str, env: gymnasium.Env[Any, Any], space: spaces.Space[Any]) -> ActionSpec:
    if isinstance(space, spaces.Discrete):
        if space.n < 2:
            raise UserError(f"task {task}: its action space {space} leaves no choice")
        meanings = attribute(env, "get_action_meanings", None)
        with foreign(task, "get_action_meanings()"):
            names = tuple(map(str, meanings())) if callable(meanings) else ()
        if len(set(names)) != space.n:
            names = tuple(f"action_{index}" for index in range(int(space.n)))
        return ActionSpec(mode="discrete", joints=names, unit="1")
    if not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        raise UserError(f"task {task}: its action space {space} is neither Discrete nor a Box of floats")
    low, high = (bound.astype(np.float64).reshape(-1) for bound in (space.low, space.high))
    span = high / 2 - low / 2  # halved first: float64 bounds may be huge
    # An action is a float32, in which a bound may be infinite, and a narrow range none.
    narrowest, bounds = np.finfo(np.float32).tiny, np.concatenate([low, high])
    if not (span.size and (np.abs(bounds) <= FLOAT32_MAX).all() and (span >= narrowest).all()):
        raise UserError(
            f"task {task}: its action space {space} is unbounded or empty; give every action finite bounds, as float32"
        )
    return ActionSpec(
        mode="effort",
        joints=tuple(f"action_{index}" for index in range(low.size)),
        unit="1",
        offset=tuple(map(float, high / 2 + low / 2)),
        scale=tuple(map(float, span)),
    )


def _action_space(action: ActionSpec) -> spaces.Space[Any]:
    if action.is_discrete:
        return spaces.Discrete(len(action.joints))
    offset, scale = np.asarray(action.offset), np.asarray(action.scale)
    return spaces.Box((offset - scale).astype(np.float32), (offset + scale).astype(np.float32), dtype=np.float32)


def _rate_hz(env: gymnasium.Env[Any, Any]) -> float:
    """Steps per second of the wrapped environment: its ``dt`` in s, else ``render_fps``, else a plain default."""
    dt, rate = attribute(env, "dt", None), (env.metadata or {}).get("render_fps")
    if isinstance(dt, (int, float, np.number)) and 0 < dt < math.inf:
        return 1.0 / float(dt)
    return float(rate) if isinstance(rate, (int, float)) and 0 < rate < math.inf else DEFAULT_RATE_HZ


def _told_names(task: str, env: gymnasium.Env[Any, Any], kind: str) -> tuple[str, ...]:
    names = attribute(env, kind, ())
    if isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names):
        return tuple(dict.fromkeys(names))
    _log.warning("task %s: its %s are no names, so none of what they name is kept", task, kind)
    return ()
