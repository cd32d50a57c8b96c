"""Recordings and archives from an enemy: refused in one line, fast and in little memory."""

from __future__ import annotations

import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile import BOMB_BYTES, cut, listed, relisted

from robot_wm.runtime.bundle_writer import write_zip
from robot_wm.runtime.manifest import MANIFEST, PARITY, POLICY_OP17


def an_array_that_claims_10_gb(folder: Path) -> Path:
    """One array's NPY header claims 10 GB; the zip around it is sound."""
    entries = {}
    with zipfile.ZipFile(folder / PARITY) as archive:
        for name in archive.namelist():
            entries[name] = archive.read(name)
    shape = f"({BOMB_BYTES // 4}, 1, 1)"
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    first = next(iter(entries))
    entries[first] = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + header + entries[first][128:]
    with zipfile.ZipFile(folder / PARITY, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return listed(folder)


def npy_header(text: str) -> Callable[[Path], Path]:
    """The first array's NPY header is ``text``, in the bytes that were the right one's."""

    def change(folder: Path) -> Path:
        content = (folder / PARITY).read_bytes()
        at = content.index(b"\x93NUMPY") + 10
        with zipfile.ZipFile(folder / PARITY) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        assert len(text) <= 118
        first = next(name for name in entries if content.index(name.encode()) < at)
        entries[first] = entries[first][:10] + text.ljust(118).encode() + entries[first][128:]
        with zipfile.ZipFile(folder / PARITY, "w") as archive:
            for name, entry in entries.items():
                archive.writestr(name, entry)
        return listed(folder)

    return change


def claims_in_the_directory(field: bytes, size: int) -> Callable[[Path], Path]:
    """A zip whose directory lies about an entry's size (``field``: which struct members, packed or unpacked)."""

    def change(folder: Path) -> Path:
        archive = write_zip(folder)
        content = bytearray(archive.read_bytes())
        at = content.rindex(b"PK\x01\x02")
        offset = {b"packed": 20, b"unpacked": 24}[field]
        content[at + offset : at + offset + 4] = struct.pack("<L", size)
        archive.write_bytes(content)
        return archive

    return change


def a_bomb_that_is_listed(folder: Path) -> Path:
    """Weights of 2 GB that are all zero, with the right size and hash in the manifest, in a zip of 2 MB."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    name, size = "policy.onnx", 2 * 10**9
    manifest["files"][name] = {"sha256": "0" * 64, "size_bytes": size}
    relisted(folder, manifest)
    archive = folder.parent / "bomb.rwm.zip"
    with zipfile.ZipFile(archive, "w", compression=zipfile.ZIP_DEFLATED) as target:
        for entry in sorted(os.listdir(folder)):
            target.write(folder / entry, entry)
        with target.open(name, "w") as stream:
            for _ in range(100):
                stream.write(bytes(size // 1000))
    raw = bytearray(archive.read_bytes())
    at = raw.rindex(b"PK\x01\x02")
    raw[at + 24 : at + 28] = struct.pack("<L", size)
    archive.write_bytes(raw)
    return archive


def entries_that_overlap(folder: Path) -> Path:
    """All entries of the directory point to the first one's data."""
    archive = write_zip(folder)
    with zipfile.ZipFile(archive) as source:
        largest = max(entry.compress_size for entry in source.infolist())
    content = bytearray(archive.read_bytes())
    at = -1
    while (at := content.find(b"PK\x01\x02", at + 1)) >= 0:
        content[at + 20 : at + 28] = struct.pack("<LL", largest, largest)
    archive.write_bytes(content)
    return archive


def lzma_header(offset: int, content: bytes) -> Callable[[Path], Path]:
    """A compressed zip whose first entry's data has other bytes at ``offset`` of its LZMA header."""

    def change(folder: Path) -> Path:
        archive = write_zip(folder, compress=True)
        with zipfile.ZipFile(archive) as source:
            first = source.infolist()[0]
            assert first.compress_type == zipfile.ZIP_LZMA
        raw = bytearray(archive.read_bytes())
        at = first.header_offset + 30 + len(first.filename) + offset
        raw[at : at + len(content)] = content
        archive.write_bytes(raw)
        return archive

    return change


def a_sparse_file_of_10_gb(folder: Path) -> Path:
    with (folder / POLICY_OP17).open("r+b") as file:
        file.truncate(BOMB_BYTES)
    return folder


HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    # name: (what is done to a copy of a sound bundle, what the refusal must name)
    "recording cut": (cut(PARITY, 0.7), "cut short"),
    "array of 10 GB": (an_array_that_claims_10_gb, "(2500000000, 1, 1), expected"),
    "array header that calls": (npy_header("__import__('os').abort()"), "damaged header"),
    "array header without end": (npy_header("{'descr': ["), "damaged header"),
    "array header, nested": (npy_header("(" * 118), "damaged header"),
    "array of objects": (npy_header("{'descr': '|O', 'fortran_order': False, 'shape': (256, 1, 6), }"), "is object"),
    "array of negative length": (
        npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (256, -1, -6), }"),
        "(256, -1, -6), expected",
    ),
    "zip entry that claims 4 GB": (claims_in_the_directory(b"unpacked", 2**32 - 2), "a zip bomb"),
    "zip entry that takes 4 GB": (claims_in_the_directory(b"packed", 2**32 - 2), "overlap"),
    "zip bomb": (a_bomb_that_is_listed, "a zip bomb"),
    "zip entry with 3 GB of dictionary": (
        lzma_header(5, struct.pack("<L", 3 * 10**9)),
        "asks for an LZMA dictionary",
    ),
    "zip entry with long LZMA properties": (lzma_header(2, struct.pack("<H", 60000)), "60000 bytes of LZMA properties"),
    "zip entry with damaged LZMA properties": (lzma_header(4, b"\xff"), "damaged zip file"),
    "zip entry with damaged LZMA data": (lzma_header(9, bytes(64)), "damaged zip file"),
    "zip entries that overlap": (entries_that_overlap, "overlap"),
    "sparse file of 10 GB": (a_sparse_file_of_10_gb, "has more bytes, listed"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_it_is_refused_fast_and_in_little_memory(case, require_refusal):
    require_refusal(*HOSTILE[case])
