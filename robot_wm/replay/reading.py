"""Reading one version row by row, telling damaged rows from sound ones.

Shape letters: E episodes of a version.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.replay.episode import Episode
from robot_wm.replay.location import Location
from robot_wm.replay.place import RecordedIn
from robot_wm.replay.rows import INDEX_COLUMNS, LATER_PIECE, bytes_per_step, decode, place_of
from robot_wm.replay.table import is_panic, spans
from robot_wm.spec import AgentSpec

_READ_BYTES = 32 * 2**20  # of episodes decoded at a time
_READ_ROWS = 64


@dataclass(frozen=True)
class Damage:
    """Episodes of one data file that cannot be read back as they were written."""

    file: str  # relative to the store
    episodes: tuple[int, ...]  # numbers
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: episodes {spans(self.episodes)}: {self.reason}"


class DamagedError(UserError):
    """Damaged episodes stand in the way and skipping them was not asked for."""

    def __init__(self, path: Location, damage: Sequence[Damage]) -> None:
        self.damage = tuple(damage)
        super().__init__(
            f"{path}: damaged: {'; '.join(map(str, damage))} (skip_damaged / --skip-damaged leaves them out)"
        )


@dataclass(frozen=True)
class Index:
    """The small columns of every row of one version, each an episode or a piece of one.

    Unreadable rows have ``readable`` False and zeros.
    """

    number: NDArray[np.int64]  # [E] consecutive
    steps: NDArray[np.int64]  # [E]
    total: NDArray[np.float64]  # [E] return
    terminated: NDArray[np.bool_]  # [E]
    begins: NDArray[np.bool_]  # [E] it has the episode's reset; False of a later piece
    digest: tuple[str, ...]  # E
    readable: NDArray[np.bool_]  # [E]

    def totals(self) -> dict[str, Any]:
        """Number of rows, each an episode or a piece, of steps, and the mean return of the episodes that can be read.

        The returns of an episode's pieces add up. A version that holds pieces tells how many of its rows go on with an
        episode of another row.
        """
        readable, pieces = int(self.readable.sum()), int((~self.begins).sum())
        whole = max(1, int((self.readable & self.begins).sum()))  # of one episode all the first pieces may be dropped
        totals: dict[str, Any] = {
            "episodes": len(self.number),
            "steps": int(self.steps.sum()),
            "return_mean": float(self.total[self.readable].sum() / whole) if readable else None,
        }
        totals |= {"of_these_later_pieces": pieces} if pieces else {}
        return totals if readable == len(self.number) else totals | {"unreadable_episodes": len(self.number) - readable}

    def extended(self, batch: pa.RecordBatch) -> Index:
        """This index with the rows of a newly committed batch."""
        new = _index({name: pa.chunked_array([batch.column(name)]) for name in INDEX_COLUMNS})
        joined = {
            name: np.concatenate([value, getattr(new, name)]) for name, value in vars(self).items() if name != "digest"
        }
        return Index(digest=self.digest + new.digest, **joined)


def read_index(dataset: lance.LanceDataset) -> Index:
    """Small columns of all rows, in one scan; where that fails, rows that cannot be read are found one by one."""
    try:
        table = dataset.to_table(columns=list(INDEX_COLUMNS))
        index = _index({name: table.column(name) for name in INDEX_COLUMNS})
        if table.num_rows == dataset.count_rows() and _is_sound(index):
            return index
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
    return _salvaged_index(dataset)


def read_places(dataset: lance.LanceDataset) -> dict[int, RecordedIn]:
    """Where in a recording each row's episode comes from, by its position; rows that tell of none are left out."""
    try:
        sources: list[str | None] = dataset.to_table(columns=["source"]).column("source").to_pylist()
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        taken = _take(dataset, range(dataset.count_rows()), ("source",))
        rows = [None if isinstance(row, Exception) else _plain(row) for row in taken]
        sources = [None if row is None else row["source"] for row in rows]
    places = {}
    for position, source in enumerate(sources):
        try:
            place = None if source is None else place_of(source)
        except ValueError:  # damaged, which whoever reads the episode is told
            continue
        if place is not None:
            places[position] = place
    return places


def _index(columns: Mapping[str, pa.ChunkedArray]) -> Index:
    if any(column.null_count for column in columns.values()):
        raise ValueError("a value is missing")
    return Index(
        number=columns["number"].to_numpy(),
        steps=columns["steps"].to_numpy(),
        total=columns["return"].to_numpy(),
        terminated=columns["terminated"].to_numpy(),
        begins=~pc.match_substring(columns["source"], LATER_PIECE).to_numpy(),
        digest=tuple(columns["digest"].to_pylist()),
        readable=np.ones(len(columns["number"]), np.bool_),
    )


