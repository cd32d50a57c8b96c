"""A run of a library's algorithm on our task."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecNormalize

from robot_wm.baselines.curve import Curve
from robot_wm.baselines.settings import Algorithm
from robot_wm.baselines.trial import STARTS, Policy, WalkingTrials
from robot_wm.baselines.view import DivergedError, ModelEnv, ModelView
from robot_wm.spec import AgentSpec
from robot_wm.tasks import environment_options, make_env


def train(
    algorithm: Algorithm,
    task: str,
    options: Mapping[str, Any],
    spec: AgentSpec,
    *,
    history: int,
    steps: int,
    seed: int,
    processes: int,
    device: str,
    time_limit_s: float | None,
    curve: Curve,
    trials: WalkingTrials | None,
) -> tuple[int, str]:
    """Learn for ``steps`` control steps of all environments together; returns the steps taken and what ended it.

    A learner that diverges is a result, too: its run ends there, as ``diverged``.
    ``processes`` other than 0 gives each environment a process of its own where there are several. A rollout of PPO is
    finished before it stops, so that it may take a few thousand steps more.
    """
    envs = _environments(task, dict(options), history=history, envs=algorithm.envs, processes=processes)
    try:
        normalizer = None
        if algorithm.normalize:
            envs = normalizer = VecNormalize(envs, gamma=algorithm.settings.get("gamma", 0.99))
        make = getattr(import_module(algorithm.library), algorithm.algorithm)
        place = algorithm.device if algorithm.device != "auto" else device
        model = make("MlpPolicy", envs, seed=seed, device=place, **algorithm.keywords(spec.action_dim))
        model.set_logger(Logger(folder=None, output_formats=[]))  # its own makes a folder for temporary files each time
        record = _Record(curve, trials, time_limit_s, lambda: greedy(model, normalizer, spec, history=history))
        try:
            model.learn(steps, callback=record, log_interval=None)
        except DivergedError:
            return model.num_timesteps, "diverged"
    finally:
        envs.close()
    return model.num_timesteps, "time limit" if record.out_of_time else "steps"


class _Record(BaseCallback):
    """Writes the curve, holds the trials, keeps the time limit."""

    def __init__(
        self, curve: Curve, trials: WalkingTrials | None, time_limit_s: float | None, greedy: Callable[[], Policy]
    ) -> None:
        super().__init__()
        self._curve, self._trials, self._limit_s, self._greedy = curve, trials, time_limit_s, greedy
        self._began = time.monotonic()
        self.out_of_time = False

    def _on_step(self) -> bool:
        now = self.num_timesteps
        for info in self.locals["infos"]:
            if "ended" in info:
                self._curve.episode(now, **info["ended"])
        if self._trials is not None and self._curve.trial_due(now):
            self._curve.trial(now, self._trials.run(self._greedy()))
        self.out_of_time = self._limit_s is not None and time.monotonic() - self._began >= self._limit_s
        return not self.out_of_time


def greedy(model: Any, normalizer: VecNormalize | None, spec: AgentSpec, *, history: int, envs: int = STARTS) -> Policy:
    """What ``model`` does without noise, for one trial of ``envs`` robots side by side."""
    view = ModelView(spec, history=history, envs=envs)

    def act(raw: dict[str, NDArray[Any]], is_first: NDArray[np.bool_]) -> NDArray[np.float32]:
        seen: Any = view.see(raw, is_first)
        if normalizer is not None:
            seen = normalizer.normalize_obs(seen)
        return view.command(model.predict(seen, deterministic=True)[0])

    return act


def _environments(task: str, options: dict[str, Any], *, history: int, envs: int, processes: int) -> VecEnv:
    def maker(index: int) -> Callable[[], gymnasium.Env[Any, Any]]:
        return lambda: ModelEnv(make_env(task, **environment_options(task, options, index)), history=history)

    makers = [maker(index) for index in range(envs)]
    # spawn: what is forked from a process with torch's and XLA's threads may hang.
    return SubprocVecEnv(makers, start_method="spawn") if processes > 0 and envs > 1 else DummyVecEnv(makers)
