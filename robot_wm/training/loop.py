"""The training loop: collect, learn, look, save.

One object owns a run's learner, experience and counters. Collecting is behind the `Collector` protocol, so the same
loop trains with the actor in this process or beside it.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import torch

from robot_wm import figures
from robot_wm.agents import agent_kind
from robot_wm.errors import StoppedError, UserError
from robot_wm.learning.ranks import ALONE, RankLostError, Ranks
from robot_wm.replay.saved import SavedReplay
from robot_wm.spec import AgentSpec
from robot_wm.training import checkpoint
from robot_wm.training.agreement import GOES_ON, Agreement
from robot_wm.training.checkpoint import RunState
from robot_wm.training.collector import Collector
from robot_wm.training.collectors import make_collector
from robot_wm.training.compiling import compiles_on_cpu
from robot_wm.training.config import TrainConfig
from robot_wm.training.device import place
from robot_wm.training.experience import Experience, Finished, episode_scalars
from robot_wm.training.git import git_commit
from robot_wm.training.initial import take_weights
from robot_wm.training.last_sound import LastSound
from robot_wm.training.looks import evaluated, log_audit, show_predictions
from robot_wm.training.offline import updates_to_next_mark
from robot_wm.training.one_writer import only_writer
from robot_wm.training.peers import PeerTerminatedError
from robot_wm.training.policy_age import PolicyAge
from robot_wm.training.replay_memory import make_sampler, replay_capacity
from robot_wm.training.run_folder import Start, open_store
from robot_wm.training.run_scalars import run_scalars
from robot_wm.training.saves import Saves, restore
from robot_wm.training.scalars import averaged, open_log
from robot_wm.training.schedule import whole
from robot_wm.training.shares import fill_share, find_share, gone_on_from, own_config, require_equal
from robot_wm.training.sources import Sources
from robot_wm.training.stopping import StopRequest
from robot_wm.training.transition import Transition
from robot_wm.training.updates import ReplayedUpdates, Spent
from robot_wm.training.world import look_at

# How far actors beside the learner may be ahead of the train ratio, policy steps an environment and updates they earn.
_LEAD_STEPS = 64
# A round lasts no longer where somebody waits for its end: a report, or an actor beside it for new weights.
_ROUND_S = 1.0
_RETURNS_KEPT = 10

_log = logging.getLogger(__name__)

Report = Callable[["Trainer"], None]


class TrainingDivergedError(UserError, RuntimeError):
    """A loss, parameter or moment is NaN or infinite; the message names it and the checkpoint to go back to."""


class Trainer:
    """A run from its first step, or from its newest checkpoint if ``resume``; with several ``ranks`` this one's share.

    Each of them has its own folder, environments and replay (see `shares`); ``state`` counts for all of them together.
    """

    def __init__(self, config: TrainConfig, *, resume: bool = False, ranks: Ranks = ALONE) -> None:
        if config.threads:
            torch.set_num_threads(config.threads)
        self._world = look_at(config)
        self.spec: AgentSpec = self._world.spec
        require_equal(config, self.spec, ranks)
        self.ranks, self._root = ranks, config.folder
        self.config = own_config(config, ranks)
        self.run = self.config.folder
        self.figure_names = self._world.figure_names
        self.device = place(config.device)
        with only_writer(self.run):
            self._set_up(*find_share(self.run, ranks, resume=resume))

    def _set_up(self, start: Start | None, shared: RunState | None) -> None:
        torch.manual_seed(self.config.seed)
        kind, settings = agent_kind(self.config.agent), self.config.settings
        agent = kind.make_agent(settings, self.spec)
        if shared is None and self.config.init is not None:
            take_weights(agent, self.config.init, self.config, self.spec)
        saved, ranks = None if shared is None else shared.config, self.ranks
        capacity = replay_capacity(self.config, self.spec, agent.stored, saved=saved, runs=ranks.on_host)
        capacity = int(ranks.rows([capacity]).min())
        config = self.config = self.config.model_copy(update={"replay_capacity_steps": capacity})
        self.learner = kind.make_learner(agent, settings, self.device, config.seed)
        self.learner.compiles = compiles_on_cpu(config, self.device, ranks.size)
        self.agent = self.learner.agent
        self.sampler = make_sampler(config, self.spec, agent.stored)
        self.state = RunState(config=config, agent_spec=self.spec, git_commit=git_commit(), ranks=ranks.size)
        self._schedule = config.schedule(ranks.size)
        self._actor_rngs: list[torch.Tensor] = []
        self.store = open_store(config, self.spec)
        segments = checkpoint.segments_folder(self.run)
        own = SavedReplay(segments, self.sampler, self.store)
        self.sources = Sources(config, own, self.learner, segments=segments, reward_from=self._world.reward_from)
        self._saves = Saves(self.run, self.learner, self.sources, ranks, keep=config.checkpoints_kept)
        if start is not None:
            self._actor_rngs = restore(start, self.learner, config, self.spec, ranks)
            self._saves.newest = start.path
        self.learner.join(ranks)
        if shared is not None:
            self.state = gone_on_from(shared, config, ranks)
            fill_share(self.sources, start, shared, self._root, ranks)
        if start is not None:
            start.set_aside_damaged()
        self.sources.look()
        self._agreement = Agreement(ranks, can_learn=self.sources.mixture.windows > 0)
        self._sound = LastSound()
        if config.offline and not self._agreement.can_learn:
            raise UserError("--replay: the stores hold no window to learn from")
        self.experience = Experience(
            self.spec,
            self.sampler,
            self.store,
            streams=config.streams,
            backends=self._world.backends(config.envs) * config.collectors,
            figure_names=self.figure_names,
            randomisation_names=self._world.randomisation_names,
        )
        self._ages = PolicyAge(self.experience, lambda: self.state.updates)
        self.recent: deque[Finished] = deque(maxlen=_RETURNS_KEPT)
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
            if checkpoint.latest_path(self.run) != self._saves.newest:
                raise UserError(f"{self.run}: another process has trained here meanwhile; start again with --resume")
            self._stop = undo.enter_context(StopRequest())
            self._log = undo.enter_context(open_log(self.config, state.progress, self.ranks))
            self._source = self._collector()
            undo.callback(self._source.close)
            undo.callback(self.experience.close)
            try:
                self._agree()
                while state.progress < self.config.steps and self._go_on():
                    self._round(report)
                self._take(self._source.drain())
                self._agree()
            except TrainingDivergedError:
                raise
            except Exception as error:
                self._save_what_is_sound(lost=isinstance(error, RankLostError))
                raise
            self.experience.close()
            self._check_finite()
            self._save()
        return state

    def _round(self, report: Report) -> None:
        self.sources.look(now=False)
        if not self._pretraining and not self.config.offline:
            try:
                self._publish(self._source)
                self._collect(self._source)
            except (PeerTerminatedError, StoppedError):
                self.stop("signal")
        self._agree()
        if self.stopped_by != GOES_ON:
            return
        self._learn()
        self._clock()
        report(self)
        self._periodic()

    def _go_on(self) -> bool:
        """Whether nothing has ended this run yet; asked between rounds and updates."""
        self._nothing_heard()
        return self.stopped_by == GOES_ON

    def _nothing_heard(self) -> bool:
        """Whether nothing would end it that this rank has heard of; asked between the steps of an evaluation, too."""
        self._clock()
        if self._stop.heard():
            self.stop("signal")
        elif self.config.time_limit_s is not None and self.running_s >= self.config.time_limit_s:
            self.stop("time limit")
        return self._agreement.wanted_end == GOES_ON

    def _agree(self) -> None:
        """Count what all ranks have collected, and settle whether the run goes on."""
        new = self._agreement.settle(can_learn=self.sources.mixture.windows > 0)
        self._count_steps(new.env_steps)
        self.state.episodes += new.episodes
        self.state.robot_steps += new.robot_steps
        self.state.falls += new.falls
        if self.ranks.size > 1:
            self._sound.keep(self.learner, self.state)

    def _clock(self) -> None:
        self.running_s = time.monotonic() - self._started
        self.state.wall_s = self._wall_before + self.running_s

    def stop(self, why: str) -> None:
        """End `train` after this round; ``why`` is what `stopped_by` tells then."""
        self._agreement.end(why)

    @property
    def stopped_by(self) -> str:
        """What has ended the run; "steps" until then."""
        return self._agreement.stopped_by

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
        return make_collector(self.config, self.spec, self.agent, seed=seed, rng_states=self._actor_rngs)

    @property
    def _pretraining(self) -> bool:
        """Whether the random steps are there and the updates before the policy's first step are not done yet."""
        state, config = self.state, self.config
        random_done = state.env_steps >= config.prefill_steps and state.updates < config.pretrain_updates
        return random_done and self._due_updates > 0

    @property
    def _due_updates(self) -> int:
        """Updates that have been earned; none before the replay holds a window. Without steps, those that come next."""
        if not self._agreement.can_learn:
            return 0
        if self.config.offline:
            return updates_to_next_mark(self.config, self.state.progress)
        return whole(self.state.update_credit or 0.0)

    def _publish(self, collector: Collector) -> None:
        state, config = self.state, self.config
        paid_for = (self._steps_paid_for() - self._start_steps) // self.ranks.size
        collector.publish(
            self.agent,
            policy=str(state.updates),
            random=state.env_steps < config.prefill_steps,
            steps_permitted=paid_for + _LEAD_STEPS * config.streams + self._schedule.steps_an_update,
        )

    def _steps_paid_for(self) -> int:
        """Policy steps at which the train ratio would have asked for the updates that were made."""
        state, config = self.state, self.config
        behind = self._schedule.steps_behind(state.updates, state.update_credit or 0.0)
        return max(config.prefill_steps, int(state.env_steps - behind))

    def _collect(self, collector: Collector) -> None:
        begin = time.perf_counter()
        try:
            with self._stop.bounded():
                transitions = collector.poll()
        except RuntimeError:
            self._check_finite()  # weights that are not finite make actions that are not: tell the cause
            raise
        self._take(transitions)
        self.spent.collect += time.perf_counter() - begin

    def _take(self, transitions: Iterable[Transition]) -> None:
        for transition in transitions:
            finished = self.experience.add(transition)
            own = self._agreement.own
            own.env_steps += transition.envs
            own.episodes += len(finished)
            own.robot_steps += int(np.count_nonzero(~transition.is_first))
            own.falls += figures.falls([episode.figures for episode in finished]) or 0
            self.recent.extend(finished)

    def _count_steps(self, steps: int) -> None:
        """Count policy steps and the updates that they earn."""
        state = self.state
        before, credit = state.env_steps, state.update_credit or 0.0
        state.env_steps += steps
        state.update_credit = credit + self._schedule.earned(before, state.env_steps, state.updates + credit)

    def _learn(self) -> None:
        """The updates that have been earned; at most as many as one round's worth where others wait for its end."""
        state, agreed = self.state, self._agreement
        short = self.config.actor != "inline" or self._pretraining or self.config.offline
        start, alone = time.monotonic(), self.ranks.size == 1

        def go_on() -> bool:
            return self._go_on() and not (short and alone and time.monotonic() >= start + _ROUND_S)

        due = self._due_updates
        done = self._updates.run(agreed.updates_within(due, _ROUND_S) if short else due, go_on)
        agreed.took(done, time.monotonic() - start)
        state.updates += done
        if self.config.offline:
            state.offline_updates += done
        else:
            state.update_credit = (state.update_credit or 0.0) - done
        self.sources.refresh(state.updates - done, state.updates)

    def _periodic(self) -> None:
        state, config = self.state, self.config
        if self._due(config.log_every_steps, "log"):
            self._check_finite()
            self._write_scalars()
        if state.updates and config.eval_every_steps and self._due(config.eval_every_steps, "eval"):
            self._evaluate()
        if state.updates and config.predict_every_steps and self._due(config.predict_every_steps, "predict"):
            show_predictions(self.learner, self.sources.mixture, state.progress, config, self.spec, self._log)
        if state.updates and config.audit_every_steps and self._due(config.audit_every_steps, "audit"):
            log = partial(log_audit, self.agent, self.store, state, self._log, self._stop, self._nothing_heard)
            self.ranks.told(log)  # by rank 0, and the others wait
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
        values |= episode_scalars(list(self.recent), self.spec.control_rate_hz) | self._ages.scalars()
        values |= {f"time/{name}": share for name, share in self.spent.shares(self.running_s).items()}
        values |= run_scalars(state, robot_minutes=self.robot_minutes, falls=self.falls)
        values |= self.sources.scalars()
        self._log.scalars(state.progress, averaged(values, self.ranks))

    def _evaluate(self) -> None:
        state, config = self.state, self.config
        result = self.ranks.told(lambda: evaluated(self.agent, config, self._stop, self._nothing_heard))
        if result is None:
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

    def _check_finite(self) -> None:
        name = self.learner.first_nonfinite()
        if name is not None:
            good = checkpoint.latest_path(self.run)
            kept = f"the last good checkpoint is {good}" if good else "there is no checkpoint yet"
            raise TrainingDivergedError(f"{name} is NaN or infinite; {kept}")

    def _save_what_is_sound(self, *, lost: bool) -> None:
        """Save after a failure of something else than the learner, whose error goes on from here.

        Without a word to other ranks, of which one may be ``lost``, in the middle of an update.
        """
        try:
            self.experience.close()
            sound = self._sound.go_back(self.learner, self.state) if lost else self.learner.first_nonfinite() is None
            if self.state.progress > self._start_progress and sound:
                self._saves.write(self.state, self._source.rng_states())
        except Exception as error:
            _log.warning("%s: not saved after a failure: %s", self.run, error)

    def _save(self) -> Path:
        return self._saves.save(self.state, self._source.rng_states())
