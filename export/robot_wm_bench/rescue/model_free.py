"""SAC and CrossQ on the changed robot: taught to walk at the source, then fine-tuned by the libraries themselves."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv

from robot_wm.baselines import model_free
from robot_wm.baselines.settings import Algorithm
from robot_wm.baselines.trial import Policy
from robot_wm.baselines.view import ModelEnv
from robot_wm.figures import FALL
from robot_wm.spec import AgentSpec
from robot_wm.tasks import agent_spec, make_env
from robot_wm.training import checkpoint
from robot_wm_bench.rescue import pupil
from robot_wm_bench.rescue.lessons import Lessons
from robot_wm_bench.rescue.method import World
from robot_wm_bench.rescue.record import Record


class ModelFree:
    """One algorithm of sbx, taught by the source's Dreamer and trained on half old, half new transitions.

    For the first ``rest_s`` of robot time it acts and does not learn, as in WSRL (Zhou et al. 2024): half a batch of a
    handful of transitions teaches nothing but these.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        teacher: Path,
        *,
        lessons: Lessons,
        seed: int,
        processes: int = 0,
        rest_s: float = 10.0,
    ) -> None:
        self._algorithm, self._teacher, self._lessons = algorithm, teacher, lessons
        self._seed, self._processes, self._rest_s = seed, processes, rest_s
        self._model: Any = None
        self._folder = Path()

    def prepare(self, source: World, folder: Path) -> dict[str, Any]:
        """As `Method.prepare` says."""
        self._folder = folder
        told = pupil.saved(folder)
        if told is None:
            loaded = checkpoint.load_agent(self._teacher)
            experience, states, told = pupil.teach(
                self._algorithm,
                loaded,
                dict(source.options),
                lessons=self._lessons,
                seed=self._seed,
                processes=self._processes,
            )
            pupil.save(folder, experience, states, told)
        env = make_env(source.task, **source.options)
        spec = agent_spec(env)
        env.close()
        self._model = pupil.load(folder, self._algorithm, spec, self._lessons, seed=self._seed)
        return told

    def greedy(self, spec: AgentSpec, envs: int) -> Policy:
        """As `Method.greedy` says."""
        return model_free.greedy(self._model, None, spec, history=self._lessons.history, envs=envs)

    def rescue(self, target: World, record: Record) -> None:
        """As `Method.rescue` says."""
        env = make_env(target.task, seed=self._seed, **target.options)
        spec, lessons = agent_spec(env), self._lessons
        envs = DummyVecEnv([lambda: ModelEnv(env, history=lessons.history)])
        try:
            self._model = pupil.load(self._folder, self._algorithm, spec, lessons, seed=self._seed, envs=envs)
            learns = self._algorithm.settings.get("gradient_steps", 1)
            watch = _Watch(self, spec, record, rest=round(self._rest_s * spec.control_rate_hz), learns=learns)
            record.look(0, self.greedy(spec, record.robots))
            if not record.over:
                self._model.learn(2**31 - 1, callback=watch, log_interval=None)
        finally:
            envs.close()


class _Watch(BaseCallback):
    """Tells the record of each step, and lets the algorithm learn after its rest."""

    def __init__(self, method: ModelFree, spec: AgentSpec, record: Record, *, rest: int, learns: int) -> None:
        super().__init__()
        self._method, self._spec, self._record, self._rest, self._learns = method, spec, record, rest, learns

    def _on_step(self) -> bool:
        now = self.num_timesteps
        for info in self.locals["infos"]:
            if "ended" in info:
                self._record.episode(info["ended"]["figures"].get(FALL, math.nan))
        if self._record.due(now):
            self._record.look(now, self._method.greedy(self._spec, self._record.robots))
        model: Any = self.model
        model.gradient_steps = self._learns if now >= self._rest else 0
        return not self._record.over
