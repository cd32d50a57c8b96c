"""``robot-wm bench checkpoint``: what a checkpoint of a long run writes, and how long that and a restart take."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from cyclopts import Parameter

from robot_wm.agents import DEFAULT, agent_kind
from robot_wm.console import emit, progress
from robot_wm.options import Positive
from robot_wm.replay.episode import Episode, EpisodeSource
from robot_wm.replay.rows import digest
from robot_wm.replay.sampler import SequenceSampler
from robot_wm.replay.saved import SavedReplay
from robot_wm.replay.store import EpisodeStore
from robot_wm.replay.upkeep import Upkeep
from robot_wm.spec import AgentSpec
from robot_wm.tasks import agent_spec, make_env
from robot_wm.training import checkpoint
from robot_wm.training.config import TrainConfig

if TYPE_CHECKING:
    from rich.progress import Progress

_WINDOWS = 64  # rewritten at a time


def bench_checkpoint(
    *,
    task: str = "a1_velocity",
    size: str = "12m",
    steps: Annotated[int, Positive] = 50_000,
    train_ratio: Annotated[float, Positive] = 64.0,
    every_steps: Annotated[int, Positive] = 10_000,
    envs: Annotated[int, Positive] = 16,
    episode_steps: Annotated[int, Positive] = 1000,
    checkpoints: Annotated[int, Positive] = 4,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Time the replay's part of a run's checkpoints, written below the working directory: synthetic steps and latents,
    no simulator, no learner, a full ring.

    Between two checkpoints new steps replace the oldest, and as many windows as the train ratio asks for are rewritten,
    drawn uniformly. The first checkpoint has every latent to write; of the later ones these are means. ``whole`` is all
    in one file, as older versions wrote it each time.

    Parameters
    ----------
    task
        Task whose observations and actions the steps have, see `robot-wm tasks`.
    size
        Model size, which says how wide the latents are.
    steps
        Steps that the replay in memory holds, all environments together.
    train_ratio
        Replayed steps per policy step: how many latents are rewritten between two checkpoints.
    every_steps
        Policy steps between two checkpoints.
    envs
        Environments, each with its own stream of steps.
    episode_steps
        Steps of an episode, the reset included.
    checkpoints
        Checkpoints after the first.
    json
        Print one JSON object.
    """
    with TemporaryDirectory(prefix="robot-wm-bench-", dir=Path.cwd()) as folder, progress() as bar:
        settings = agent_kind(DEFAULT).config(size=size)
        config = TrainConfig(task=task, run_dir=Path(folder) / "run", envs=envs, settings=settings)
        run = _Run(config, capacity_steps=steps, episode_steps=episode_steps)
        result = run.measure(bar, every_steps, round(every_steps * train_ratio / settings.batch_length), checkpoints)
        asked = {"task": task, "size": size, "steps": steps, "train_ratio": train_ratio, "every_steps": every_steps}
        result |= asked | {"envs": envs, "episode_steps": episode_steps, "checkpoints": checkpoints}
    emit(result, as_json=json, title="The replay of a checkpoint")


