"""A versioned Lance table: who may commit, errors in words, versions and tags. It knows nothing of episodes.

In a folder writers take turns by a lock. In a bucket all write at once: each says which version it has read, and its
commit is refused where another one came first (`OvertakenError`); it then reads the new version and tries again. Lance
alone would accept two appends that know nothing of each other, and both would give their episodes the same numbers.

Lance makes a version visible by one rename, or one conditional put, so a reader needs no lock, and what a killed writer
leaves behind are files that nothing refers to; the next cleanup removes them.
"""

from __future__ import annotations

import random
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any, TypeVar

import lance
import pyarrow as pa
from lance.commit import CommitConflictError
from lance.fragment import write_fragments

from robot_wm.errors import UserError
from robot_wm.replay.location import Named, in_words, located

_Done = TypeVar("_Done")
_PATIENCE_S = 120.0  # for a commit that others overtake again and again
_PAUSE_S = 0.05  # before it is tried again; up to twenty times that
_TAG = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")  # starts with a letter, so that it is never taken for a number


class OvertakenError(UserError):
    """Another writer has committed the version after the one that was read."""


@contextmanager
def lance_errors(doing: str) -> Iterator[None]:
    """Turn what Lance raises into a UserError that says what was being done."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, pa.ArrowException) as error:
        raise UserError(f"{doing}: {in_words(str(error))}") from error
    except BaseException as error:
        if not is_panic(error):
            raise
        raise UserError(f"{doing}: {in_words(str(error))}") from error


def is_panic(error: BaseException) -> bool:
    """Whether Lance's native code gave up on damaged bytes; its exception class cannot be imported."""
    return type(error).__name__ == "PanicException"


def _checked(dataset: lance.LanceDataset) -> lance.LanceDataset:
    """The dataset, once its schema has been read: a damaged one shows only then."""
    _ = dataset.schema
    return dataset


def _utc(committed: object) -> str:
    """ISO 8601 in UTC of a commit time, which Lance gives in this machine's time zone without naming it."""
    assert isinstance(committed, datetime)
    return committed.astimezone(timezone.utc).isoformat(timespec="milliseconds")


