"""A versioned Lance table in a folder: locking, errors in words, versions and tags. It knows nothing of episodes.

Writers take turns by a lock on a file in the folder, which the kernel lets go when a process dies. Lance makes a
version visible by one rename, so a reader needs no lock, and what a killed writer leaves behind are files that
nothing refers to; the next cleanup removes them.
"""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa

from robot_wm.errors import UserError

_LOCK_NAME = ".lock"
_TAG = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")  # starts with a letter, so that it is never taken for a number


@contextmanager
def lance_errors(doing: str) -> Iterator[None]:
    """Turn what Lance raises into a UserError that says what was being done."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, pa.ArrowException) as error:
        raise UserError(f"{doing}: {_in_words(error)}") from error
    except BaseException as error:
        if not is_panic(error):
            raise
        raise UserError(f"{doing}: {_in_words(error)}") from error


def is_panic(error: BaseException) -> bool:
    """Whether Lance's native code gave up on damaged bytes; its exception class cannot be imported."""
    return type(error).__name__ == "PanicException"


def _in_words(error: BaseException) -> str:
    """Lance's message in one line, without the source positions that it appends."""
    return re.sub(r",? ?/\S+\.rs:\d+(:\d+)?", "", " ".join(str(error).split()))[:300]


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
    """One Lance dataset at ``path``."""

    def __init__(self, path: Path) -> None:
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise UserError(f"{path}: its name is not UTF-8; the replay store takes no other") from None
        self.path = path

    def exists(self) -> bool:
        """Whether any version has been committed here."""
        return any((self.path / "_versions").glob("*.manifest"))

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Be the only writer, among all processes; waits for the others."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = (self.path / _LOCK_NAME).open("w")
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written: {error.strerror}") from None
        with handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def create(self, schema: pa.Schema) -> lance.LanceDataset:
        """Commit an empty first version."""
        with lance_errors(f"{self.path}: cannot create the replay store"):
            return lance.write_dataset(schema.empty_table(), str(self.path), mode="create")

    def latest(self) -> lance.LanceDataset:
        """The newest version."""
        if not self.exists():
            raise UserError(f"{self.path}: no replay store here")
        with lance_errors(f"{self.path}: cannot open the newest version (others open by their number)"):
            return _checked(lance.dataset(str(self.path)))

    def at(self, version: int | str) -> lance.LanceDataset:
        """A version by number or tag."""
        if not self.exists():
            raise UserError(f"{self.path}: no replay store here")
        try:
            number = int(version)
        except ValueError:
            number = self.resolve(version)
        try:
            return _checked(lance.dataset(str(self.path), version=number))
        except BaseException as error:
            if not isinstance(error, Exception) and not is_panic(error):
                raise
            self.resolve(number)  # says so if there is none
            raise UserError(f"{self.path}: cannot open version {number}: {_in_words(error)}") from error

    def resolve(self, version: int | str) -> int:
        """Number of a version given by number, by digits or by tag; UserError where it is not there (any more)."""
        if isinstance(version, str) and not version.isdecimal():
            tags = self.tags()
            if version not in tags:
                raise UserError(f"{self.path}: no tag {version!r}; there are: {', '.join(sorted(tags)) or 'none'}")
            return tags[version]
        kept = [number for number, _ in self.versions()]
        if int(version) not in kept:
            raise UserError(
                f"{self.path}: no version {version} (kept: {spans(kept)}); old versions are removed unless tagged"
            )
        return int(version)

    def versions(self) -> list[tuple[int, str]]:
        """Every version kept and when it was committed (ISO 8601, UTC), oldest first."""
        dataset = self.latest()
        with lance_errors(f"{self.path}: cannot list the versions"):
            return [(int(str(entry["version"])), _utc(entry["timestamp"])) for entry in dataset.versions()]

    def tags(self) -> dict[str, int]:
        """Version number by tag."""
        dataset = self.latest()
        with lance_errors(f"{self.path}: cannot list the tags"):
            return {name: int(entry["version"]) for name, entry in dataset.tags.list().items()}

    def set_tag(self, name: str, version: int, *, move: bool) -> None:
        """Name a version; ``move`` lets an existing tag go to another one."""
        if not _TAG.fullmatch(name):
            raise UserError(f"tag {name!r}: a letter, then letters, digits, '.', '_' or '-'")
        known = self.tags()
        if name in known and not move:
            raise UserError(f"{self.path}: tag {name!r} is version {known[name]} already; --move lets it go elsewhere")
        tags = self.latest().tags
        with lance_errors(f"{self.path}: cannot tag version {version}"):
            (tags.update if name in known else tags.create)(name, version)

    def delete_tag(self, name: str) -> None:
        """Take a name away, and with it the protection from cleanup."""
        self.resolve(name)
        with lance_errors(f"{self.path}: cannot remove tag {name!r}"):
            self.latest().tags.delete(name)

    def restore(self, version: int | str) -> None:
        """Commit an old version again as the newest."""
        dataset: Any = self.at(version)
        with lance_errors(f"{self.path}: cannot check out version {version}"):
            dataset.restore()

    def append(self, data: pa.Table | pa.RecordBatchReader, doing: str, *, max_rows_per_file: int) -> Any:
        """Commit rows as a new version; while it fails the old one stays the newest."""
        with lance_errors(doing):
            return lance.write_dataset(data, str(self.path), mode="append", max_rows_per_file=max_rows_per_file)

    def rewrite(self, data: pa.RecordBatchReader, doing: str, *, max_rows_per_file: int) -> Any:
        """Commit rows as a new version that has no others; older versions keep theirs."""
        with lance_errors(doing):
            return lance.write_dataset(data, str(self.path), mode="overwrite", max_rows_per_file=max_rows_per_file)

    def disk_bytes(self) -> int:
        """Bytes of all files, of every version."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())
