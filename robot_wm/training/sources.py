"""What a run learns from: its own experience, and the episodes of stores that it did not make itself.

Each store has a sampler of its own, so that steps which come in while the run goes on never cut a stream that an
environment writes to. The run's own store is one of the stores: what was imported or merged into it, or was made after
the checkpoint that the run goes on from, is drawn as well.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from robot_wm.console import messages
from robot_wm.errors import UserError
from robot_wm.learning.learner import Learner
from robot_wm.replay.episode import Episode
from robot_wm.replay.mixture import Mixture, Part
from robot_wm.replay.placed import digests_of
from robot_wm.replay.reading import Damage, Index
from robot_wm.replay.rings import Array, ring_bytes_per_step
from robot_wm.replay.sampler import SequenceSampler
from robot_wm.replay.saved import SavedReplay
from robot_wm.replay.store import EpisodeStore
from robot_wm.tasks import RewardFrom
from robot_wm.training.config import TrainConfig
from robot_wm.training.replay_memory import free_bytes
from robot_wm.training.replay_source import ReplaySource
from robot_wm.training.stored_again import recompute

LOOK_EVERY_S = 5.0
_KEY, _OWED, _IMPORTED = "sources/", "owed", "imported"
# Stored values of stores' steps are computed anew at so many updates, and whenever that number has doubled.
_FIRST_REFRESH_UPDATES = 128


class StoreSource:
    """The episodes of a store that are not the run's own, in memory: the newest that fit."""

    def __init__(self, replay: SavedReplay, *, name: str, key: str, follows: bool) -> None:
        self.replay, self.name, self.key, self.follows = replay, name, key, follows
        self._damaged: set[str] = set()

    @property
    def sampler(self) -> SequenceSampler:
        """What its windows are drawn from."""
        return self.replay.sampler

    def taken(self) -> list[str]:
        """Digests of the episodes that are in memory, oldest first."""
        return [item.digest for item in self.sampler.places.placed()]

    def wanted(self, own: set[str]) -> list[str]:
        """Digests of the episodes that are to be in memory, those in ``own`` apart, oldest first."""
        index = self.replay.store.index
        others = [k for k, digest in enumerate(index.digest) if index.readable[k] and digest not in own]
        steps = index.steps[others]
        fits = np.cumsum(steps[::-1])[::-1] <= self.sampler.capacity_steps
        return [index.digest[k] for k, fit in zip(others, fits.tolist(), strict=True) if fit]

    def take(self, digests: list[str]) -> tuple[int, int]:
        """Take these episodes of the store, which damage may keep from it; returns episodes and steps taken."""
        episodes = steps = 0
        for digest, item in self.replay.store.of_digests(set(digests) - self._damaged):
            if isinstance(item, Damage):
                self._damaged.add(digest)
                messages().print(f"{self.replay.store.location}: left out: {item}", style="yellow")
                continue
            self.replay.add(digest, item)
            episodes, steps = episodes + 1, steps + item.length
        return episodes, steps


