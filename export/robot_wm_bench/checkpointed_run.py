"""A run of which there is nothing but its replay: synthetic steps and latents, saved and read back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from robot_wm.agents import agent_kind
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


class CheckpointedRun:
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
            "first_s": round(saves[0][2], 4),
            "later_mb": round(float(np.mean([size for _, size, _ in later])) / 1e6, 1),
            "later_s": round(float(np.mean([seconds for *_, seconds in later])), 4),
            "on_disk_mb": round(self._on_disk_mb, 1),
            "restart_s": round(restart_s, 4),
            "whole_mb": round((path / checkpoint.REPLAY).stat().st_size / 1e6, 1),
            "whole_s": round(whole_s, 4),
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
