"""Walking trials: greedy episodes under one fixed command, the same for every learner."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.baselines.walking import COMMAND_M_S, Walk, heading_rad, judge, trial_steps
from robot_wm.errors import UserError
from robot_wm.spec import AgentSpec
from robot_wm.tasks import agent_spec, make_env

STARTS = 3
# Training seeds are small numbers; these lie far from them, and are none of `robot-wm eval` either.
TRIAL_SEED = 2_000_003
_COMMANDS = ("linear_x", "linear_y", "angular_z")

Policy = Callable[[dict[str, NDArray[Any]], NDArray[np.bool_]], NDArray[np.float32]]
"""Raw observations ([N, *shape] a field) and is_first [N] to SI commands [N, A]; greedy, and new for each trial."""


def can_walk(spec: AgentSpec) -> bool:
    """Whether the task takes a velocity command, so that it can be asked to walk."""
    return tuple(field.name for field in spec.commands) == _COMMANDS


class WalkingTrials:
    """Robots that start from the same `STARTS` states at every trial, kept between trials."""

    def __init__(self, task: str, options: Mapping[str, Any]) -> None:
        asked = dict(options) | {"command": f"{COMMAND_M_S},0,0"}
        self._envs = [make_env(task, seed=TRIAL_SEED + start, **asked) for start in range(STARTS)]
        self._spec = agent_spec(self._envs[0])
        if not hasattr(getattr(self._envs[0].unwrapped, "sim", None), "state"):
            self.close()
            raise UserError(f"task {task}: tells no pose of its robot, so that nobody can judge whether it walks")

    def run(self, policy: Policy) -> list[Walk]:
        """One episode from every start, side by side; each ends with its fall or with the time to be judged."""
        frames = [env.reset(seed=TRIAL_SEED + start)[0] for start, env in enumerate(self._envs)]
        poses = [[_pose(env)] for env in self._envs]  # of each robot: x and y in m, heading in rad
        fell, over = [False] * len(frames), [False] * len(frames)
        for step in range(trial_steps(self._spec.control_rate_hz)):
            obs = {name: np.stack([frame[name] for frame in frames]) for name in frames[0]}
            commands = policy(obs, np.full(len(frames), step == 0))
            for n, env in enumerate(self._envs):
                if over[n]:
                    continue
                frames[n], _, terminated, truncated, _ = env.step(commands[n])
                poses[n].append(_pose(env))
                fell[n], over[n] = terminated, terminated or truncated
            if all(over):
                break
        rate_hz = self._spec.control_rate_hz
        return [
            judge([pose[:2] for pose in track], [pose[2] for pose in track], rate_hz=rate_hz, fell=fall)
            for track, fall in zip(poses, fell, strict=True)
        ]

    def close(self) -> None:
        """Free the simulators."""
        for env in self._envs:
            env.close()


def _pose(env: Any) -> tuple[float, float, float]:
    state = env.unwrapped.sim.state
    return float(state.base_position[0]), float(state.base_position[1]), heading_rad(state.base_quaternion)