def spans(numbers: Iterable[int]) -> str:
    """Numbers in words: ``3-5, 9``."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


class VersionedTable:
    """One Lance dataset, in a folder or a bucket."""

    def __init__(self, named: Named) -> None:
        self.location = located(named)
        self._reached = False  # a bucket that has answered need not be asked again whether there is a store

    def exists(self) -> bool:
        """Whether any version has been committed here."""
        return self.location.exists()

    def commit(self, work: Callable[[], _Done]) -> _Done:
        """Do ``work``, which reads the newest version and commits the next one: alone, or again until it is the first.

        Raises UserError where others are quicker for `_PATIENCE_S`.
        """
        deadline = time.monotonic() + _PATIENCE_S
        pause = _PAUSE_S
        while True:
            try:
                with self.location.exclusive():
                    return work()
            except OvertakenError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(random.uniform(0, pause))  # those that met once meet again if they wait equally long
            pause = min(2 * pause, 20 * _PAUSE_S)

    def create(self, schema: pa.Schema) -> lance.LanceDataset:
        """Commit an empty first version; UserError where there is one."""
        with lance_errors(f"{self.location}: cannot create the replay store"):
            return lance.write_dataset(
                schema.empty_table(), self.location.uri, mode="create", storage_options=self.location.options
            )

    def _require_there(self) -> None:
        if not self._reached:
            if not self.exists():
                raise UserError(f"{self.location}: no replay store here")
            self._reached = not self.location.locks

    def _open(self, version: int | None = None) -> lance.LanceDataset:
        return _checked(lance.dataset(self.location.uri, version=version, storage_options=self.location.options))

    def latest(self) -> lance.LanceDataset:
        """The newest version."""
        self._require_there()
        with lance_errors(f"{self.location}: cannot open the newest version (others open by their number)"):
            return self._open()

    def at(self, version: int | str) -> lance.LanceDataset:
        """A version by number or tag."""
        self._require_there()
        try:
            number = int(version)
        except ValueError:
            number = self.resolve(version)
        try:
            return self._open(number)
        except BaseException as error:
            if not isinstance(error, Exception) and not is_panic(error):
                raise
            self.resolve(number)  # says so if there is none
            raise UserError(f"{self.location}: cannot open version {number}: {in_words(str(error))}") from error

    def resolve(self, version: int | str) -> int:
        """Number of a version given by number, by digits or by tag; UserError where it is not there (any more)."""
        if isinstance(version, str) and not version.isdecimal():
            tags = self.tags()
            if version not in tags:
                raise UserError(f"{self.location}: no tag {version!r}; there are: {', '.join(sorted(tags)) or 'none'}")
            return tags[version]
        kept = [number for number, _ in self.versions()]
        if int(version) not in kept:
            raise UserError(
                f"{self.location}: no version {version} (kept: {spans(kept)}); old versions are removed unless tagged"
            )
        return int(version)

    def versions(self) -> list[tuple[int, str]]:
        """Every version kept and when it was committed (ISO 8601, UTC), oldest first."""
        dataset = self.latest()
        with lance_errors(f"{self.location}: cannot list the versions"):
            return [(int(str(entry["version"])), _utc(entry["timestamp"])) for entry in dataset.versions()]

    def tags(self) -> dict[str, int]:
        """Version number by tag."""
        dataset = self.latest()
        with lance_errors(f"{self.location}: cannot list the tags"):
            return {name: int(entry["version"]) for name, entry in dataset.tags.list().items()}

    def set_tag(self, name: str, version: int, *, move: bool) -> None:
        """Name a version; ``move`` lets an existing tag go to another one."""
        if not _TAG.fullmatch(name):
            raise UserError(f"tag {name!r}: a letter, then letters, digits, '.', '_' or '-'")
        known = self.tags()
        if name in known and not move:
            raise UserError(
                f"{self.location}: tag {name!r} is version {known[name]} already; --move lets it go elsewhere"
            )
        tags = self.latest().tags
        with lance_errors(f"{self.location}: cannot tag version {version}"):
            (tags.update if name in known else tags.create)(name, version)

    def delete_tag(self, name: str) -> None:
        """Take a name away, and with it the protection from cleanup."""
        self.resolve(name)
        with lance_errors(f"{self.location}: cannot remove tag {name!r}"):
            self.latest().tags.delete(name)

    def restore(self, version: int | str) -> None:
        """Commit an old version again as the newest."""
        dataset: Any = self.at(version)
        with lance_errors(f"{self.location}: cannot check out version {version}"):
            dataset.restore()

    def append(
        self, data: pa.Table | pa.RecordBatchReader, doing: str, *, after: lance.LanceDataset, max_rows_per_file: int
    ) -> Any:
        """Commit rows as the version after ``after``; while it fails the old one stays the newest.

        For `commit`: UserError for what cannot be written, OvertakenError where there is a next version already.
        """
        return self._write(data, doing, after, max_rows_per_file, mode="append")

    def rewrite(
        self, data: pa.RecordBatchReader, doing: str, *, after: lance.LanceDataset, max_rows_per_file: int
    ) -> Any:
        """The same, of a version that has no other rows; older versions keep theirs."""
        return self._write(data, doing, after, max_rows_per_file, mode="overwrite")

    def _write(self, data: Any, doing: str, after: Any, max_rows_per_file: int, *, mode: str) -> Any:
        uri, options = self.location.uri, self.location.options
        with lance_errors(doing):
            if self.location.locks:
                return lance.write_dataset(data, uri, mode=mode, max_rows_per_file=max_rows_per_file)
            new = write_fragments(
                data, uri, after.schema, mode=mode, max_rows_per_file=max_rows_per_file, storage_options=options
            )
            return self._commit_next(after, new, mode)

    def _commit_next(self, after: Any, new: list[Any], mode: str) -> Any:
        """Commit the version after ``after`` and no other.

        Of Lance's operations an append goes well with other appends. A merge of fragments is refused after whatever
        else was committed, and so is an overwrite that may not be tried again.
        """
        if mode == "append":
            old = [fragment.metadata for fragment in after.get_fragments()]
            first = max((fragment.id for fragment in old), default=-1) + 1
            numbered = [replace(fragment, id=first + k) for k, fragment in enumerate(new)]
            operation: Any = lance.LanceOperation.Merge([*old, *numbered], after.lance_schema)
        else:
            operation = lance.LanceOperation.Overwrite(after.schema, new)
        ours = str(uuid.uuid4())
        transaction = lance.Transaction(after.version, operation, uuid=ours)
        try:
            return lance.LanceDataset.commit(
                self.location.uri, transaction, storage_options=self.location.options, max_retries=0
            )
        except CommitConflictError:
            # A put whose answer was lost is sent again, and then refused because of itself.
            done = self._open(after.version + 1)
            theirs = done.read_transaction(done.version)
            if theirs is not None and theirs.uuid == ours:
                return done
            raise OvertakenError(f"{self.location}: other writers were quicker for {_PATIENCE_S:g} s") from None

    def bytes(self) -> int:
        """Bytes of all files, of every version."""
        return self.location.bytes()