class _Run:
    """What of a run its checkpoints keep, but for the learner."""

    def __init__(self, config: TrainConfig, *, capacity_steps: int, episode_steps: int) -> None:
        env = make_env(config.task, seed=config.seed, render=False, **config.task_options)
        self.spec: AgentSpec = agent_spec(env)
        env.close()
        self._stored = agent_kind(config.agent).make_agent(config.settings, self.spec).stored
        self._config, self._capacity_steps, self._episode_steps = config, capacity_steps, episode_steps
        self._rng = np.random.default_rng(0)
        self._store = EpisodeStore.create(config.folder / "replay", self.spec, options=Upkeep(commit_episodes=64))
        self._state = checkpoint.RunState(config=config, agent_spec=self.spec)
        self._replay = self._empty()

    def measure(self, bar: Progress, every_steps: int, windows: int, checkpoints: int) -> dict[str, Any]:
        """Bytes and seconds of the first checkpoint, of those that follow, of a restart, and of one file of it all."""
        task = bar.add_task("bench checkpoint", total=checkpoints + 3, note="filling")
        self._add(self._capacity_steps)
        saves = []
        for number in range(checkpoints + 1):
            if number:
                self._add(every_steps)
                self._rewrite(windows)
            bar.update(task, advance=1, note=f"checkpoint {number}")
            saves.append(self._save())
        bar.update(task, advance=1, note="a restart")
        path, begin = saves[-1][0], time.perf_counter()
        state = checkpoint.read_replay(path)
        self._replay = self._empty()
        self._replay.load_state_dict(state, version=self._store.version, origin=path)
        restart_s = time.perf_counter() - begin
        bar.update(task, advance=1, note="all in one file")
        begin = time.perf_counter()
        path = checkpoint.save(self._config.folder, self._state, {}, self._replay.sampler.state_dict(), keep=1)
        whole_s = time.perf_counter() - begin
        later = saves[1:]
        return {
            "bytes_per_step": round(saves[0][1] / self._capacity_steps),
            "first_mb": round(saves[0][1] / 1e6, 1),
            "first_s": round(saves[0][2], 2),
            "later_mb": round(float(np.mean([size for _, size, _ in later])) / 1e6, 1),
            "later_s": round(float(np.mean([seconds for *_, seconds in later])), 2),
            "on_disk_mb": round(self._on_disk_mb, 1),
            "restart_s": round(restart_s, 2),
            "whole_mb": round((path / checkpoint.REPLAY).stat().st_size / 1e6, 1),
            "whole_s": round(whole_s, 2),
        }

    def _empty(self) -> SavedReplay:
        config = self._config
        sampler = SequenceSampler(
            self.spec,
            capacity_steps=self._capacity_steps,
            length=config.settings.batch_length,
            streams=config.envs,
            stored=self._stored,
        )
        return SavedReplay(checkpoint.segments_folder(config.folder), sampler, self._store)

    def _add(self, steps: int) -> None:
        for _ in range(0, steps, self._episode_steps):
            episode = self._episode()
            stream = self._replay.sampler.add_episode(episode, stored=self._latents(episode.length))
            self._store.append([episode])
            self._replay.sampler.places.add(digest(episode), stream=stream, steps=episode.length)
        self._state.env_steps += steps

    def _episode(self) -> Episode:
        rng, step = self._rng, np.arange(self._episode_steps)
        shapes = {field.name: (len(step), *field.shape) for field in self.spec.observations}
        obs: dict[str, Any] = {
            field.name: rng.integers(0, 256, shapes[field.name], np.uint8)
            if field.is_image
            else rng.standard_normal(shapes[field.name], np.float32)
            for field in self.spec.observations
        }
        action = np.eye(self.spec.action_dim, dtype=np.float32)[step % self.spec.action_dim]
        action[-1] = 0
        return Episode(
            obs=obs,
            action=action,
            reward=rng.standard_normal(len(step), np.float32),
            reward_known=np.ones(len(step), np.bool_),
            is_first=step == 0,
            is_last=step == step[-1],
            is_terminal=np.zeros(len(step), np.bool_),
            source=EpisodeSource(kind="sim", task=self.spec.task, robot=self.spec.robot),
        )

    def _latents(self, *rows: int) -> dict[str, Any]:
        """As many of them as asked for, of which no two files are the same."""
        return {
            entry.name: np.full((*rows, *entry.shape), self._rng.integers(100), entry.dtype) for entry in self._stored
        }

    def _rewrite(self, windows: int) -> None:
        rings, length = self._replay.sampler.rings, self._config.settings.batch_length
        for begin in range(0, windows, _WINDOWS):
            stream = self._rng.integers(rings.streams, size=(min(_WINDOWS, windows - begin), 1))
            first = self._rng.integers(rings.low[stream], rings.count[stream] - length + 1)
            index = (first + np.arange(length)) * rings.streams + stream
            self._replay.sampler.write_back(index, self._latents(*index.shape))

    def _save(self) -> tuple[Path, int, float]:
        """The checkpoint that was written, bytes and seconds of its replay."""
        segments = checkpoint.segments_folder(self._config.folder)
        before = set(segments.glob("*"))
        self._store.flush()
        begin = time.perf_counter()
        state = self._replay.state_dict()
        written = sum(file.stat().st_size for file in set(segments.glob("*")) - before)
        path = checkpoint.save(self._config.folder, self._state, {}, state, keep=1)
        seconds = time.perf_counter() - begin
        written += (path / checkpoint.REPLAY).stat().st_size
        self._on_disk_mb = sum(file.stat().st_size for file in segments.glob("*")) / 1e6
        return path, written, seconds
