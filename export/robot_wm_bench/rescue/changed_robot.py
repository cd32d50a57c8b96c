"""The changed robot: it plays what the agent says, as a robot does, and counts what that costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from robot_wm import figures
from robot_wm.learning.agent import Agent
from robot_wm.replay.episode import Episode
from robot_wm.replay.store import EpisodeStore
from robot_wm.spec import AgentSpec
from robot_wm.training.config import OptionValue
from robot_wm.training.playing import play

TARGET = Path(str(files("robot_wm_bench.rescue"))) / "target.yaml"


def target_options(file: Path = TARGET) -> dict[str, OptionValue]:
    """Options of the task in the changed world."""
    return {"backend": "mujoco", "randomisation": str(file)}


class ChangedRobot:
    """Acts greedily in the changed world; ``store`` grows by what was recorded."""

    def __init__(
        self, folder: Path, spec: AgentSpec, task: str, options: Mapping[str, OptionValue], *, told: bool, seed: int
    ) -> None:
        """``told``: a laboratory tells rewards and falls; else neither is recorded, as a robot by itself knows none."""
        self.store = EpisodeStore.create(folder, spec)
        self._task, self._options, self._told, self._seed = task, options, told, seed
        self.steps = self.falls = self._plays = 0

    def act(self, agent: Agent, seconds: float) -> None:
        """Let the agent act so long in all, from a reset on and again from one after each fall."""
        spec = self.store.spec
        with (
            TemporaryDirectory(dir=self.store.path.parent) as folder,
            EpisodeStore.create(Path(folder) / "played", spec) as played,
        ):
            finished = play(
                agent,
                self._task,
                self._options,
                played,
                steps=round(seconds * spec.control_rate_hz),
                seed=1000 * self._seed + self._plays,
                greedy=True,
                policy=f"after {self.steps} steps",
            )
            episodes = [episode if self._told else unjudged(episode) for episode in played.episodes()]
        self.store.append(episodes)
        self.store.flush()
        self._plays += 1
        self.steps += sum(episode.length - 1 for episode in episodes)
        self.falls += figures.falls([episode.figures for episode in finished]) or 0

    @property
    def seconds(self) -> float:
        """How long the robot has moved."""
        return self.steps / self.store.spec.control_rate_hz


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
