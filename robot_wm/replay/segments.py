"""Rows of a sampler's rings on disk, in files that never change: a later state adds the rows that have changed.

Each row's newest values are in one segment; what an older one says of the row no longer counts. A segment that the
rows have left is no longer named, and where more than half of what is named no longer counts, the rows that are left in
the poorest segments are written anew, as a log-structured store cleans itself (Rosenblum and Ousterhout, 1992). A file
is named by its SHA-256, so that a state which names it tells, too, what is in it. Shape letters: R rows, K segments.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy

from robot_wm.atomic import atomic_file
from robot_wm.errors import UserError
from robot_wm.replay.rings import NOT_NEEDED, UNSAVED, Array, Ints, StreamRings

FOLDER = "segments"
_KEY = "segments/"
_NAME = "name"  # of the arrays in a file: the steps' names, [R] position * streams + stream
_FILE_BYTES = 64 * 2**20  # what is copied at a time
_FEW = 256  # a segment with less than this part of all rows is written anew with the next: no more than that many files
_MOST = 2.0  # rows in all that are named over rows that count


def file_name(digest: str) -> str:
    """Name of the file whose SHA-256 (hex) that is."""
    return f"{digest}.safetensors"


def is_key(key: str) -> bool:
    """Whether an array of a saved state names segments; the states of other samplers have names before theirs."""
    return key.startswith(_KEY) or f"/{_KEY}" in key


def named(state: Mapping[str, Array]) -> list[str]:
    """SHA-256 (hex) of each segment that a saved state needs."""
    return [digest.tobytes().hex() for key, array in state.items() if is_key(key) for digest in array]


@dataclass(frozen=True)
class _Segment:
    digest: str
    rows: int


class Segments:
    """The segments of one group of a rings' columns (see `StreamRings.groups`)."""

    def __init__(self, folder: Path, rings: StreamRings, group: str) -> None:
        self._folder, self._rings, self._key = folder, rings, _KEY + group
        self._columns = rings.groups[group]
        self._held_in = rings.held_in[group]  # [rows] the rings' own array: a number here, or why there is none
        self._kept: dict[int, _Segment] = {}
        self._next = 1

    def state_dict(self) -> dict[str, Array]:
        """Write the rows that no segment holds as they are now; returns which segments are needed, uint8 [K, 32].

        Nobody may write to the rings meanwhile. Where a disk fails half way, what has been written counts the next
        time. UserError says where there is no room.
        """
        live = self._rings.live()
        self._give_up_poor(live)
        rows = live[self._held_in[live] == UNSAVED]
        counted = int((self._held_in[live] != NOT_NEEDED).sum())
        each = sum(math.prod(column.shape[1:]) * column.itemsize for column in self._arrays().values())
        most = max(1, _FILE_BYTES // max(1, each), 2 * counted // _FEW)
        for begin in range(0, len(rows), most):
            self._write(rows[begin : begin + most])
        joined = bytes.fromhex("".join(segment.digest for segment in self._kept.values()))
        return {self._key: np.frombuffer(joined, np.uint8).reshape(len(self._kept), -1 if joined else 0)}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Read the segments that a saved state names into the rings, whose counters are there already.

        Raises UserError where they are of another layout.
        """
        self._kept = {}
        for digest in named({self._key: state[self._key]}):
            held = safetensors.numpy.load_file(self._folder / file_name(digest))
            names = held.pop(_NAME)
            mine = {name: (array.shape[1:], array.dtype) for name, array in self._arrays().items()}
            theirs = {name: (array.shape[1:], array.dtype) for name, array in held.items()}
            if mine != theirs:
                raise UserError(f"saved replay: {_differing(mine, theirs)}")
            stream, position = names % self._rings.streams, names // self._rings.streams
            there = self._rings.holds(stream, position)
            rows = self._rings.slots(stream, position)[there]
            for name, array in self._arrays().items():
                array[rows] = held[name][there]
            self._add(rows, _Segment(digest, len(names)))

    def _arrays(self) -> dict[str, Array]:
        return {name: self._rings.rows[name] for name in self._columns}

    def _give_up_poor(self, live: Ints) -> None:
        """Name no segment any more that holds too little; the rows that it does hold are to be written anew."""
        held = self._held_in[live]
        counted = np.bincount(held[held > 0], minlength=self._next).tolist()
        wanted = int((held != NOT_NEEDED).sum())
        named_rows = int((held == UNSAVED).sum()) + sum(segment.rows for segment in self._kept.values())
        for number, segment in sorted(self._kept.items(), key=lambda item: counted[item[0]] / item[1].rows):
            rows = counted[number]
            if rows == 0 or rows * _FEW < wanted or named_rows > _MOST * wanted:
                named_rows -= segment.rows - rows
                del self._kept[number]
                self._held_in[live[held == number]] = UNSAVED

    def _write(self, rows: Ints) -> None:
        arrays = {name: array.take(rows, axis=0) for name, array in self._arrays().items()}
        content = safetensors.numpy.save({_NAME: self._rings.names(rows)} | arrays)
        digest = hashlib.sha256(content).hexdigest()
        with atomic_file(self._folder / file_name(digest)) as temporary:
            temporary.write_bytes(content)
        self._add(rows, _Segment(digest, len(rows)))

    def _add(self, rows: Ints, segment: _Segment) -> None:
        self._held_in[rows] = self._next
        self._kept[self._next] = segment
        self._next += 1


def _differing(mine: Mapping[str, object], theirs: Mapping[str, object]) -> str:
    name = next(name for name in sorted({*mine, *theirs}) if mine.get(name) != theirs.get(name))
    return f"{name} {theirs.get(name, 'is missing')}, but this run has {mine.get(name, 'none')}"
