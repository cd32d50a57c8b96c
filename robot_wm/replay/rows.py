"""How an episode lies in the table: one row an episode, or several where it was too long to wait for its end.

Why not one row a step: an episode is what is committed, dropped, merged, skipped when damaged and read back, so each
of these is one row, and a digest per row finds what the file format does not: of 150 single flipped bits in a data
file 136 raised no error. Speed does not decide: the same 100 episodes of 200 steps, stored both ways, read alike
(one episode 0.6-0.9 ms, all of them within noise), before and after their files are joined.
Shape letters: L steps of an episode.
"""

from __future__ import annotations

import hashlib
import json
import struct
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from robot_wm.errors import UserError
from robot_wm.replay.episode import Episode, EpisodeSource, known_rewards
from robot_wm.replay.place import RecordedIn
from robot_wm.spec import AgentSpec
from robot_wm.step import as_fields, step_columns

FORMAT = "1"
_FORMAT_KEY, _SPEC_KEY, _SPEC_SHA_KEY, _HASH_KEY = (
    b"robot_wm.replay_format",
    b"robot_wm.spec",
    b"robot_wm.spec_sha256",
    b"robot_wm.spec_hash",
)
# What is asked of many episodes at once; small, and read without touching the arrays.
INDEX_COLUMNS = ("number", "steps", "return", "terminated", "source", "digest")
# How a source's JSON shows these, which most leave out and so need not be parsed; in a text the quotes would have
# backslashes, and the text before a first_step tells it from a randomised quantity of that name.
_HAS_PLACE, LATER_PIECE = '"recording":{', '","first_step":'
_ARRAYS = ("action", "reward")  # the others follow from them and from the small columns: `_derived`


def _array_columns(spec: AgentSpec) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    return {name: kind for name, kind in step_columns(spec).items() if name.startswith("obs/") or name in _ARRAYS}


def bytes_per_step(spec: AgentSpec) -> int:
    """Size of one stored step in bytes."""
    return sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in _array_columns(spec).values())


def schema(spec: AgentSpec) -> pa.Schema:
    """Columns of a store, its AgentSpec in the metadata. Arrays are lists of L items of a step's flat size."""
    fields = [
        pa.field("number", pa.int64()),
        pa.field("steps", pa.int64()),
        pa.field("return", pa.float64()),
        pa.field("terminated", pa.bool_()),
        pa.field("source", pa.string()),
        pa.field("digest", pa.string()),
    ]
    for name, (shape, dtype) in _array_columns(spec).items():
        item = pa.from_numpy_dtype(dtype)
        fields.append(pa.field(name, pa.large_list(pa.list_(item, int(np.prod(shape))) if shape else item)))
    text = spec.to_json()
    metadata = {
        _FORMAT_KEY: FORMAT.encode(),
        _SPEC_KEY: text.encode(),
        _SPEC_SHA_KEY: hashlib.sha256(text.encode()).hexdigest().encode(),
        _HASH_KEY: spec.content_hash().encode(),
    }
    return pa.schema(fields, metadata=metadata)


def spec_of(stored: pa.Schema, *, origin: str) -> AgentSpec:
    """The AgentSpec in a table's metadata; UserError where it is no replay store, damaged or of another format."""
    metadata = stored.metadata or {}
    if _FORMAT_KEY not in metadata or _SPEC_KEY not in metadata:
        raise UserError(f"{origin}: a Lance dataset, but no robot_wm replay store")
    if metadata[_FORMAT_KEY] != FORMAT.encode():
        raise UserError(f"{origin}: replay format {metadata[_FORMAT_KEY].decode()!r}, this version reads {FORMAT!r}")
    text = metadata[_SPEC_KEY]
    if hashlib.sha256(text).hexdigest().encode() != metadata.get(_SPEC_SHA_KEY):
        raise UserError(f"{origin}: the AgentSpec in its metadata is damaged")
    spec = AgentSpec.from_json(text, origin=origin)
    if stored.remove_metadata() != schema(spec).remove_metadata():
        raise UserError(f"{origin}: its columns do not fit its AgentSpec: the manifest is damaged")
    return spec