def _is_sound(index: Index) -> bool:
    return bool((np.diff(index.number) == 1).all() and (index.steps >= 1).all())


def _salvaged_index(dataset: lance.LanceDataset) -> Index:
    """Numbers are consecutive in every version (episodes come at the end and go at the start), so those of
    unreadable rows follow from the others.
    """
    count = dataset.count_rows()
    taken = _take(dataset, range(count), INDEX_COLUMNS)
    rows = [None if isinstance(row, Exception) else _plain(row) for row in taken]
    first = _first_number(rows)
    for position, row in enumerate(rows):
        if row is not None and (row["number"] != first + position or row["steps"] < 1):
            rows[position] = None
    nothing: dict[str, Any] = {"steps": 0, "return": 0.0, "terminated": False, "source": "", "digest": ""}
    sound = [row or nothing for row in rows]
    return Index(
        number=first + np.arange(count, dtype=np.int64),
        steps=np.array([row["steps"] for row in sound], np.int64),
        total=np.array([row["return"] for row in sound], np.float64),
        terminated=np.array([row["terminated"] for row in sound], np.bool_),
        begins=np.array([LATER_PIECE not in row["source"] for row in sound], np.bool_),
        digest=tuple(row["digest"] for row in sound),
        readable=np.array([row is not None for row in rows], np.bool_),
    )


def _plain(row: dict[str, pa.Scalar]) -> dict[str, Any] | None:
    try:
        values = {name: scalar.as_py() for name, scalar in row.items()}
    except ValueError:  # text that is none any more
        return None
    return None if None in values.values() else values


def _first_number(rows: Sequence[dict[str, Any] | None]) -> int:
    """What most rows say the number of row 0 is."""
    votes: dict[int, int] = {}
    for position, row in enumerate(rows):
        if row is not None:
            votes[row["number"] - position] = votes.get(row["number"] - position, 0) + 1
    return max(votes, key=lambda first: votes[first], default=0)


def read_episodes(
    dataset: lance.LanceDataset, spec: AgentSpec, index: Index, positions: Sequence[int]
) -> Iterator[tuple[int, Episode | Damage]]:
    """Number and episode of each row in ``positions``, every array checked against the digest, or its damage."""
    mean_bytes = bytes_per_step(spec) * max(1, int(index.steps.mean())) if len(index.steps) else 1
    chunk = max(1, min(_READ_ROWS, _READ_BYTES // mean_bytes))
    columns = [field.name for field in dataset.schema]
    files: list[tuple[int, str]] | None = None
    for begin in range(0, len(positions), chunk):
        chosen = positions[begin : begin + chunk]
        for position, row in zip(chosen, _take(dataset, chosen, columns), strict=True):
            number = int(index.number[position])
            outcome = row if isinstance(row, Exception) else _decode(row, spec, number)
            if isinstance(outcome, Episode):
                yield number, outcome
                continue
            files = files or _files(dataset)
            file = next(name for end, name in files if position < end)
            yield number, Damage(file=file, episodes=(number,), reason=" ".join(str(outcome).split())[:120])


def _decode(row: dict[str, pa.Scalar], spec: AgentSpec, number: int) -> Episode | Exception:
    try:
        if row["number"].as_py() != number:
            return ValueError(f"its number reads {row['number']}")
        return decode(row, spec)
    except (ValueError, TypeError, AttributeError, pa.ArrowException) as error:
        return error


def _files(dataset: lance.LanceDataset) -> list[tuple[int, str]]:
    """End position and data file of each fragment, in row order."""
    end = 0
    files = []
    for fragment in dataset.get_fragments():
        end += fragment.count_rows()
        files.append((end, "data/" + ", data/".join(file.path for file in fragment.data_files())))
    return files


def _take(
    dataset: lance.LanceDataset, positions: Sequence[int], columns: Sequence[str]
) -> Iterator[dict[str, pa.Scalar] | Exception]:
    """Rows at ``positions``; where reading them together fails, each that fails alone gives its error."""
    try:
        table = dataset.take(list(positions), columns=list(columns)).combine_chunks()
        if table.num_rows != len(positions):
            raise ValueError(f"{table.num_rows} rows instead of {len(positions)}")
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        if len(positions) == 1:
            yield ValueError(f"cannot be decoded ({type(error).__name__})")
            return
        for position in positions:
            yield from _take(dataset, [position], columns)
        return
    for k in range(len(positions)):
        yield {name: table.column(name)[k] for name in columns}


def gather(damage: Iterable[Damage]) -> list[Damage]:
    """One entry a file and reason."""
    groups: dict[tuple[str, str], list[int]] = {}
    for item in damage:
        groups.setdefault((item.file, item.reason), []).extend(item.episodes)
    return [Damage(file, tuple(numbers), reason) for (file, reason), numbers in groups.items()]
