"""The training loop: collect, learn, look, save.

One object owns a run's learner, experience and counters. Collecting is behind the `Collector` protocol, so the same
loop trains with the actor in this process or beside it.
"""

from __future__ import annotations

import math
import subprocess
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from robot_wm import figures
from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.dreamer.learner import DreamerLearner, TensorBatch
from robot_wm.errors import UserError
from robot_wm.replay.sampler import SequenceSampler
from robot_wm.replay.store import EpisodeStore
from robot_wm.replay.upkeep import Upkeep
from robot_wm.spec import AgentSpec, require_same
from robot_wm.tasks import agent_spec, backend_name, make_env
from robot_wm.training import checkpoint
from robot_wm.training.actor_process import ProcessCollector
from robot_wm.training.checkpoint import RunState
from robot_wm.training.collector import Collector, InlineCollector
from robot_wm.training.config import TrainConfig
from robot_wm.training.env_pool import EnvPool
from robot_wm.training.evaluation import evaluate
from robot_wm.training.experience import Experience, Finished
from robot_wm.training.open_loop import draw_prediction, prediction_video, write_video
from robot_wm.training.scalars import ScalarLog
from robot_wm.training.stopping import StopRequest
from robot_wm.training.updates import ReplayedUpdates, Spent

# An actor process may run this far ahead of the train ratio before it waits, in policy steps an environment.
_LEAD_STEPS = 64
_RETURNS_KEPT = 10
_ACTOR_RNG = "actor_rng"

Report = Callable[["Trainer"], None]


class TrainingDivergedError(RuntimeError):
    """A loss, parameter or moment is NaN or infinite; the message names it and the checkpoint to go back to."""


