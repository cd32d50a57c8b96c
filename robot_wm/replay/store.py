"""Finished episodes as a versioned asset on disk: every commit is a version that can be gone back to."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import lance
import numpy as np
import pyarrow as pa

from robot_wm.errors import UserError
from robot_wm.replay import upkeep
from robot_wm.replay.episode import Episode
from robot_wm.replay.location import Bucket, Named
from robot_wm.replay.place import RecordedIn
from robot_wm.replay.reading import Damage, DamagedError, Index, gather, read_episodes, read_index, read_places
from robot_wm.replay.rows import bytes_per_step, encode, schema, spec_of
from robot_wm.replay.table import OvertakenError, VersionedTable
from robot_wm.replay.transfer import Transfer
from robot_wm.replay.upkeep import Upkeep
from robot_wm.spec import AgentSpec, require_same

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MergeResult:
    """What a merge did."""

    version: int
    added: int  # episodes
    already_there: int  # episodes, left out
    skipped: tuple[Damage, ...]
    replaced: int = 0  # episodes that were here, and gave way


class EpisodeStore:
    """Episodes of one AgentSpec in a Lance dataset, one row an episode.

    Opened without a version it follows the newest one and can be written; opened at a version or tag it is that
    version for good. Several processes may write, and none loses what another one commits. As a context manager it
    flushes at the end.
    """

    def __init__(self, table: VersionedTable, dataset: lance.LanceDataset, *, frozen: bool, options: Upkeep) -> None:
        """Use ``create`` or ``open``; ``table`` and ``dataset`` are for this package alone."""
        self.location = table.location
        self.spec: AgentSpec = spec_of(dataset.schema, origin=str(table.location))
        self.options = options
        self.table, self.dataset, self._frozen = table, dataset, frozen
        self.written: set[str] = set()  # digests of what was appended here and committed
        self._pending: list[Episode] = []
        self._index: Index | None = None
        self._commits = 0

    @classmethod
    def create(cls, path: Named, spec: AgentSpec, *, options: Upkeep | None = None) -> EpisodeStore:
        """Start an empty store in a folder or at ``s3://bucket/prefix``.

        Raises UserError where there is one already or the folder holds something else.
        """
        table = VersionedTable(path)
        if table.location.holds_something_else():
            raise UserError(f"{path}: exists and is no replay store")
        with table.location.exclusive():
            if table.exists():
                raise UserError(f"{path}: there is a replay store already")
            dataset = table.create(schema(spec))
        return cls(table, dataset, frozen=False, options=options or Upkeep())

    @classmethod
    def open(
        cls,
        path: Named,
        expected_spec: AgentSpec | None = None,
        *,
        version: int | str | None = None,
        options: Upkeep | None = None,
    ) -> EpisodeStore:
        """Open the newest version, or ``version`` (number or tag) to read it.

        Raises UserError where there is no store or no such version, or where its spec is not ``expected_spec``
        (naming the fields that differ).
        """
        table = VersionedTable(path)
        dataset = table.latest() if version is None else table.at(version)
        store = cls(table, dataset, frozen=version is not None, options=options or Upkeep())
        if expected_spec is not None:
            require_same(expected_spec, store.spec, origin=str(path))
        return store

    @classmethod
    def open_or_create(
        cls, path: Named, spec: AgentSpec, *, origin: str | None = None, options: Upkeep | None = None
    ) -> EpisodeStore:
        """Open a store of ``spec``, which ``origin`` has, or start one where there is none.

        UserError where there is one of another spec.
        """
        table = VersionedTable(path)
        if not table.exists():
            try:
                return cls.create(path, spec, options=options)
            except UserError:
                if not table.exists():  # else another process has made it meanwhile
                    raise
        store = cls.open(path, options=options)
        if origin is None:
            require_same(spec, store.spec, origin=str(path))
        else:
            require_same(store.spec, spec, origin=origin)
        return store

    def __enter__(self) -> EpisodeStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()

    @property
    def path(self) -> Path:
        """Its folder; UserError for a store in a bucket."""
        if isinstance(self.location, Bucket):
            raise UserError(f"{self.location}: is in no folder of this machine")
        return self.location.path

    @property
    def version(self) -> int:
        """Number of the version being read: after ``append`` the one just committed."""
        return int(self.dataset.version)

    @property
    def pending(self) -> int:
        """Episodes appended but not committed: what a crash would cost."""
        return len(self._pending)

    @property
    def index(self) -> Index:
        """Number, steps, return and digest of every episode of this version."""
        if self._index is None:
            self._index = read_index(self.dataset)
        return self._index

    def refresh(self) -> int:
        """Go to the newest version, which another process may have committed; returns it."""
        if not self._frozen:
            self._use(self.table.latest())
        return self.version

    def append(self, episodes: Sequence[Episode]) -> int:
        """Add finished episodes; commits once ``options.commit_episodes`` are waiting. Returns the newest version.

        Raises UserError for an episode that the spec does not describe (none of ``episodes`` is added then), and
        where the disk is full: the previous version stays, and the episodes wait for the next ``flush``.
        """
        self._require_writable()
        for number, episode in enumerate(episodes):
            episode.require_valid(self.spec, origin=f"{self.location}: episode {number} of {len(episodes)}")
        self._pending += episodes
        return self.flush() if len(self._pending) >= self.options.commit_episodes else self.version

    def flush(self) -> int:
        """Commit what is waiting, as one version; returns the newest version."""
        if not self._pending:
            return self.version
        self.table.commit(self._commit_pending)
        self._commits += 1
        if self._commits % self.options.every_commits == 0 or upkeep.over_quota(self):
            try:
                upkeep.run(self)
            except UserError as error:  # the episodes are safe: tell, and try again after the next commit
                _log.warning("%s", error)
        return self.version

    def _commit_pending(self) -> None:
        self.refresh()
        batch = encode(self._pending, self.spec, first_number=self.next_number())
        doing = f"{self.location}: cannot commit {len(self._pending)} episodes; version {self.version} stays as it is"
        table, index, rows = pa.Table.from_batches([batch]), self.index, upkeep.rows_per_file(self)
        self._use(self.table.append(table, doing, after=self.dataset, max_rows_per_file=rows))
        self._index = index.extended(batch)
        self.written.update(batch.column("digest").to_pylist())
        self._pending = []

    def next_number(self) -> int:
        """Number that the next episode gets."""
        numbers = self.index.number
        return int(numbers[-1]) + 1 if len(numbers) else 0

    def scan(self, *, newest_steps: int | None = None) -> Iterator[tuple[int, Episode | Damage]]:
        """Every episode of this version with its number, oldest first, or what is wrong with it.

        ``newest_steps`` leaves out old episodes, keeping as many of the newest as have at most that many steps.
        """
        index = self.index
        begin = 0 if newest_steps is None else int((np.cumsum(index.steps[::-1])[::-1] > newest_steps).sum())
        return read_episodes(self.dataset, self.spec, index, list(range(begin, len(index.number))))

    def episodes(self, *, newest_steps: int | None = None, skip_damaged: bool = False) -> Iterator[Episode]:
        """Every episode of this version, oldest first (see ``scan``). Arrays are read-only.

        Raises DamagedError (a UserError naming file and episodes) at the first damaged one; with ``skip_damaged``
        it is left out with a warning in the log.
        """
        for _, item in self.scan(newest_steps=newest_steps):
            if isinstance(item, Episode):
                yield item
            elif skip_damaged:
                _log.warning("%s: left out: %s", self.location, item)
            else:
                raise DamagedError(self.location, [item])

    def episode(self, number: int) -> Episode:
        """The episode with that number; UserError where this version has none such, DamagedError for a damaged one."""
        first, count = (int(self.index.number[0]) if len(self.index.number) else 0), len(self.index.number)
        if not first <= number < first + count:
            raise UserError(
                f"{self.location}: version {self.version} has episodes {first} to {first + count - 1}, not {number}"
            )
        _, item = next(read_episodes(self.dataset, self.spec, self.index, [number - first]))
        if isinstance(item, Damage):
            raise DamagedError(self.location, [item])
        return item

    def of_digests(self, digests: Set[str]) -> Iterator[tuple[str, Episode | Damage]]:
        """The episodes with these digests, which this version has, each with its digest, or what is wrong with it."""
        index = self.index
        positions = [position for position, digest in enumerate(index.digest) if digest in digests]
        for position, (_, item) in zip(
            positions, read_episodes(self.dataset, self.spec, index, positions), strict=True
        ):
            yield index.digest[position], item

    def verify(self) -> list[Damage]:
        """Read everything in this version; returns what is damaged, by file."""
        return gather(item for _, item in self.scan() if isinstance(item, Damage))

    def summary(self) -> dict[str, Any]:
        """Episodes, steps, mean return and bytes of this version."""
        totals = self.index.totals()
        return {"version": self.version, **totals, "bytes": totals["steps"] * bytes_per_step(self.spec)}

    def log(self, *, limit: int | None = None) -> list[dict[str, Any]]:
        """The newest ``limit`` versions, newest first: number, commit time, episodes, steps, mean return, tags."""
        names: dict[int, list[str]] = {}
        for name, version in self.tags().items():
            names.setdefault(version, []).append(name)
        return [
            {"version": version, "committed_utc": time}
            | read_index(self.table.at(version)).totals()
            | {"tags": sorted(names.get(version, []))}
            for version, time in self.table.versions()[::-1][:limit]
        ]

    def tags(self) -> dict[str, int]:
        """Version number by tag."""
        return self.table.tags()

    def tag(self, name: str, version: int | str | None = None, *, move: bool = False) -> int:
        """Name a version (default: this one) and so protect it from cleanup; returns its number."""
        number = self.version if version is None else self.table.resolve(version)
        self.table.set_tag(name, number, move=move)
        return number

    def untag(self, name: str) -> None:
        """Take a tag away."""
        self.table.delete_tag(name)

    def checkout(self, version: int | str) -> int:
        """Commit an old version (number or tag) again as the newest; nothing is lost. Returns the new number."""
        self._require_writable()
        self.flush()
        with self.table.location.exclusive():
            self.table.restore(version)
            self.refresh()
        return self.version

    def merge(self, other: EpisodeStore, *, skip_damaged: bool = False, replace: bool = False) -> MergeResult:
        """Add the episodes of ``other``'s version, sources kept, those already here left out; one commit.

        An episode is here already if it is the same, or of the same ticks of the same recording (``RecordedIn``). With
        ``replace`` the latter gives way to ``other``'s: numbers stay as long as as many come as go, older versions
        keep it, and it takes the room and time of writing the whole version anew.
        Raises UserError where the specs differ, DamagedError for a damaged episode unless ``skip_damaged`` (one of
        this store's that would have to be written anew: in any case).
        """
        self._require_writable()
        require_same(self.spec, other.spec, origin=str(other.location))
        self.flush()
        transfer = self.table.commit(lambda: self._take_over(other, skip_damaged=skip_damaged, replace=replace))
        return MergeResult(
            self.version, transfer.added, transfer.already_there, tuple(gather(transfer.skipped)), len(transfer.gone)
        )

    def _take_over(self, other: EpisodeStore, *, skip_damaged: bool, replace: bool) -> Transfer:
        self.refresh()
        transfer = Transfer(self, other, skip_damaged=skip_damaged, replace=replace)
        if transfer.left:
            doing = f"{self.location}: cannot merge {other.location}; version {self.version} stays as it is"
            reader = pa.RecordBatchReader.from_batches(schema(self.spec), transfer.batches())
            write = self.table.rewrite if transfer.gone else self.table.append
            try:
                self._use(write(reader, doing, after=self.dataset, max_rows_per_file=upkeep.rows_per_file(other)))
            except OvertakenError:
                raise
            except UserError:
                if transfer.error is not None:  # came through Lance as a mere text
                    raise transfer.error from None
                raise
        return transfer

    def places(self) -> dict[int, RecordedIn]:
        """Where the episodes of this version were recorded, by position in ``index``; simulated ones are not in it."""
        return read_places(self.dataset)

    def compact(self, *, keep_versions: int | None = None) -> dict[str, Any]:
        """Join small files and remove old untagged versions (see upkeep.compact)."""
        self._require_writable()
        return upkeep.compact(self, keep_versions=keep_versions or self.options.keep_versions)

    def enforce_quota(self, *, max_bytes: int | None = None, max_steps: int | None = None) -> dict[str, Any]:
        """Drop the oldest episodes over the quota (see upkeep.enforce_quota)."""
        self._require_writable()
        return upkeep.enforce_quota(self, max_bytes=max_bytes, max_steps=max_steps)

    def _use(self, dataset: lance.LanceDataset) -> None:
        if dataset.version != self.dataset.version:
            self._index = None
        self.dataset = dataset

    def _require_writable(self) -> None:
        if self._frozen:
            raise UserError(
                f"{self.location}: opened at version {self.version}, which never changes; check it out first"
            )
