"""Episodes on their way from one store to another, in batches, so that memory holds a few only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from robot_wm.errors import UserError
from robot_wm.replay.episode import Episode
from robot_wm.replay.place import matching
from robot_wm.replay.reading import Damage, DamagedError, read_episodes
from robot_wm.replay.rows import encode

if TYPE_CHECKING:
    from robot_wm.replay.store import EpisodeStore


class Transfer:
    """What ``other`` has that ``target`` lacks, and what of ``target`` gives way to it; see ``EpisodeStore.merge``."""

    def __init__(self, target: EpisodeStore, other: EpisodeStore, *, skip_damaged: bool, replace: bool) -> None:
        self._target, self._other, self._skip = target, other, skip_damaged
        index, own = other.index, target.index
        known = set(own.digest)
        left = [k for k in range(len(index.number)) if not (index.readable[k] and index.digest[k] in known)]
        self.gone: set[int] = set()  # positions in the target
        places = other.places()
        if places and (own_places := target.places()):
            if replace:
                again = set(index.digest)
                new = {k: places[k] for k in left if k in places}
                self.gone = {k for k in matching(own_places, new) if own.digest[k] not in again}
            else:
                there = matching(places, own_places)
                left = [k for k in left if k not in there]
        self.left = left
        self.already_there = len(index.number) - len(left)
        self.added = 0
        self.skipped: list[Damage] = []
        self.error: UserError | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """What is to be appended; where some give way, every row anew, the new ones in the place of the first gone."""
        if not self.gone:
            yield from self._numbered(self._new(), self._target.next_number())
            return
        count, first_gone = len(self._target.index.number), min(self.gone)

        def everything() -> Iterator[Episode]:
            yield from self._kept(range(first_gone))
            yield from self._new()
            yield from self._kept(range(first_gone, count))

        yield from self._numbered(everything(), int(self._target.index.number[0]))

    def _numbered(self, episodes: Iterator[Episode], first: int) -> Iterator[pa.RecordBatch]:
        for number, episode in enumerate(episodes, first):
            yield encode([episode], self._target.spec, first_number=number)

    def _new(self) -> Iterator[Episode]:
        for _, item in read_episodes(self._other.dataset, self._other.spec, self._other.index, self.left):
            if isinstance(item, Episode):
                self.added += 1
                yield item
            elif self._skip:
                self.skipped.append(item)
            else:
                raise self._fail(self._other, item)

    def _kept(self, positions: range) -> Iterator[Episode]:
        target, kept = self._target, [position for position in positions if position not in self.gone]
        for _, item in read_episodes(target.dataset, target.spec, target.index, kept):
            if isinstance(item, Damage):
                raise self._fail(target, item)
            yield item

    def _fail(self, store: EpisodeStore, damage: Damage) -> UserError:
        self.error = DamagedError(store.location, [damage])
        return self.error
