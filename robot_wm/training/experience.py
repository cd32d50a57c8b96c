"""Where transitions go: the sampler at once, the durable store when an episode has ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.figures import scalars, summary
from robot_wm.replay.episode import STEP_COLUMNS, Episode, EpisodeSource, step_columns
from robot_wm.replay.sampler import SequenceSampler
from robot_wm.replay.store import EpisodeStore
from robot_wm.spec import AgentSpec
from robot_wm.training.transition import Transition

_ROOM = 256  # steps an environment that are reserved at first


@dataclass(frozen=True)
class Finished:
    """One episode that has just ended."""

    episode_return: float
    length: int  # control steps
    success: float  # 1, 0, or NaN where the task told none
    figures: dict[str, float]  # what the task told beside; see `robot_wm.figures`


def episode_scalars(episodes: Sequence[Finished], rate_hz: float) -> dict[str, float]:
    """Means of the latest ``episodes``, as ``episode/<name>`` for a log."""
    lengths = [episode.length for episode in episodes]
    values = {"episode/length": float(np.mean(lengths))}
    success = [episode.success for episode in episodes]
    if not np.isnan(success).any():
        values["episode/success"] = float(np.mean(success))
    told = summary(lengths, [episode.figures for episode in episodes], control_rate_hz=rate_hz)
    return values | scalars("episode", told)


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
        figure_names: Sequence[str],
    ) -> None:
        self._spec, self._sampler, self._store = spec, sampler, store
        self._backend, self._figure_names = backend, figure_names
        self._running = _RunningEpisodes(spec, envs)

    def add(self, transition: Transition) -> list[Finished]:
        """Take one step of every environment; returns the episodes that it ended."""
        columns = {name: getattr(transition, name) for name in STEP_COLUMNS}
        self._sampler.add_step(transition.obs, **columns, deter=transition.deter, stoch=transition.stoch)
        self._running.add(columns | {f"obs/{name}": value for name, value in transition.obs.items()})
        ended = np.flatnonzero(transition.is_last).tolist()
        return [self._finish(n, transition) for n in ended]

    def _finish(self, n: int, transition: Transition) -> Finished:
        columns = self._running.cut(n)
        episode = Episode(
            obs={field.name: columns[f"obs/{field.name}"] for field in self._spec.observations},
            **{name: columns[name] for name in STEP_COLUMNS},
            source=EpisodeSource(
                kind="sim",
                task=self._spec.task,
                robot=self._spec.robot,
                seed=int(transition.seed[n]),
                backend=self._backend,
                policy=transition.policy,
            ),
        )
        self._store.append([episode])
        return Finished(
            episode_return=episode.episode_return,
            length=episode.length - 1,
            success=float(transition.success[n]),
            figures=dict(zip(self._figure_names, transition.figures[n].tolist(), strict=True)),
        )


class _RunningEpisodes:
    """The unfinished episodes of N environments: a column is one array [N, room, ...] that grows with the longest.

    A round is one write a column, however many environments there are. Untouched rows cost address space only.
    """

    def __init__(self, spec: AgentSpec, envs: int) -> None:
        self._envs = np.arange(envs)
        self._length = np.zeros(envs, np.int64)  # [N] steps so far
        self._room = _ROOM
        self._columns: dict[str, NDArray[Any]] = {
            name: np.zeros((envs, _ROOM, *shape), dtype) for name, (shape, dtype) in step_columns(spec).items()
        }

    def add(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Append one step [N, ...] to every episode; a first step drops what ran before it without an end."""
        self._length[columns["is_first"]] = 0
        if self._length.max() == self._room:
            self._grow()
        for name, array in self._columns.items():
            array[self._envs, self._length] = columns[name]
        self._length += 1

    def cut(self, n: int) -> dict[str, NDArray[Any]]:
        """Environment n's episode that has just ended: its columns [L, ...], as copies."""
        return {name: array[n, : self._length[n]].copy() for name, array in self._columns.items()}

    def _grow(self) -> None:
        for name, array in self._columns.items():
            wider = np.zeros((array.shape[0], 2 * self._room, *array.shape[2:]), array.dtype)
            wider[:, : self._room] = array
            self._columns[name] = wider
        self._room *= 2
