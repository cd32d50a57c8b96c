"""Zip files from strangers, read within bounds, and zip files of ours, written byte for byte the same each time.

``zipfile`` alone follows whatever a central directory claims: this refuses, before anything is unpacked, names
that leave the folder, links, duplicates, encryption and directories large enough to stall a robot's start.
"""

from __future__ import annotations

import io
import lzma
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from robot_wm.errors import UserError

_END_RECORD = struct.Struct("<4s4H2LH")  # end of central directory, without a comment
_END_MAGIC = b"PK\x05\x06"
_ZIP64_LOCATOR_MAGIC = b"PK\x06\x07"
_ZIP64_LOCATOR_BYTES = 20
_MAX_ENTRY_BYTES = 512  # a central directory entry: 46 bytes, the name, and a little extra
# Weights hardly shrink; a file of an untrained agent may be mostly zeros, but is small.
_MAX_RATIO, _SMALL_BYTES = 20, 2**26
_LOCAL_HEADER = struct.Struct("<26x2H")  # lengths of the name and of the extra field that follow it
_LZMA_HEADER = struct.Struct("<2xHxI")  # of an entry's data: length of the properties, dictionary size, bytes
_LZMA_PROPERTIES_BYTES = 5
_MAX_DICTIONARY_BYTES = 2**24  # the decoder allocates what is claimed; 8 MiB is what Python writes
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold
_DAMAGE = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    UnicodeError,
    ValueError,
)


@contextmanager
def open_archive(file: IO[bytes], *, origin: str, max_entries: int) -> Iterator[zipfile.ZipFile]:
    """Open a zip whose entries are plain files with unique names, at most ``max_entries`` of them.

    Raises UserError naming ``origin`` for everything else, also for damage found while the caller reads.
    The names themselves are the caller's to check against those it expects; entries are never extracted by name.
    """
    try:
        size = _check_directory(file, origin=origin, max_entries=max_entries)
        with zipfile.ZipFile(file) as archive:
            _check_entries(archive, file, size=size, origin=origin)
            yield archive
    except _DAMAGE as error:
        raise UserError(f"{origin}: damaged zip file: {str(error)[:120] or type(error).__name__!r}") from None
    except OSError as error:
        raise UserError(f"{origin}: cannot read: {error.strerror or error}") from None


def write_archive(path: Path, members: Iterable[tuple[str, bytes | Path]], *, compress: bool = False) -> None:
    """Write ``members`` (name, content or the file that holds it), with no time or owner in it.

    ``compress`` takes LZMA: a recording's states are there twice, further apart than deflate looks back.
    """
    method = zipfile.ZIP_LZMA if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", allowZip64=False) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name, date_time=_EPOCH)
            info.compress_type = method
            info.create_system = 3  # Unix, wherever this runs
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            with (
                archive.open(info, "w") as target,
                content.open("rb") if isinstance(content, Path) else io.BytesIO(content) as source,
            ):
                shutil.copyfileobj(source, target, 2**20)


def _check_directory(file: IO[bytes], *, origin: str, max_entries: int) -> int:
    """Size of the file in bytes."""
    # zipfile parses the whole directory before we could count it, so its size is bounded here first.
    tail_bytes = _END_RECORD.size + _ZIP64_LOCATOR_BYTES
    size = file.seek(0, 2)
    file.seek(max(0, size - tail_bytes))
    tail = file.read(tail_bytes)
    end = tail[-_END_RECORD.size :]
    if len(end) < _END_RECORD.size or not end.startswith(_END_MAGIC):
        raise UserError(f"{origin}: not a zip file, or cut short")
    if tail[: -_END_RECORD.size].startswith(_ZIP64_LOCATOR_MAGIC):
        raise UserError(f"{origin}: a zip64 file; bundles are at most 4 GiB")
    _, _, _, _, entries, directory_bytes, _, comment_bytes = _END_RECORD.unpack(end)
    if comment_bytes or entries > max_entries or directory_bytes > max_entries * _MAX_ENTRY_BYTES:
        raise UserError(
            f"{origin}: {entries} entries in {directory_bytes} bytes of zip directory; at most {max_entries}"
        )
    file.seek(0)
    return size


def _check_entries(archive: zipfile.ZipFile, file: IO[bytes], *, size: int, origin: str) -> None:
    seen: set[str] = set()
    packed = sum(entry.compress_size for entry in archive.infolist())
    if packed > size:
        raise UserError(f"{origin}: entries of {packed} bytes in a file of {size}: they overlap, or it is cut short")
    for entry in archive.infolist():
        name = entry.filename
        parts = name.split("/")
        # orig_filename keeps what zipfile cut off behind a NUL byte.
        if entry.orig_filename != name or "\\" in name or ":" in name or {"", ".", ".."} & set(parts):
            raise UserError(f"{origin}: entry {entry.orig_filename[:80]!r} is not a plain relative file name")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise UserError(f"{origin}: entry {name[:80]!r} is a link or a special file")
        if entry.flag_bits & 0x1:
            raise UserError(f"{origin}: entry {name[:80]!r} is encrypted")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA):
            raise UserError(f"{origin}: entry {name[:80]!r} uses compression method {entry.compress_type}")
        if entry.compress_type == zipfile.ZIP_LZMA and _dictionary_bytes(file, entry) > _MAX_DICTIONARY_BYTES:
            raise UserError(
                f"{origin}: entry {name[:80]!r} asks for an LZMA dictionary of more than {_MAX_DICTIONARY_BYTES} bytes"
            )
        if entry.file_size > _MAX_RATIO * entry.compress_size + _SMALL_BYTES:
            raise UserError(
                f"{origin}: entry {name[:80]!r} unpacks {entry.compress_size} bytes to {entry.file_size}: a zip bomb"
            )
        if name in seen:
            raise UserError(f"{origin}: entry {name[:80]!r} is there twice")
        seen.add(name)


def _dictionary_bytes(file: IO[bytes], entry: zipfile.ZipInfo) -> int:
    """What the decoder of an LZMA entry would allocate (APPNOTE.TXT 5.8.8), bytes."""
    file.seek(entry.header_offset)
    name_bytes, extra_bytes = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    file.seek(name_bytes + extra_bytes, 1)
    properties_bytes, dictionary_bytes = _LZMA_HEADER.unpack(file.read(_LZMA_HEADER.size))
    if properties_bytes != _LZMA_PROPERTIES_BYTES:
        raise zipfile.BadZipFile(f"{properties_bytes} bytes of LZMA properties")
    return int(dictionary_bytes)
