"""Where transitions go: the sampler at once, the durable store when an episode has ended.

An episode that is too long to wait for is stored in pieces, as DreamerV3 stores its streams in chunks
(danijar/dreamerv3 `embodied/replay`): a crash costs no more than one, and memory does not grow with an episode that
never ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.figures import scalars, summary
from robot_wm.replay.episode import Episode, EpisodeSource
from robot_wm.replay.rows import bytes_per_step, digest
from robot_wm.replay.sampler import SequenceSampler
from robot_wm.replay.store import EpisodeStore
from robot_wm.spec import AgentSpec
from robot_wm.step import as_fields, step_columns
from robot_wm.training.transition import Transition

_ROOM = 256  # steps an environment that are reserved at first
# Of a piece: DreamerV3's chunk, and more than most tasks' episodes have; less where that many pictures are too much.
PIECE_STEPS = 1024
_PIECE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Finished:
    """One episode that has just ended."""

    episode_return: float
    length: int  # control steps
    success: float  # 1, 0, or NaN where the task told none
    figures: dict[str, float]  # what the task told beside; see `robot_wm.figures`


def episode_scalars(episodes: Sequence[Finished], rate_hz: float) -> dict[str, float]:
    """Means of the latest ``episodes``, as ``episode/<name>`` for a log; none where none has ended."""
    if not episodes:
        return {}
    lengths = [episode.length for episode in episodes]
    values = {
        "episode/return": float(np.mean([episode.episode_return for episode in episodes])),
        "episode/length": float(np.mean(lengths)),
    }
    success = [episode.success for episode in episodes]
    if not np.isnan(success).any():
        values["episode/success"] = float(np.mean(success))
    told = summary(lengths, [episode.figures for episode in episodes], control_rate_hz=rate_hz)
    return values | scalars("episode", told)


# Hears of every transition, and of the episodes that it ended, in the order of their environments.
Listener = Callable[[Transition, Sequence[Finished]], None]


class Experience:
    """Feeds the sampler step by step and the store, which commits in batches of its own, episode by episode.

    Each environment of each collector is a stream; what a transition of one collector brings leaves the others alone.

    An episode of more than `PIECE_STEPS` steps is stored piece by piece, and what has begun by `close` as well.
    """

    def __init__(
        self,
        spec: AgentSpec,
        sampler: SequenceSampler,
        store: EpisodeStore,
        *,
        streams: int,
        backends: Sequence[str],
        figure_names: Sequence[str],
        randomisation_names: Sequence[str] = (),
    ) -> None:
        """``backends`` are the physics of each stream's environment."""
        self._spec, self._sampler, self._store = spec, sampler, store
        self._backends, self._figure_names, self._randomisation_names = backends, figure_names, randomisation_names
        self._running = _RunningEpisodes(spec, streams)
        self._newest: dict[int, Transition] = {}  # of each collector, by its first stream
        self.listeners: list[Listener] = []

    def add(self, transition: Transition) -> list[Finished]:
        """Take one step of every environment of a collector; returns the episodes that it ended."""
        streams = transition.streams
        self._sampler.add_step(transition, streams=streams, stored=transition.stored)
        self._running.add(transition.columns(), streams)
        self._newest[transition.first_stream] = transition
        ended = np.flatnonzero(transition.is_last).tolist()
        finished = [self._finish(n, transition) for n in ended]
        full = np.flatnonzero(self._running.length[streams] >= self._running.most).tolist()
        self._keep([self._cut(n, transition, goes_on=True) for n in full], streams[full])
        for listener in self.listeners:
            listener(transition, finished)
        return finished

    def close(self) -> None:
        """Store what has been experienced of the running episodes, and commit everything."""
        more_than_a_reset = self._running.length > (self._running.before == 0)
        for newest in self._newest.values():
            begun = np.flatnonzero(more_than_a_reset[newest.streams]).tolist()
            self._keep([self._cut(n, newest, goes_on=True) for n in begun], newest.streams[begun])
        self._store.flush()

    def _finish(self, n: int, transition: Transition) -> Finished:
        stream = transition.streams[n]
        before, earned = int(self._running.before[stream]), float(self._running.earned[stream])
        episode = self._cut(n, transition, goes_on=False)
        self._keep([episode], [stream])
        return Finished(
            episode_return=earned + episode.episode_return,
            length=before + episode.length - 1,
            success=float(transition.success[n]),
            figures=dict(zip(self._figure_names, transition.figures[n].tolist(), strict=True)),
        )

    def _keep(self, episodes: Sequence[Episode], streams: Iterable[int]) -> None:
        """Store the newest steps of streams; what the store has taken, no checkpoint needs to hold."""
        self._store.append(episodes)
        for stream, episode in zip(streams, episodes, strict=True):
            self._sampler.places.add(digest(episode), stream=int(stream), steps=episode.length)

    def _cut(self, n: int, transition: Transition, *, goes_on: bool) -> Episode:
        """Take the steps of the stream of row n that are not stored yet."""
        stream = int(transition.streams[n])
        before = int(self._running.before[stream])
        drawn = zip(self._randomisation_names, transition.randomisation[n].tolist(), strict=True)
        return Episode(
            **as_fields(self._running.cut(stream)),
            source=EpisodeSource(
                kind="sim",
                task=self._spec.task,
                robot=self._spec.robot,
                seed=int(transition.seed[n]),
                backend=self._backends[stream],
                policy=transition.policy,
                first_step=before,
                goes_on=goes_on,
                randomisation={name: value for name, value in drawn if math.isfinite(value)} or None,
            ),
        )


class _RunningEpisodes:
    """The unfinished episodes of S streams: a column is one array [S, room, ...] that grows with the longest.

    A transition is one write a column, however many environments it has. Untouched rows cost address space only.
    Who adds cuts what has come to ``most`` steps.
    """

    def __init__(self, spec: AgentSpec, streams: int) -> None:
        self.most = int(np.clip(_PIECE_BYTES // bytes_per_step(spec), 2, PIECE_STEPS))
        self.length = np.zeros(streams, np.int64)  # [S] steps here
        self.before = np.zeros(streams, np.int64)  # [S] steps of the same episode that have been cut off
        self.earned = np.zeros(streams)  # [S] their rewards
        self._room = min(_ROOM, self.most)
        self._columns: dict[str, NDArray[Any]] = {
            name: np.zeros((streams, self._room, *shape), dtype) for name, (shape, dtype) in step_columns(spec).items()
        }

    def add(self, columns: Mapping[str, NDArray[Any]], streams: NDArray[np.int64]) -> None:
        """Append one step [N, ...] to the episodes of ``streams`` [N].

        A first step drops what ran before it without an end, as it is where a collector was lost.
        """
        for counted in (self.length, self.before, self.earned):
            counted[streams[columns["is_first"]]] = 0
        if self.length.max() == self._room:
            self._grow()
        for name, array in self._columns.items():
            array[streams, self.length[streams]] = columns[name]
        self.length[streams] += 1

    def cut(self, stream: int) -> dict[str, NDArray[Any]]:
        """A stream's steps that are here: their columns [L, ...], as copies. What follows begins anew."""
        columns = {name: array[stream, : self.length[stream]].copy() for name, array in self._columns.items()}
        self.earned[stream] += columns["reward"].sum(dtype=np.float64)
        self.before[stream] += self.length[stream]
        self.length[stream] = 0
        return columns

    def _grow(self) -> None:
        for name, array in self._columns.items():
            wider = np.zeros((array.shape[0], 2 * self._room, *array.shape[2:]), array.dtype)
            wider[:, : self._room] = array
            self._columns[name] = wider
        self._room *= 2