def encode(episodes: list[Episode], spec: AgentSpec, *, first_number: int) -> pa.RecordBatch:
    """Rows of valid episodes, numbered from ``first_number``; ValueError where one would not be read back as it is."""
    kind = schema(spec)
    columns: dict[str, list[Any] | pa.Array] = {name: [] for name in kind.names}
    arrays = [episode.columns() for episode in episodes]
    for number, episode in enumerate(episodes, first_number):
        source = episode.source.model_dump_json()
        for name, array in _derived(episode.source, episode.reward, bool(episode.is_terminal[-1])).items():
            if not np.array_equal(getattr(episode, name), array):
                raise ValueError(f"episode {number}: {name} is not stored, and would be read back as another")
        values = (number, episode.length, episode.episode_return, bool(episode.is_terminal[-1]), source)
        for name, value in zip(("number", "steps", "return", "terminated", "source"), values, strict=True):
            columns[name].append(value)
        columns["digest"].append(digest(episode))
    offsets = pa.array(np.cumsum([0, *(episode.length for episode in episodes)]), pa.int64())
    for name, (shape, _) in _array_columns(spec).items():
        flat = pa.array(np.concatenate([array[name] for array in arrays]).reshape(-1))
        items = pa.FixedSizeListArray.from_arrays(flat, int(np.prod(shape))) if shape else flat
        columns[name] = pa.LargeListArray.from_arrays(offsets, items)
    return pa.record_batch([pa.array(columns[field.name], field.type) for field in kind], schema=kind)


def digest(episode: Episode) -> str:
    """SHA-256 (hex) of everything in an episode, its number apart: the same episode has it in every store."""
    terminal = bool(episode.is_terminal[-1])
    return _digest(episode, episode.source.model_dump_json(), episode.length, episode.episode_return, terminal)


def place_of(source: str) -> RecordedIn | None:
    """Where the episode with that source was recorded; None if nowhere, ValueError for what is no source."""
    return EpisodeSource.model_validate_json(source).recording if _HAS_PLACE in source else None


def _digest(episode: Episode, source: str, steps: int, total: float, terminated: bool) -> str:
    sha = hashlib.sha256(struct.pack("<qd?", steps, total, terminated) + source.encode())
    arrays = episode.columns()
    for name in (*sorted(name for name in arrays if name.startswith("obs/")), *_ARRAYS):
        array = arrays[name]
        sha.update(f"{name} {array.dtype} {array.shape}".encode())
        sha.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return sha.hexdigest()


def decode(row: dict[str, pa.Scalar], spec: AgentSpec) -> Episode:
    """The episode in a row; ValueError where it is not what was written. Arrays are read-only views."""
    steps, total, terminated = row["steps"].as_py(), row["return"].as_py(), row["terminated"].as_py()
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"{steps} steps")
    arrays = {}
    for name, (shape, dtype) in _array_columns(spec).items():
        items = row[name].values
        flat = items.flatten() if shape else items
        arrays[name] = flat.to_numpy(zero_copy_only=True).reshape(steps, *shape)
        if arrays[name].dtype != dtype:
            raise ValueError(f"{name}: {arrays[name].dtype}")
    source = row["source"].as_py()
    try:
        origin = EpisodeSource.model_validate(json.loads(source))
        episode = Episode(**as_fields(arrays | _derived(origin, arrays["reward"], terminated)), source=origin)
    except ValidationError as error:
        raise ValueError(f"source: {error.errors()[0]['msg']}") from None
    if _digest(episode, source, steps, total, terminated) != row["digest"].as_py():
        raise ValueError("its digest differs")
    return episode


def _derived(source: EpisodeSource, reward: np.ndarray, terminated: bool) -> dict[str, np.ndarray]:
    """The columns [L] that are not stored, for what is stored tells them."""
    step = np.arange(len(reward))
    last = (step == len(reward) - 1) & (not source.goes_on)
    return {
        "reward_known": known_rewards(source, reward),
        "is_first": (step == 0) & (source.first_step == 0),
        "is_last": last,
        "is_terminal": last & terminated,
    }
