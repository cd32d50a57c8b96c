"""A sampler on disk, as little of it as there is no other place for.

Raw steps that its store holds are read from there again, by the code that wrote them at first, so they come back bit
for bit. What is left, the steps of episodes that run still or that the store has dropped, and what the agent keeps
beside every step, is in `segments`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path

from robot_wm.errors import UserError
from robot_wm.replay.episode import Episode
from robot_wm.replay.placed import Placed, rows_of
from robot_wm.replay.reading import Damage, gather
from robot_wm.replay.rings import NOT_NEEDED, STEPS, UNSAVED, Array
from robot_wm.replay.rows import digest
from robot_wm.replay.sampler import SequenceSampler
from robot_wm.replay.segments import Segments
from robot_wm.replay.store import EpisodeStore

_CURE = "put back what was there, or remove that file to go on with the episodes that are left"


class SavedReplay:
    """Saves ``sampler``, which is fed from the same episodes as ``store``, and fills it anew."""

    def __init__(
        self,
        folder: Path,
        sampler: SequenceSampler,
        store: EpisodeStore,
        as_drawn: Callable[[Episode], Episode] = lambda episode: episode,
    ) -> None:
        """``folder`` is where segments are; whoever saves the states takes those away that none of them names.

        ``as_drawn`` makes of a stored episode the one that is in the sampler, of the same length.
        """
        self._as_drawn = as_drawn
        self.sampler, self.store = sampler, store
        groups = sampler.rings.groups
        self._segments = [Segments(folder, sampler.rings, group) for group, columns in groups.items() if columns]

    def state_dict(self) -> dict[str, Array]:
        """Write what has changed since the last time; returns the small rest, which names what is on disk.

        The store has been flushed, and nobody feeds or trains on the sampler meanwhile.
        """
        stored = frozenset(self.store.index.digest)
        self._mark(self.sampler.places.among(stored))
        state = self.sampler.state_dict(rows=False) | self.sampler.places.state_dict(stored)
        for segments in self._segments:
            state |= segments.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Array], *, version: int, origin: Path) -> None:
        """Continue exactly from a saved state, whose segments are whole.

        Where the newest version of the store has dropped episodes, they are read from ``version``, the one it was at.
        Raises UserError, which names the state's file ``origin``, where neither has all, or where one is damaged; and
        for another layout or AgentSpec.
        """
        if "rings/rows/age" in state:  # an older version's checkpoint: everything is in it
            self.sampler.load_state_dict(state)
            return
        own = {name: array for name, array in state.items() if not name.startswith(("placed/", "segments/"))}
        rings = self.sampler.rings
        self.sampler.load_state_dict(own)
        placed = self.sampler.places.load_state_dict(state)
        self._refill(placed, _holder(self.store, {item.digest for item in placed}, version, origin), origin)
        for segments in self._segments:
            segments.load_state_dict(state)
        rings.end_before_firsts()
        self._mark(placed)
        lacking = int((rings.held_in[STEPS][rings.live()] == UNSAVED).sum())
        if lacking:
            raise UserError(f"{origin}: {lacking} steps are neither in a segment nor in a stored episode")

    def fill_anew(self) -> None:
        """Take the newest steps of the store, to be drawn without what the agent had stored beside them."""
        self.take(self.store, self.sampler.capacity_steps)

    def take(self, store: EpisodeStore, steps: int) -> set[str]:
        """Likewise of any store of the spec, up to so many ``steps``; returns the digests of what was taken."""
        taken = set()
        for episode in store.episodes(newest_steps=steps, skip_damaged=True):
            name = digest(episode)
            self.add(name, episode)
            taken.add(name)
        return taken

    def add(self, name: str, episode: Episode) -> None:
        """Take a stored episode with that digest, to be drawn without what the agent had stored beside it."""
        stream = self.sampler.add_episode(self._as_drawn(episode), fresh=False)
        self.sampler.places.add(name, stream=stream, steps=episode.length)

    def _mark(self, placed: Sequence[Placed]) -> None:
        """Say of each row whether the store has its step."""
        steps, inside = self.sampler.rings.held_in[STEPS], rows_of(placed, self.sampler.rings)
        steps[~inside & (steps == NOT_NEEDED)] = UNSAVED
        steps[inside] = NOT_NEEDED

    def _refill(self, placed: Sequence[Placed], store: EpisodeStore, origin: Path) -> None:
        by_digest: dict[str, list[Placed]] = {}
        for item in placed:
            by_digest.setdefault(item.digest, []).append(item)
        damage: list[Damage] = []
        for name, episode in store.of_digests(by_digest.keys()):
            if not isinstance(episode, Episode):
                damage.append(episode)
                continue
            for item in by_digest[name]:
                self.sampler.rings.refill(item.stream, item.begin, self._as_drawn(episode).columns(), age=item.age)
        if damage:
            raise UserError(
                f"{store.location}: damaged, and {origin} was made with it:"
                f" {'; '.join(map(str, gather(damage)))}; {_CURE}"
            )


def _holder(store: EpisodeStore, digests: Set[str], version: int, origin: Path) -> EpisodeStore:
    """The store at a version that has all these episodes."""
    lacking = digests - set(store.index.digest)
    if not lacking:
        return store
    try:
        older = EpisodeStore.open(store.location, store.spec, version=version)
        if digests <= set(older.index.digest):
            return older
    except UserError:  # removed since, and what follows says what that means
        pass
    raise UserError(
        f"{store.location}: lacks {len(lacking)} of the {len(digests)} episodes that {origin} was made with, and has no"
        f" version {version} that holds them; {_CURE}"
    )
