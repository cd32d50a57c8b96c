"""The training loop: collect, learn, look, save.

One object owns a run's learner, experience and counters. Collecting is behind the `Collector` protocol, so the same
loop trains with the actor in this process or beside it.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch

from robot_wm import figures
from robot_wm.agents import agent_kind
from robot_wm.errors import StoppedError, UserError
from robot_wm.learning.batch import TensorBatch
from robot_wm.replay.sampler import SequenceSampler
from robot_wm.replay.saved import SavedReplay
from robot_wm.spec import AgentSpec, require_same
from robot_wm.training import checkpoint
from robot_wm.training.batched_evaluation import evaluate
from robot_wm.training.checkpoint import RunState
from robot_wm.training.collector import Collector
from robot_wm.training.collectors import make_collector
from robot_wm.training.config import TrainConfig
from robot_wm.training.device import place
from robot_wm.training.experience import Experience, Finished, episode_scalars
from robot_wm.training.film import write_film
from robot_wm.training.git import git_commit
from robot_wm.training.initial import take_weights
from robot_wm.training.offline import updates_to_next_mark
from robot_wm.training.peers import PeerTerminatedError
from robot_wm.training.replay_memory import replay_capacity
from robot_wm.training.resumed import require_resumable
from robot_wm.training.run_folder import Start, fill, find_start, only_writer, open_store
from robot_wm.training.run_scalars import run_scalars
from robot_wm.training.scalars import ScalarLog
from robot_wm.training.schedule import whole
from robot_wm.training.sources import Sources
from robot_wm.training.stopping import StopRequest
from robot_wm.training.updates import ReplayedUpdates, Spent
from robot_wm.training.world import look_at

# An actor process may run this far ahead of the train ratio before it waits, in policy steps an environment.
_LEAD_STEPS = 64
# A round lasts no longer where somebody waits for its end: a report, or an actor process for new weights.
_ROUND_S = 1.0
_RETURNS_KEPT = 10
_ACTOR_RNG = "actor_rng"

_log = logging.getLogger(__name__)

Report = Callable[["Trainer"], None]


class TrainingDivergedError(UserError, RuntimeError):
    """A loss, parameter or moment is NaN or infinite; the message names it and the checkpoint to go back to."""


class Trainer:
    """A run from its first step, or from its newest checkpoint if ``resume``."""

    def __init__(self, config: TrainConfig, *, resume: bool = False) -> None:
        if config.threads:
            torch.set_num_threads(config.threads)
        self.config, self.run = config, config.folder
        self._world = look_at(config)
        self.spec: AgentSpec = self._world.spec
        self.figure_names = self._world.figure_names
        self.device = place(config.device)
        with only_writer(self.run):
            self._set_up(find_start(self.run, resume=resume))

    def _set_up(self, start: Start | None) -> None:
        torch.manual_seed(self.config.seed)
        kind, settings = agent_kind(self.config.agent), self.config.settings
        agent = kind.make_agent(settings, self.spec)
        if start is None and self.config.init is not None:
            take_weights(agent, self.config.init, self.config, self.spec)
        saved = None if start is None else start.state.config
        capacity = replay_capacity(self.config, self.spec, agent.stored, saved=saved)
        config = self.config = self.config.model_copy(update={"replay_capacity_steps": capacity})
        self.learner = kind.make_learner(agent, settings, self.device, config.seed)
        self.agent = self.learner.agent
        self.sampler = SequenceSampler(
            self.spec,
            capacity_steps=capacity,
            length=settings.batch_length,
            streams=config.envs,
            stored=agent.stored,
            seed=config.seed,
            priority_exponent=settings.priority_exponent,
            priority_correction=settings.priority_correction,
        )
        self.state = RunState(config=config, agent_spec=self.spec, git_commit=git_commit())
        self._actor_rng: torch.Tensor | None = None
        self.store = open_store(config, self.spec)
        segments = checkpoint.segments_folder(self.run)
        own = SavedReplay(segments, self.sampler, self.store)
        self.sources = Sources(config, own, self.learner, segments=segments, reward_from=self._world.reward_from)
        self._newest = None if start is None else start.path
        if start is not None:
            self._restore(start)
        self.sources.look()
        if config.offline and not self._can_learn:
            raise UserError("--replay: the stores hold no window to learn from")
        self.experience = Experience(
            self.spec,
            self.sampler,
            self.store,
            envs=config.envs,
            backends=self._world.backends(config.envs),
            figure_names=self.figure_names,
            randomisation_names=self._world.randomisation_names,
        )
        self.recent: deque[Finished] = deque(maxlen=_RETURNS_KEPT)
        self.stopped_by = "steps"
        self.running_s = 0.0  # since `train` was called
        self.spent = Spent()  # since `train` was called
        self._updates = ReplayedUpdates(self.learner, self.sources.mixture, self.spent, settings.batch_size)
        self._marks: dict[str, int] = {}
        self._start_steps, self._start_progress = self.state.env_steps, self.state.progress

    def train(self, report: Report = lambda trainer: None) -> RunState:
        """Run to the configured end (or Ctrl-C, the time limit or the wanted return), saving on the way out.

        ``report`` is called after every round of collecting and learning. Raises TrainingDivergedError, and what a
        simulator or a disk failed with; a learner that is sound is saved first.
        """
        state = self.state
        self._started, self._wall_before = time.monotonic(), state.wall_s
        # Undone in the reverse order, each also where another fails: a full disk must not leave an actor behind.
        with ExitStack() as undo:
            undo.enter_context(only_writer(self.run))
            if checkpoint.latest_path(self.run) != self._newest:
                raise UserError(f"{self.run}: another process has trained here meanwhile; start again with --resume")
            self._stop = undo.enter_context(StopRequest())
            self._log = undo.enter_context(ScalarLog(self.run, resume_step=state.progress or None))
            self._source = self._collector()
            undo.callback(self._source.close)
            undo.callback(self.experience.close)
            try:
                while state.progress < self.config.steps and self._go_on():
                    self._round(report)
            except (PeerTerminatedError, StoppedError):
                self.stopped_by = "signal"
            except TrainingDivergedError:
                raise
            except Exception:
                self._save_what_is_sound()
                raise
            self.experience.close()
            self._check_finite()
            self._save()
        return state

    def _round(self, report: Report) -> None:
        self.sources.look(now=False)
        if not self._pretraining and not self.config.offline:
            self._publish(self._source)
            self._collect(self._source)
        self._learn()
        self._clock()
        report(self)
        self._periodic()

    def _go_on(self) -> bool:
        """Whether nothing has ended this run yet; asked between rounds, updates and the steps of an evaluation."""
        self._clock()
        if self._stop.heard():
            self.stopped_by = "signal"
        elif self.config.time_limit_s is not None and self.running_s >= self.config.time_limit_s:
            self.stopped_by = "time limit"
        return self.stopped_by == "steps"

    def _clock(self) -> None:
        self.running_s = time.monotonic() - self._started
        self.state.wall_s = self._wall_before + self.running_s

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
        # After a resume new seeds, or the environments would replay the episodes of the run's start, or, where the
        # store holds more than the checkpoint knows of, those that followed it.
        seed = self.config.seed + self.state.env_steps + self.store.next_number()
        return make_collector(self.config, self.spec, self.agent, seed=seed, rng_state=self._actor_rng)

    @property
    def _pretraining(self) -> bool:
        """Whether the random steps are there and the updates before the policy's first step are not done yet."""
        state, config = self.state, self.config
        random_done = state.env_steps >= config.prefill_steps and state.updates < config.pretrain_updates
        return random_done and self._due_updates > 0

    @property
    def _due_updates(self) -> int:
        """Updates that have been earned; none before the replay holds a window. Without steps, those that come next."""
        if self.config.offline:
            return updates_to_next_mark(self.config, self.state.progress) if self._can_learn else 0
        return whole(self.state.update_credit or 0.0) if self._can_learn else 0

    @property
    def _can_learn(self) -> bool:
        return self.sources.mixture.windows > 0

    def _publish(self, collector: Collector) -> None:
        state, config = self.state, self.config
        collector.publish(
            self.agent,
            policy=str(state.updates),
            random=state.env_steps < config.prefill_steps,
            steps_permitted=self._steps_paid_for() + _LEAD_STEPS * config.envs - self._start_steps,
        )

    def _steps_paid_for(self) -> int:
        """Policy steps at which the train ratio would have asked for the updates that were made."""
        state, config = self.state, self.config
        behind = config.schedule.steps_behind(state.updates, state.update_credit or 0.0)
        return max(config.prefill_steps, int(state.env_steps - behind))

    def _collect(self, collector: Collector) -> None:
        begin = time.perf_counter()
        try:
            with self._stop.bounded():
                transitions = collector.poll()
        except RuntimeError:
            self._check_finite()  # weights that are not finite make actions that are not: tell the cause
            raise
        for transition in transitions:
            finished = self.experience.add(transition)
            self._count_steps(transition.envs)
            self.state.episodes += len(finished)
            self.state.robot_steps += int(np.count_nonzero(~transition.is_first))
            self.state.falls += figures.falls([episode.figures for episode in finished]) or 0
            self.recent.extend(finished)
        self.spent.collect += time.perf_counter() - begin

    def _count_steps(self, steps: int) -> None:
        """Count policy steps and the updates that they earn."""
        state = self.state
        before, credit = state.env_steps, state.update_credit or 0.0
        state.env_steps += steps
        state.update_credit = credit + self.config.schedule.earned(before, state.env_steps, state.updates + credit)

    def _learn(self) -> None:
        """The updates that have been earned; at most as many as one round's worth where others wait for its end."""
        state = self.state
        short = self.config.actor == "process" or self._pretraining or self.config.offline
        deadline = time.monotonic() + _ROUND_S

        def go_on() -> bool:
            return self._go_on() and not (short and time.monotonic() >= deadline)

        done = self._updates.run(self._due_updates, go_on)
        state.updates += done
        if self.config.offline:
            state.offline_updates += done
        else:
            state.update_credit = (state.update_credit or 0.0) - done
        self.sources.refresh(state.updates - done, state.updates)

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
        """Whether a multiple of ``every`` steps has been passed since this last said so."""
        now = self.state.progress // every
        before = self._marks.setdefault(name, self._start_progress // every)
        self._marks[name] = now
        return now > before

    def _write_scalars(self) -> None:
        state = self.state
        values = {name: float(value) for name, value in self._updates.metrics.items()}
        if self.recent_return is not None:
            values["episode/return"] = self.recent_return
            values |= episode_scalars(list(self.recent), self.spec.control_rate_hz)
        values |= {f"time/{name}": share for name, share in self.spent.shares(self.running_s).items()}
        values |= run_scalars(state, robot_minutes=self.robot_minutes, falls=self.falls)
        values |= self.sources.scalars()
        self._log.scalars(state.progress, values)

    def _evaluate(self) -> None:
        state, config = self.state, self.config
        try:
            with self._stop.bounded():
                result = evaluate(
                    self.agent,
                    config.task,
                    config.task_options,
                    episodes=config.eval_episodes,
                    longest=config.eval_episode_steps,
                    go_on=self._go_on,
                )
        except StoppedError:
            return
        state.evaluation = result | {"env_steps": state.env_steps, "updates": state.updates}
        values = {"eval/return": result["return_mean"], "run/wall_s": state.wall_s}
        self._log.scalars(state.progress, values | figures.scalars("eval", result))
        if state.best_return is None or result["return_mean"] >= state.best_return:
            state.best_return = result["return_mean"]
            self._check_finite()
            checkpoint.mark_best(self.run, self._save())
        if config.stop_at_return is not None and result["return_mean"] >= config.stop_at_return:
            self.stop("return")

    def _predict(self) -> None:
        step, config = self.state.progress, self.config
        drawn = self.sources.mixture.look(config.settings.batch_size, np.random.default_rng([config.seed, step]))
        pictures = self.learner.report(TensorBatch.from_numpy(drawn, self.device), self.spec)
        for name, picture in pictures.stills.items():
            self._log.image(step, name, picture)
        for name, frames in pictures.films.items():
            path = self.run / "open_loop" / f"{name}_{step:09d}.gif"
            write_film(path, frames, rate_hz=self.spec.control_rate_hz)

    def _check_finite(self) -> None:
        name = self.learner.first_nonfinite()
        if name is not None:
            good = checkpoint.latest_path(self.run)
            kept = f"the last good checkpoint is {good}" if good else "there is no checkpoint yet"
            raise TrainingDivergedError(f"{name} is NaN or infinite; {kept}")

    def _save_what_is_sound(self) -> None:
        """Save after a failure of something else than the learner, whose error goes on from here."""
        try:
            self.experience.close()
            if self.state.progress > self._start_progress and self.learner.first_nonfinite() is None:
                self._save()
        except Exception as error:
            _log.warning("%s: not saved after a failure: %s", self.run, error)

    def _save(self) -> Path:
        """Write a checkpoint; a tag keeps the replay version that it names for as long as the checkpoint is kept.

        The tag comes first: what a kill leaves whole can be gone on from.
        """
        self.store.flush()
        self.sources.look()
        self.state.replay_version = self.store.version
        self.store.tag(checkpoint.path_at(self.run, self.state.progress).name, self.store.version, move=True)
        learner = dict(self.learner.state_dict())
        if (rng_state := self._source.rng_state()) is not None:
            learner[_ACTOR_RNG] = rng_state
        replay = self.sources.state_dict()
        path = checkpoint.save(self.run, self.state, learner, replay, keep=self.config.checkpoints_kept)
        self._newest = path
        kept = {item.name for item in checkpoint.paths(self.run)}
        for name in self.store.tags():
            if name.startswith("step_") and name not in kept:
                self.store.untag(name)
        return path

    def _restore(self, start: Start) -> None:
        saved, path = start.state, start.path
        require_same(saved.agent_spec, self.spec, origin=str(path))
        require_resumable(saved.config, self.config, origin=path)
        self._actor_rng = start.learner.pop(_ACTOR_RNG, None)
        self.learner.load_state_dict(start.learner)
        fill(self.sources, start)
        credit = saved.update_credit
        if credit is None:
            credit = saved.config.schedule.left_of_pretraining(saved.env_steps, saved.updates)
        update = {"config": self.config, "git_commit": git_commit(), "update_credit": credit}
        self.state = saved.model_copy(update=update)
        start.set_aside_damaged()
