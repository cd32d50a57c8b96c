"""A trained world model on the changed robot: it acts, learns in imagination while the robot stands, and acts again."""

from __future__ import annotations

import copy
import math
import shutil
from pathlib import Path
from typing import Any, Literal

from robot_wm.baselines.dreamer import greedy
from robot_wm.baselines.trial import Policy
from robot_wm.figures import FALL
from robot_wm.learning.agent import Agent
from robot_wm.spec import AgentSpec
from robot_wm.training import checkpoint
from robot_wm.training.adapting import adaptation
from robot_wm.training.loop import Trainer
from robot_wm.training.rehearsal import rehearse
from robot_wm_bench.rescue.adaptation import Adaptation
from robot_wm_bench.rescue.changed_robot import ChangedRobot, control_steps
from robot_wm_bench.rescue.method import World
from robot_wm_bench.rescue.record import Record

_REHEARSED, _ROBOT, _RUN = "rehearsed", "robot", "run"


class Dreamer:
    """An agent that `robot-wm adapt` goes on with, after every round on all that the robot has experienced by then."""

    def __init__(
        self, how: Adaptation, source: Path, *, seed: int, device: Literal["auto", "cpu"], threads: int = 1
    ) -> None:
        self._how, self._path, self._seed, self._device, self._threads = how, source, seed, device, threads
        self._source = checkpoint.load_agent(source)
        self._agent: Agent = self._source.agent
        self._folder = Path()

    def prepare(self, source: World, folder: Path) -> dict[str, Any]:
        """As `Method.prepare` says: the agent walks there, and rehearses it."""
        self._folder = folder
        if not self._how.rehearse:
            return {"source_steps": 0, "source_falls": []}
        steps, options = self._how.rehearse, dict(source.options)
        store = rehearse(self._source, folder / _REHEARSED, steps=steps, seed=self._seed, options=options)
        episodes = list(store.episodes())
        return {
            "source_steps": sum(control_steps(episode) for episode in episodes),
            "source_falls": [sum(float(episode.is_terminal.any()) for episode in episodes)],
        }

    def greedy(self, spec: AgentSpec, envs: int) -> Policy:
        """As `Method.greedy` says."""
        return greedy(self._agent, spec, envs=envs)

    def rescue(self, target: World, record: Record) -> None:
        """As `Method.rescue` says, and at most for the rounds that are settled; one that was broken off begins anew."""
        how = self._how
        for name in (_ROBOT, _RUN):
            shutil.rmtree(self._folder / name, ignore_errors=True)
        told = how.rewards == "told"
        robot = ChangedRobot(self._folder / _ROBOT, self._source.spec, target, told=told, seed=self._seed)
        record.look(0, self.greedy(self._source.spec, record.robots))
        if record.over:
            return
        self._act(robot, record)
        replay = [str(robot.store.location)]
        if how.rehearse:
            replay.append(f"{self._folder / _REHEARSED}={how.rehearse_share}")
        config = adaptation(
            str(self._path),
            replay,
            run_dir=self._folder / _RUN,
            updates=how.rounds * how.updates,
            log_every_updates=how.updates,
            seed=self._seed,
            device=self._device,
            threads=self._threads,
            changes=how.settings,
        )
        trainer = Trainer(config)
        trainer.train(lambda trainer: self._between_updates(trainer, robot, record))
        if trainer.stopped_by == "signal":
            raise KeyboardInterrupt

    def _between_updates(self, trainer: Trainer, robot: ChangedRobot, record: Record) -> None:
        """Called between slices of updates, one of which ends exactly where a round does."""
        done, rest = divmod(trainer.state.updates, self._how.updates)
        if rest or done < robot.plays:
            return
        last = done == self._how.rounds
        self._agent = copy.deepcopy(trainer.agent).cpu().eval()
        if last or record.due(robot.steps):
            record.look(robot.steps, self.greedy(self._source.spec, record.robots))
        if record.over:
            trainer.stop("record")
        elif not last:
            self._act(robot, record)
            trainer.sources.look()

    def _act(self, robot: ChangedRobot, record: Record) -> None:
        for episode in robot.act(self._agent, self._how.round_s):
            record.episode(episode.figures.get(FALL, math.nan))