class Trainer:
    """A run from its first step, or from its newest checkpoint if ``resume``."""

    def __init__(self, config: TrainConfig, *, resume: bool = False) -> None:
        if config.threads:
            torch.set_num_threads(config.threads)
        self.config, self.run = config, config.folder
        newest = checkpoint.latest_path(self.run)
        if newest is not None and not resume:
            raise UserError(f"{self.run}: holds a run already; continue it with --resume or name another --run-dir")
        if newest is None and resume:
            raise UserError(f"{self.run}: no checkpoint to resume from")
        env = make_env(config.task, seed=config.seed, render=False, **config.task_options)
        self.spec: AgentSpec = agent_spec(env)
        self.figure_names = figures.figure_names(env)
        env.close()
        self.device = _device(config.device)
        torch.manual_seed(config.seed)
        dreamer = config.dreamer
        agent = DreamerAgent(dreamer, self.spec.model_inputs(), self.spec.action_dim, self.spec.action.is_discrete)
        self.learner = DreamerLearner(agent, dreamer, self.device, seed=config.seed)
        self.agent = self.learner.agent
        self.sampler = SequenceSampler(
            self.spec,
            capacity_steps=config.replay_capacity_steps,
            length=dreamer.batch_length,
            streams=config.envs,
            deter=dreamer.deter,
            stoch=dreamer.stoch,
            seed=config.seed,
        )
        self.state = RunState(config=config, agent_spec=self.spec, git_commit=git_commit())
        self._actor_rng: torch.Tensor | None = None
        if newest is not None:
            self._restore(newest)
        self.store = self._open_store()
        self.experience = Experience(
            self.spec,
            self.sampler,
            self.store,
            envs=config.envs,
            backend=backend_name(config.task, config.task_options),
            figure_names=self.figure_names,
        )
        self.recent: deque[Finished] = deque(maxlen=_RETURNS_KEPT)
        self.stopped_by = "steps"
        self.running_s = 0.0  # since `train` was called
        self.spent = Spent()  # since `train` was called
        self._updates = ReplayedUpdates(self.learner, self.sampler, self.spent)
        self._marks: dict[str, int] = {}
        self._start_steps = self.state.env_steps

    def train(self, report: Report = lambda trainer: None) -> RunState:
        """Run to the configured end (or Ctrl-C, the time limit or the wanted return), saving on the way out.

        ``report`` is called after every round of collecting and learning. Raises TrainingDivergedError.
        """
        state, config = self.state, self.config
        collector = self._source = self._collector()
        started, wall_before = time.monotonic(), state.wall_s
        with StopRequest() as stop, ScalarLog(self.run, resume_step=state.env_steps or None) as log:
            self._log = log
            try:
                while state.env_steps < config.steps:
                    if not self._pretraining:
                        self._publish(collector)
                        self._collect(collector)
                    self._learn(stop)
                    self.running_s = time.monotonic() - started
                    state.wall_s = wall_before + self.running_s
                    report(self)
                    self._periodic()
                    if stop.requested:
                        self.stopped_by = "signal"
                        break
                    if config.time_limit_s is not None and self.running_s >= config.time_limit_s:
                        self.stopped_by = "time limit"
                        break
                    if self.stopped_by != "steps":
                        break
                self._check_finite()
                self._save()
            finally:
                self.store.flush()
                collector.close()
        return state

    def stop(self, why: str) -> None:
        """End `train` after this round; ``why`` is what `stopped_by` tells then."""
        self.stopped_by = why

    @property
    def recent_return(self) -> float | None:
        """Mean return of the last training episodes; None before the first has ended."""
        return float(np.mean([episode.episode_return for episode in self.recent])) if self.recent else None

    @property
    def robot_minutes(self) -> float:
        """How long the robots have moved since the run's first step, all of them together."""
        return figures.robot_minutes(self.state.robot_steps, self.spec.control_rate_hz)

    @property
    def falls(self) -> int | None:
        """Training episodes that ended in a fall since the run's first step; None where the task declares none."""
        return self.state.falls if figures.FALL in self.figure_names else None

    def _collector(self) -> Collector:
        config = self.config
        # After a resume new seeds, or the environments would replay the episodes of the run's start.
        seed = config.seed + self.state.env_steps
        if config.actor == "process":
            return ProcessCollector(config, self.spec, self.agent, seed=seed, rng_state=self._actor_rng)
        pool = EnvPool(config.task, dict(config.task_options), envs=config.envs, processes=config.processes, seed=seed)
        return InlineCollector(pool, self.agent, seed=seed, rng_state=self._actor_rng)

    @property
    def _pretraining(self) -> bool:
        """Whether the random steps are there and the updates before the policy's first step are not done yet."""
        state, config = self.state, self.config
        return state.env_steps >= config.prefill_steps and state.updates < config.pretrain_updates and self._can_learn

    @property
    def _can_learn(self) -> bool:
        return self.sampler.windows > 0

    def _publish(self, collector: Collector) -> None:
        state, config = self.state, self.config
        collector.publish(
            self.agent,
            policy=str(state.updates),
            random=state.env_steps < config.prefill_steps,
            steps_permitted=config.schedule.steps(state.updates) + _LEAD_STEPS * config.envs - self._start_steps,
        )

    def _collect(self, collector: Collector) -> None:
        begin = time.perf_counter()
        try:
            transitions = collector.poll()
        except RuntimeError:
            self._check_finite()  # weights that are not finite make actions that are not: tell the cause
            raise
        for transition in transitions:
            finished = self.experience.add(transition)
            self.state.env_steps += transition.envs
            self.state.episodes += len(finished)
            self.state.robot_steps += int(np.count_nonzero(~transition.is_first))
            self.state.falls += figures.falls([episode.figures for episode in finished]) or 0
            self.recent.extend(finished)
        self.spent.collect += time.perf_counter() - begin

    def _learn(self, stop: StopRequest) -> None:
        """The updates that the train ratio allows; at most as many as one second's worth before the next poll."""
        state, config = self.state, self.config
        due = config.schedule.due(state.env_steps) - state.updates
        # Pretraining goes on in the next round, after a report.
        deadline = time.monotonic() + 1.0 if config.actor == "process" or self._pretraining else math.inf
        if self._can_learn:
            state.updates += self._updates.run(due, lambda: not stop.requested and time.monotonic() < deadline)

    def _periodic(self) -> None:
        config = self.config
        if self._due(config.log_every_steps, "log"):
            self._check_finite()
            self._write_scalars()
        if self.state.updates and config.eval_every_steps and self._due(config.eval_every_steps, "eval"):
            self._evaluate()
        if self.state.updates and config.predict_every_steps and self._due(config.predict_every_steps, "predict"):
            self._predict()
        if self._due(config.checkpoint_every_steps, "checkpoint"):
            self._check_finite()
            self._save()

    def _due(self, every: int, name: str) -> bool:
        """Whether a multiple of ``every`` policy steps has been passed since this last said so."""
        now = self.state.env_steps // every
        before = self._marks.setdefault(name, self._start_steps // every)
        self._marks[name] = now
        return now > before

    def _write_scalars(self) -> None:
        state = self.state
        values = {name: float(value) for name, value in self._updates.metrics.items()}
        if self.recent_return is not None:
            last = list(self.recent)
            values["episode/return"] = self.recent_return
            values["episode/length"] = float(np.mean([episode.length for episode in last]))
            success = [episode.success for episode in last]
            if not np.isnan(success).any():
                values["episode/success"] = float(np.mean(success))
            lengths, told = [episode.length for episode in last], [episode.figures for episode in last]
            rate_hz = self.spec.control_rate_hz
            values |= figures.scalars("episode", figures.summary(lengths, told, control_rate_hz=rate_hz))
        values |= {f"time/{name}": share for name, share in self.spent.shares(self.running_s).items()}
        values |= {
            "run/updates": state.updates,
            "run/episodes": state.episodes,
            "run/robot_minutes": self.robot_minutes,
            "run/wall_s": state.wall_s,
            "run/replayed_per_step": state.updates
            * self.config.dreamer.batch_size
            * self.config.dreamer.batch_length
            / max(1, state.env_steps - self.config.prefill_steps),
        }
        if self.falls is not None:
            values["run/falls"] = self.falls
            values["run/falls_per_robot_minute"] = self.falls / max(self.robot_minutes, 1e-9)
        self._log.scalars(state.env_steps, values)

    def _evaluate(self) -> None:
        state, config = self.state, self.config
        result = evaluate(self.agent, config.task, config.task_options, episodes=config.eval_episodes)
        state.evaluation = result
        values = {"eval/return": result["return_mean"], "run/wall_s": state.wall_s}
        self._log.scalars(state.env_steps, values | figures.scalars("eval", result))
        if state.best_return is None or result["return_mean"] >= state.best_return:
            state.best_return = result["return_mean"]
            self._check_finite()
            checkpoint.mark_best(self.run, self._save())
        if config.stop_at_return is not None and result["return_mean"] >= config.stop_at_return:
            self.stop("return")

    def _predict(self) -> None:
        batch = TensorBatch.from_numpy(self.sampler.sample(self.config.dreamer.batch_size), self.device)
        context = max(1, self.config.dreamer.batch_length // 4)
        prediction, step = self.learner.open_loop(batch, context=context), self.state.env_steps
        self._log.image(step, "open_loop", draw_prediction(prediction, self.spec))
        for field in self.spec.observations:
            if field.is_image:
                path = self.run / "open_loop" / f"{field.name}_{step:09d}.gif"
                write_video(path, prediction_video(prediction, field.name), rate_hz=self.spec.control_rate_hz)

    def _check_finite(self) -> None:
        name = self.learner.first_nonfinite()
        if name is not None:
            good = checkpoint.latest_path(self.run)
            kept = f"the last good checkpoint is {good}" if good else "there is no checkpoint yet"
            raise TrainingDivergedError(f"{name} is NaN or infinite; {kept}")

    def _save(self) -> Path:
        """Write a checkpoint; a tag keeps the replay version that it names for as long as the checkpoint is kept."""
        self.state.replay_version = self.store.flush()
        learner = dict(self.learner.state_dict())
        learner[_ACTOR_RNG] = self._source.rng_state()
        path = checkpoint.save(
            self.run, self.state, learner, self.sampler.state_dict(), keep=self.config.checkpoints_kept
        )
        self.store.tag(path.name, move=True)
        kept = {item.name for item in checkpoint.everyone(self.run)}
        for name in self.store.tags():
            if name.startswith("step_") and name not in kept:
                self.store.untag(name)
        return path

    def _restore(self, path: Path) -> None:
        saved = checkpoint.read_state(path)
        require_same(saved.agent_spec, self.spec, origin=str(path))
        if saved.config.dreamer != self.config.dreamer:
            changed = [
                f"dreamer.{name}: {value!r} != {getattr(self.config.dreamer, name)!r}"
                for name, value in saved.config.dreamer
                if value != getattr(self.config.dreamer, name)
            ]
            raise UserError(f"{path}: made with another configuration: {'; '.join(changed)}")
        tensors = checkpoint.read_learner(path)
        self._actor_rng = tensors.pop(_ACTOR_RNG, None)
        self.learner.load_state_dict(tensors)
        self.sampler.load_state_dict(checkpoint.read_replay(path))
        self.state = saved.model_copy(update={"config": self.config, "git_commit": git_commit()})

    def _open_store(self) -> EpisodeStore:
        quota = self.config.replay_quota_mib
        options = Upkeep(
            commit_episodes=self.config.episodes_per_commit, quota_bytes=None if quota is None else quota * 2**20
        )
        path = self.run / "replay"
        if path.exists():
            return EpisodeStore.open(path, self.spec, options=options)
        return EpisodeStore.create(path, self.spec, options=options)


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device: 'cuda' was asked for, but torch sees no CUDA device; see `robot-wm doctor`")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def git_commit() -> str:
    """The commit of the working directory's checkout, '' outside one; '+' marks uncommitted changes."""
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
