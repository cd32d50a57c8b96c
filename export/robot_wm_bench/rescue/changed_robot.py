"""The changed robot: it plays what the agent says, as a robot does, and records it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from robot_wm.learning.agent import Agent
from robot_wm.replay.episode import Episode
from robot_wm.replay.store import EpisodeStore
from robot_wm.spec import AgentSpec
from robot_wm.training.experience import Finished
from robot_wm.training.playing import play
from robot_wm_bench.rescue.method import World


class ChangedRobot:
    """Acts greedily in the changed world; ``store`` grows by what was recorded."""

    def __init__(self, folder: Path, spec: AgentSpec, world: World, *, told: bool, seed: int) -> None:
        """``told``: a laboratory tells rewards and falls; else neither is recorded, as a robot by itself knows none."""
        self.store = EpisodeStore.create(folder, spec)
        self._world, self._told, self._seed = world, told, seed
        self.steps = self.plays = 0

    def act(self, agent: Agent, seconds: float) -> list[Finished]:
        """Let the agent act so long in all, from a reset on and again from one after each end; which are returned."""
        spec = self.store.spec
        with (
            TemporaryDirectory(dir=self.store.path.parent) as folder,
            EpisodeStore.create(Path(folder) / "played", spec) as played,
        ):
            finished = play(
                agent,
                self._world.task,
                self._world.options,
                played,
                steps=round(seconds * spec.control_rate_hz),
                seed=1000 * self._seed + self.plays,
                greedy=True,
                policy=f"after {self.steps} steps",
            )
            episodes = list(played.episodes())
        self.store.append([episode if self._told else unjudged(episode) for episode in episodes])
        self.store.flush()
        self.plays += 1
        self.steps += sum(control_steps(episode) for episode in episodes)
        return finished


def control_steps(episode: Episode) -> int:
    """Steps of an episode, or of a piece of one, that were taken: all but a reset."""
    return episode.length - int(episode.is_first.sum())


def unjudged(episode: Episode) -> Episode:
    """The episode as the import of a robot's recording would give it: no reward, and no end for good."""
    step = np.arange(episode.length)
    action = episode.action.copy()
    action[-1] = 0
    told = {"seed": None, "backend": "", "randomisation": None, "first_step": 0, "goes_on": False, "kind": "robot"}
    return replace(
        episode,
        action=action,
        reward=np.zeros_like(episode.reward),
        reward_known=step == 0,
        is_first=step == 0,
        is_last=step == step[-1],
        is_terminal=np.zeros_like(episode.is_terminal),
        source=episode.source.model_copy(update=told),
    )
