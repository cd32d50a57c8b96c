"""Where a replay store is: a folder, or a prefix in an S3 bucket. All that differs between the two is here.

A folder has one writer at a time, by a lock that the kernel lets go when a process dies. A bucket has no lock: its
writers commit at once, each version by a conditional put (``If-None-Match``) that one of them wins, see `table`.

Credentials, region and endpoint of a bucket are those of the usual AWS_* variables and files, and are kept nowhere.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from robot_wm.errors import UserError

_LOCK_NAME = ".lock"
_REMAINS = {_LOCK_NAME, "_transactions", "_versions", "data"}  # what a killed writer may leave of a store to be made
_SCHEME = "s3://"
_S3 = re.compile(r"s3:/{1,2}(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(?P<prefix>[^/].*)")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
# Lance tries every request some six times over, on top of these retries: what does not answer is given up within a
# minute when it is asked for the first time, and a write of some megabytes on a slow line has longer.
_FIRST = {"connect_timeout": "3s", "timeout": "5s", "client_max_retries": "1", "client_retry_timeout": "10"}
_LATER = {"connect_timeout": "5s", "timeout": "60s", "client_max_retries": "3", "client_retry_timeout": "60"}
# What the object store's messages say, which go on for lines, and what a user is told.
_WORDS = (
    ("NoSuchBucket", "there is no such bucket"),
    ("Failed to get AWS credentials", "no credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE)"),
    ("InvalidAccessKeyId", "the access key is unknown there (AWS_ACCESS_KEY_ID)"),
    ("SignatureDoesNotMatch", "the secret key is another one (AWS_SECRET_ACCESS_KEY)"),
    ("AccessDenied", "access is denied"),
    ("403 Forbidden", "access is denied"),
    ("error sending request", "{endpoint} does not answer (AWS_ENDPOINT_URL)"),
)


@dataclass(frozen=True)
class Folder:
    """A store in a folder of this machine."""

    path: Path

    locks = True  # whether `exclusive` keeps others out

    def __str__(self) -> str:
        return str(self.path)

    @property
    def uri(self) -> str:
        """What Lance takes."""
        return str(self.path)

    @property
    def options(self) -> dict[str, str] | None:
        """How Lance reaches it."""
        return None

    def exists(self) -> bool:
        """Whether any version has been committed here."""
        return any((self.path / "_versions").glob("*.manifest"))

    def holds_something_else(self) -> bool:
        """Whether there is anything but a store, or what a killed ``create`` leaves behind."""
        if self.exists() or not self.path.exists():
            return False
        return not self.path.is_dir() or any(item.name not in _REMAINS for item in self.path.iterdir())

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

    def bytes(self) -> int:
        """Of all files, of every version."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    @contextmanager
    def room_beside(self) -> Iterator[Path]:
        """A temporary folder for as much as is to go into the store, where there should be room for it."""
        try:
            room = tempfile.TemporaryDirectory(prefix=f".{self.path.name}.", suffix=".tmp", dir=self.path.parent)
        except OSError as error:
            raise UserError(f"{self.path.parent}: cannot be written: {error.strerror}") from None
        with room as name:
            yield Path(name)

    def same(self, other: Location) -> bool:
        """Whether both are one store."""
        return isinstance(other, Folder) and self.path.resolve() == other.path.resolve()

    def absolute(self) -> Folder:
        """The same for a process that is in another folder."""
        return Folder(self.path.resolve())

    @property
    def name(self) -> str:
        """Short, for a log: the folder's, or of a run's own store the run's."""
        path = self.path.resolve()
        return path.parent.name if path.name == "replay" else path.name


@dataclass(frozen=True)
class Bucket:
    """A store below a prefix of an S3 bucket."""

    bucket: str
    prefix: str

    locks = False

    def __str__(self) -> str:
        return self.uri

    @property
    def uri(self) -> str:
        """What Lance takes."""
        return f"{_SCHEME}{self.bucket}/{self.prefix}"

    @property
    def options(self) -> dict[str, str]:
        """How Lance reaches it; it takes credentials from the environment itself."""
        return {**_reached(), **_LATER}

    def exists(self) -> bool:
        """Whether any version has been committed here; UserError where the bucket cannot be asked."""
        import lance  # slow to import, and settings that name a store are read without it

        try:
            lance.dataset(self.uri, storage_options={**_reached(), **_FIRST})
        except (OSError, ValueError, RuntimeError) as error:
            text = str(error)
            if "was not found" in text and "NoSuchBucket" not in text:
                return False
            raise UserError(f"{self}: {in_words(text)}") from error
        return True

    def holds_something_else(self) -> bool:
        """Never: below a prefix other objects are in nobody's way."""
        return False

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Nobody is kept out: commits that others have overtaken are refused instead."""
        yield

    def bytes(self) -> int:
        """Of all objects, of every version."""
        from pyarrow import fs

        url = _endpoint()
        scheme, _, host = url.partition("://") if url else ("https", "", "")
        store = fs.S3FileSystem(
            endpoint_override=host or None,
            scheme=scheme,
            region=_region(),
            connect_timeout=5,
            request_timeout=60,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=3),
        )
        try:
            found = store.get_file_info(fs.FileSelector(f"{self.bucket}/{self.prefix}", recursive=True))
        except OSError as error:
            raise UserError(f"{self}: cannot be listed: {in_words(str(error))}") from error
        return sum(info.size for info in found if info.is_file)

    @contextmanager
    def room_beside(self) -> Iterator[Path]:
        """A temporary folder of this machine."""
        with tempfile.TemporaryDirectory(prefix="robot-wm.") as name:
            yield Path(name)

    def same(self, other: Location) -> bool:
        """Whether both are one store."""
        return self == other

    def absolute(self) -> Bucket:
        """The same: a bucket is named alike everywhere."""
        return self

    @property
    def name(self) -> str:
        """Short, for a log."""
        *before, last = (self.bucket, *self.prefix.split("/"))
        return before[-1] if last == "replay" else last


Location: TypeAlias = Folder | Bucket
Named: TypeAlias = str | Path | Folder | Bucket


def located(named: Named) -> Location:
    """Where the store is that was named by a folder or by ``s3://bucket/prefix``; UserError for what is neither."""
    if isinstance(named, Folder | Bucket):
        return named
    text = str(named)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(f"{text}: its name is not UTF-8; the replay store takes no other") from None
    if text.startswith("s3:/"):  # a Path has one of two slashes left
        found = _S3.fullmatch(text.rstrip("/"))
        if found is None:
            raise UserError(f"{text}: not s3://bucket/prefix")
        return Bucket(found["bucket"], found["prefix"])
    if "://" in text:
        raise UserError(f"{text}: a replay store is in a folder or at s3://bucket/prefix")
    return Folder(Path(named))


def in_words(text: str) -> str:
    """Lance's message in one line, without the source positions that it appends."""
    for found, words in _WORDS:
        if found in text:
            return words.format(endpoint=_endpoint() or "S3")
    return re.sub(r",? ?/\S+\.rs:\d+(:\d+)?", "", " ".join(text.split()))[:300]


def _endpoint() -> str | None:
    return next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), None)


def _region() -> str | None:
    return next((os.environ[name] for name in _REGIONS if os.environ.get(name)), None)


def _reached() -> dict[str, str]:
    """Beside what Lance reads itself: an endpoint without TLS is meant so, and one of nobody's region has any."""
    url = _endpoint()
    if url is None:
        return {}
    told = {"aws_endpoint": url} | ({} if _region() else {"region": "us-east-1"})
    return told | ({"allow_http": "true"} if url.startswith("http://") else {})