class Sources:
    """All that is drawn from, behind one `Mixture`, kept up with the stores and saved with the run."""

    def __init__(
        self,
        config: TrainConfig,
        own: SavedReplay,
        learner: Learner,
        *,
        segments: Path,
        reward_from: RewardFrom | None = None,
    ) -> None:
        """Open the stores of ``config``; ``own`` is fed by the run, and its store is told what the run has written.

        Raises UserError for a store that is not there, has no such version, is of another agent or has no window.
        """
        self.own, self.store, self.mixture = own, own.store, Mixture(own.sampler)
        self._learner, self._segments, self._config = learner, segments, config
        self._reward_from = reward_from
        self._before: set[str] = set()  # digests of the run's own episodes that an earlier process has written
        self._looked_s = -math.inf
        self._seen: dict[str, int | None] = {}  # version by source; None where it could not be read
        self._drawn: dict[str, int] = {}
        self.sources = [self._source(own.store, name=_IMPORTED, key=_IMPORTED, share=None, follows=True)]
        for told in config.sources:
            self.sources.append(self._of(told))
        self._require_memory()

    def _of(self, source: ReplaySource) -> StoreSource:
        path = source.store
        if path.same(self.store.location):
            raise UserError(f"--replay {source.path}: is this run's own store, which it learns from anyway")
        store = EpisodeStore.open(path, self.store.spec, version=source.version)
        steps, window = int(store.index.steps.sum()), self.own.sampler.length + 1
        if steps < window:
            raise UserError(f"--replay {source.path}: version {store.version} has {steps} steps, no window of {window}")
        names = {other.name for other in self.sources} | {"own"}
        name = source.name if source.name not in names else f"{source.name}_{source.key[:4]}"
        return self._source(store, name=name, key=source.key, share=source.share, follows=source.version is None)

    def _require_memory(self) -> None:
        own, each = self.own.sampler.capacity_steps, ring_bytes_per_step(self.store.spec, self._learner.agent.stored)
        steps = sum(min(own, int(source.replay.store.index.steps.sum())) for source in self.sources[1:])
        free = free_bytes()
        if steps and (own + steps) * each > free:
            raise UserError(
                f"--replay: {steps} steps and the run's own {own} take {(own + steps) * each / 2**30:.1f} GiB, but"
                f" {free / 2**30:.1f} GiB of memory are free; give a lower --replay-capacity-steps, it holds for each"
            )

    def _source(self, store: EpisodeStore, *, name: str, key: str, share: float | None, follows: bool) -> StoreSource:
        part = self.mixture.parts[name] = Part(self._sampler(key), share)
        return StoreSource(self._saved(part.sampler, store), name=name, key=key, follows=follows)

    def _sampler(self, key: str) -> SequenceSampler:
        own, number = self.own.sampler, int.from_bytes(key.encode()[:8], "little")
        return SequenceSampler(
            self.store.spec,
            capacity_steps=own.capacity_steps,
            length=own.length,
            stored=self._learner.agent.stored,
            seed=int(np.random.SeedSequence([self._config.seed, number]).generate_state(1)[0]),
            priority_exponent=self._config.settings.priority_exponent,
            priority_correction=self._config.settings.priority_correction,
        )

    def _saved(self, sampler: SequenceSampler, store: EpisodeStore) -> SavedReplay:
        return SavedReplay(self._segments, sampler, store, lambda episode: with_rewards(episode, self._reward_from))

    def look(self, *, now: bool = True) -> None:
        """Take what has come into the stores since the last look, and say so; without ``now`` every few seconds only.

        Where the newest version lacks episodes that are in memory, because an older one was checked out or others have
        taken their place, the store is read anew; the oldest that a quota has dropped stay until they are overwritten.
        """
        if not now and time.monotonic() < self._looked_s + LOOK_EVERY_S:
            return
        self._looked_s = time.monotonic()
        for source in self.sources:
            try:
                self._look_at(source)
            except UserError as error:  # somebody moves it, or its disk is away: the run does not depend on it
                if source.key not in self._seen:
                    raise
                if self._seen[source.key] is not None:
                    messages().print(f"{error}; going on with what is in memory", style="yellow")
                self._seen[source.key] = None

    def _look_at(self, source: StoreSource) -> None:
        if source.follows:
            source.replay.store.refresh()
        version = source.replay.store.version
        if self._seen.get(source.key) != version:
            self._take(source)
            self._seen[source.key] = version

    def _take(self, source: StoreSource) -> None:
        own = self._before | self.store.written if source.replay.store is self.store else set()
        wanted, taken = source.wanted(own), source.taken()
        there = set(source.replay.store.index.digest)
        first = next((k for k, digest in enumerate(taken) if digest in there), None)
        kept = taken if first is None else taken[first:]
        anew = not there.issuperset(kept)
        if anew:
            part = self.mixture.parts[source.name]
            part.sampler = self._sampler(source.key)
            source.replay = self._saved(part.sampler, source.replay.store)
            taken = []
        known = set(taken)
        episodes, steps = source.take([digest for digest in wanted if digest not in known])
        if episodes or anew:
            self._recompute(source.replay, set(source.taken()) - known)
            store, verb = source.replay.store, "now has" if anew else "took in"
            messages().print(
                f"replay: {verb} {episodes} episodes of {steps} steps from {store.location}, version {store.version}"
            )

    def refresh(self, before: int, after: int) -> None:
        """Compute what is stored beside stores' steps anew at 128, 256, 512, … updates, if one was just passed."""
        if max(before, _FIRST_REFRESH_UPDATES - 1).bit_length() < after.bit_length():
            for source in self.sources:
                self._recompute(source.replay, set(source.taken()))

    def _recompute(self, replay: SavedReplay, digests: set[str]) -> None:
        placed = replay.sampler.places.among(digests)
        recompute(self._learner, replay.sampler, placed, batch_size=self._config.settings.batch_size)

    @property
    def sampler(self) -> Mixture:
        """What is drawn from."""
        return self.mixture

    def scalars(self) -> dict[str, float]:
        """Steps of each source, and its share of the windows drawn since the last time; none of the run's own alone."""
        drawn = {name: part.drawn - self._drawn.get(name, 0) for name, part in self.mixture.parts.items()}
        self._drawn = {name: part.drawn for name, part in self.mixture.parts.items()}
        shown = {name: part for name, part in self.mixture.parts.items() if len(part.sampler)}
        if not shown.keys() - {"own"}:
            return {}
        all_drawn = max(1, sum(drawn.values()))
        values = {f"replay/{name}/steps": float(len(part.sampler)) for name, part in shown.items()}
        return values | {f"replay/{name}/share": drawn[name] / all_drawn for name in shown}

    def state_dict(self) -> dict[str, Array]:
        """What the next batch depends on; see `SavedReplay.state_dict`."""
        state = self.own.state_dict()
        filled = [source for source in self.sources if len(source.sampler)]
        if not filled:
            return state
        among, within = self.mixture.among_shares.owed, self.mixture.in_pool.owed
        state[f"{_KEY}own/{_OWED}"] = np.array([among.get("", 0.0), within.get("own", 0.0)])
        for source in filled:
            own = source.replay.state_dict()
            own[_OWED] = np.array([among.get(source.name, 0.0), within.get(source.name, 0.0)])
            own["version"] = np.array([source.replay.store.version])
            state |= {f"{_KEY}{source.key}/{name}": array for name, array in own.items()}
        return state

    def load_state_dict(self, state: Mapping[str, Array], *, version: int, origin: Path) -> None:
        """Continue exactly from a saved state, made when the own store was at ``version``; see `SavedReplay`.

        Where an older version of the own store was checked out since, the run goes on with that one's episodes. A
        source whose store has lost what was drawn from it is read anew. Both are told.
        """
        imported = f"{_KEY}{_IMPORTED}/"
        own = set(self._at(version).digest) - set(digests_of(state, imported))
        if _went_back(self._at(version), self.store.index, own):
            self.fill_anew()
            messages().print(
                f"replay: an older version of {self.store.location} was checked out: going on with what it holds,"
                f" {len(self.own.sampler)} steps"
            )
            return
        self.own.load_state_dict(
            {name: array for name, array in state.items() if not name.startswith(_KEY)}, version=version, origin=origin
        )
        self._before = own
        for source in self.sources:
            prefix = f"{_KEY}{source.key}/"
            saved = {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}
            if saved:
                self._load(source, saved, origin)
        if (owed := state.get(f"{_KEY}own/{_OWED}")) is not None:
            self._owe("", "own", owed)

    def _load(self, source: StoreSource, saved: dict[str, Array], origin: Path) -> None:
        owed, version = saved.pop(_OWED), int(saved.pop("version")[0])
        try:
            source.replay.load_state_dict(saved, version=version, origin=origin)
        except UserError as error:
            part = self.mixture.parts[source.name]
            part.sampler = self._sampler(source.key)
            source.replay = self._saved(part.sampler, source.replay.store)
            messages().print(f"{error}; reading it anew", style="yellow")
        self._owe(source.name, source.name, owed)

    def _owe(self, among: str, within: str, owed: Array) -> None:
        self.mixture.among_shares.owed[among], self.mixture.in_pool.owed[within] = owed.tolist()

    def _at(self, version: int) -> Index:
        """What the own store had at a version; or has now, where that one is gone."""
        try:
            return EpisodeStore.open(self.store.location, version=version).index
        except UserError:
            return self.store.index

    def fill_anew(self) -> None:
        """Fill the run's own sampler with the newest episodes of its store."""
        self.own.fill_anew()
        self._before = set(self.store.index.digest)
        self._recompute(self.own, self._before)

    def take(self, store: EpisodeStore) -> None:
        """Take another rank's newest episodes for the run's own, as far as they fit beside what is in memory."""
        room = self.own.sampler.capacity_steps - len(self.own.sampler)
        self._recompute(self.own, self.own.take(store, room) if room > 0 else set())


def _went_back(before: Index, now: Index, own: set[str]) -> bool:
    """Whether ``own`` episodes are gone that no quota has dropped, which drops the oldest: an older version is back."""
    oldest = int(now.number[0]) if len(now.number) else 0
    newer = {digest for number, digest in zip(before.number.tolist(), before.digest, strict=True) if number >= oldest}
    return not (newer & own) <= set(now.digest)


def with_rewards(episode: Episode, reward_from: RewardFrom | None) -> Episode:
    """The episode with the rewards that the task tells of recorded fields, where nobody has told them."""
    if reward_from is None or episode.reward_known.all():
        return episode
    reward, known = reward_from(episode.obs, episode.action)  # [L] each
    known = known & (episode.is_first | (np.arange(episode.length) > 0))  # it takes a later piece's first for a reset
    newly = known & ~episode.reward_known
    return replace(
        episode,
        reward=np.where(newly, reward, episode.reward).astype(np.float32),
        reward_known=episode.reward_known | newly,
    )
