"""A task as a memoryless learner sees it: flat scaled observations with frames of history, actions in [-1, 1].

Everything is the robot's own transform (`robot_wm.runtime.transform`), so that a baseline learns from the very numbers
that our agents get, and commands by the very mapping. Shape letters: N environments, A actions, D flat observation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from robot_wm.errors import UserError
from robot_wm.figures import episode_figures, figure_names
from robot_wm.runtime.transform import ObservationTransform, to_command
from robot_wm.spec import AgentSpec
from robot_wm.tasks import agent_spec

Float32 = NDArray[np.float32]


class DivergedError(ArithmeticError):
    """A policy acts by numbers that are not finite: what learned it has diverged."""


class ModelView:
    """Raw SI observations of N environments to flat ones [N, D], and actions in [-1, 1] to SI commands.

    ``history`` is how many frames the policy sees, whatever the spec's own history is: that suits an agent which
    remembers. D is ``history`` times the elements of all fields; each field's frames lie together, oldest first.
    Raises UserError for tasks with images or with discrete actions.
    """

    def __init__(self, spec: AgentSpec, *, history: int, envs: int = 1) -> None:
        images = [field.name for field in spec.observations if field.is_image]
        if images:
            raise UserError(f"task {spec.task}: baselines learn from vectors, and field {images[0]} is an image")
        if spec.action.is_discrete:
            raise UserError(f"task {spec.task}: baselines learn continuous actions, and its action is discrete")
        seen = AgentSpec.model_validate(spec.model_dump() | {"history_length": history})
        self._action = spec.action
        self._transform = ObservationTransform(seen, batch=envs)
        self.size = sum(shape.shape[0] for shape in seen.model_inputs().values())
        """D."""

    def see(self, observation: Mapping[str, ArrayLike], is_first: NDArray[np.bool_] | bool) -> Float32:
        """The policy's observation [N, D] after one raw frame ([N, O] a field); a new array."""
        return np.concatenate(list(self._transform.push(observation, is_first).values()), axis=1)

    def command(self, action: ArrayLike) -> Float32:
        """The SI command [N, A] of actions [N, A], cut to [-1, 1]. Raises DivergedError for a NaN."""
        action = np.asarray(action, dtype=np.float32)
        if np.isnan(action).any():
            raise DivergedError(f"action {action}")
        return to_command(self._action, np.clip(action, -1.0, 1.0))


class ModelEnv(gymnasium.Env[Float32, Float32]):
    """An environment behind a `ModelView`; observations [D], actions [A].

    The last step of an episode tells of it in ``info["ended"]``: ``episode_return``, ``length`` (control steps),
    ``terminated`` and the task's ``figures``.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  Gymnasium declares it an instance's

    def __init__(self, env: gymnasium.Env[Any, Any], *, history: int) -> None:
        self._env = env
        spec = agent_spec(env)
        self._view = ModelView(spec, history=history)
        self._figure_names = figure_names(env)
        self.observation_space = spaces.Box(-np.inf, np.inf, (self._view.size,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (spec.action_dim,), np.float32)
        self._return, self._length = 0.0, 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float32, dict[str, Any]]:
        """Start an episode."""
        observation, _ = self._env.reset(seed=seed, options=options)
        self._return, self._length = 0.0, 0
        return self._view.see(observation, True)[0], {}

    def step(self, action: Float32) -> tuple[Float32, float, bool, bool, dict[str, Any]]:
        """One control period."""
        observation, reward, terminated, truncated, info = self._env.step(self._view.command(action))
        self._return += float(reward)
        self._length += 1
        told: dict[str, Any] = {}
        if terminated or truncated:
            told["ended"] = {
                "episode_return": self._return,
                "length": self._length,
                "terminated": bool(terminated),
                "figures": episode_figures(self._figure_names, info),
            }
        return self._view.see(observation, False)[0], float(reward), bool(terminated), bool(truncated), told

    def close(self) -> None:
        """Close the environment behind."""
        self._env.close()
