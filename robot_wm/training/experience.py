"""Where transitions go: the sampler at once, the durable store when an episode has ended."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robot_wm.replay.episode import Episode, EpisodeSource
from robot_wm.replay.sampler import SequenceSampler
from robot_wm.replay.store import EpisodeStore
from robot_wm.spec import AgentSpec
from robot_wm.training.transition import Transition


@dataclass(frozen=True)
class Finished:
    """One episode that has just ended."""

    episode_return: float
    length: int  # control steps
    success: float  # 1, 0, or NaN where the task told none


class Experience:
    """Feeds the sampler step by step and the store, which commits in batches of its own, episode by episode."""

    def __init__(
        self,
        spec: AgentSpec,
        sampler: SequenceSampler,
        store: EpisodeStore,
        *,
        envs: int,
        backend: str,
    ) -> None:
        self._spec, self._sampler, self._store = spec, sampler, store
        self._backend = backend
        self._running: list[list[dict[str, np.ndarray]]] = [[] for _ in range(envs)]

    def add(self, transition: Transition) -> list[Finished]:
        """Take one step of every environment; returns the episodes that it ended."""
        finished = []
        for n, obs in transition.rows():
            row = {name: getattr(transition, name)[n] for name in _FIELDS}
            self._sampler.add(n, obs, **row, deter=transition.deter[n], stoch=transition.stoch[n])
            if row["is_first"]:
                self._running[n] = []  # a resumed run starts anew: what ran before the stop has no end
            self._running[n].append(row | {f"obs/{name}": value for name, value in obs.items()})
            if row["is_last"]:
                episode = self._episode(self._running[n], transition.policy, int(transition.seed[n]))
                self._running[n] = []
                self._store.append([episode])
                finished.append(Finished(episode.episode_return, episode.length - 1, float(transition.success[n])))
        return finished

    def _episode(self, rows: list[dict[str, np.ndarray]], policy: str, seed: int) -> Episode:
        columns = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        return Episode(
            obs={field.name: columns[f"obs/{field.name}"] for field in self._spec.observations},
            **{name: columns[name] for name in _FIELDS},
            source=EpisodeSource(
                kind="sim",
                task=self._spec.task,
                robot=self._spec.robot,
                seed=seed,
                backend=self._backend,
                policy=policy,
            ),
        )


_FIELDS = ("action", "reward", "is_first", "is_last", "is_terminal")
