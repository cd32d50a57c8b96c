"""Writing episodes as a LeRobot dataset, format v3.0, which needs no LeRobot: Parquet, JSON and MP4 files.

A frame is a whole transition: the observation, the action taken after it, and what came of that (``next.reward``,
``next.done``). So an entry of L steps has L - 1 frames: of its last observation no action is known. Files hold many
episodes, an episode lies in one file of each kind, and no more than a few megabytes of frames are in memory.
Shape letters: L steps of an entry, O elements of all vector fields, A action.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.replay.episode import Episode
from robot_wm.replay.lerobot_stats import ImageStats, Stats, VectorStats, vector_stats
from robot_wm.replay.lerobot_video import PIXEL_FORMAT, Quality, VideoFile
from robot_wm.spec import AgentSpec, ObservationField, Source

VERSION = "v3.0"
_FILES_A_CHUNK, _DATA_MB, _VIDEO_MB = 1000, 100, 200
_DATA, _META = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet", "meta/episodes/"
_EPISODES = _META + _DATA.removeprefix("data/")
_VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
_GROUP_BYTES = 8 * 2**20  # frames that are written at a time
_GROUP_EPISODES = 200

STATE = "observation.state"
_FLAGS = {"next.reward": "float32", "next.reward_known": "bool", "next.done": "bool", "next.truncated": "bool"}
_PLACES = {"timestamp": "float32"} | dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), "int64")


def write_lerobot(
    folder: Path, spec: AgentSpec, episodes: Iterator[tuple[int, Episode]], *, quality: Quality = "exact"
) -> None:
    """Write numbered episodes into ``folder``; UserError for pictures that a video cannot hold, and for no episode."""
    writer = _Writer(folder, spec, quality)
    try:
        for number, episode in episodes:
            if episode.length > 1:  # a single step of a longer episode is no transition
                writer.add(number, episode)
        writer.finish()
    except BaseException:
        writer.abandon()
        raise


def element_names(spec: AgentSpec, field: ObservationField) -> list[str]:
    """What each element of a vector field is: ``<field>.<joint>``, or its number where nothing has a name."""
    commands = [command.name for command in spec.commands] if field.source is Source.COMMAND else []
    joints = list(spec.action.joints) if field.source is Source.LAST_ACTION else []
    return [f"{field.name}.{name}" for name in field.labels or commands or joints or range(field.shape[0])]


def features(spec: AgentSpec, quality: Quality) -> dict[str, dict[str, Any]]:
    """LeRobot's description of a frame; ``units`` is ours, and LeRobot does not look at it."""
    vectors = [field for field in spec.observations if not field.is_image]
    described: dict[str, dict[str, Any]] = {}
    if vectors:
        names = [name for field in vectors for name in element_names(spec, field)]
        units = [unit for field in vectors for unit in field.element_units() or [field.unit] * field.shape[0]]
        described[STATE] = {"dtype": "float32", "shape": [len(names)], "names": names, "units": units}
    rate = _rate(spec)
    for field in spec.observations:
        if field.is_image:
            shape = [*field.shape[:2], 3]
            about: dict[str, Any] = {
                "video.height": shape[0],
                "video.width": shape[1],
                "video.channels": 3,
                "video.fps": rate,
            }
            about |= {"video.codec": "h264", "video.pix_fmt": PIXEL_FORMAT[quality]}
            about |= {"video.is_depth_map": False, "has_audio": False}
            names = ["height", "width", "channels"]
            described[_camera(field)] = {"dtype": "video", "shape": shape, "names": names, "info": about}
    joints, unit = list(spec.action.joints), spec.action.unit
    described["action"] = {"dtype": "float32", "shape": [spec.action_dim], "names": joints}
    described["action"]["units"] = [unit] * len(joints)
    for name, dtype in (_FLAGS | _PLACES).items():
        described[name] = {"dtype": dtype, "shape": [1], "names": None}
    return described


def _camera(field: ObservationField) -> str:
    return f"observation.images.{field.name}"


def _rate(spec: AgentSpec) -> int | float:
    """LeRobot's own recorder writes whole numbers; its loader reads others."""
    rate = spec.control_rate_hz
    return int(rate) if rate == int(rate) else rate


class _Files:
    """Numbered files in chunks of a thousand: where the one that is written lies."""

    def __init__(self, folder: Path, pattern: str) -> None:
        self._folder, self._pattern, self._number = folder, pattern, 0

    @property
    def chunk(self) -> int:
        return self._number // _FILES_A_CHUNK

    @property
    def file(self) -> int:
        return self._number % _FILES_A_CHUNK

    def path(self) -> Path:
        path = self._folder / self._pattern.format(chunk_index=self.chunk, file_index=self.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def turn(self) -> None:
        self._number += 1


class _Table:
    """Parquet files that grow to about 100 MB; rows are written some megabytes at a time."""

    def __init__(self, folder: Path, pattern: str, *, most_rows: int | None = None) -> None:
        self.files = _Files(folder, pattern)
        self._most_rows = most_rows
        self._waiting: list[pa.Table] = []
        self._waiting_bytes = self._file_bytes = 0
        self._writer: pq.ParquetWriter | None = None

    def add(self, rows: pa.Table) -> None:
        """Rows that go into one file, that of ``files``."""
        self._waiting.append(rows)
        self._waiting_bytes += rows.nbytes
        if self._waiting_bytes >= _GROUP_BYTES or len(self._waiting) == self._most_rows:
            self.flush()

    def turn_if_full(self) -> None:
        """Begin the next file where this one is large enough."""
        if self._file_bytes + self._waiting_bytes >= _DATA_MB * 2**20:
            self.close()
            self.files.turn()
            self._file_bytes = 0

    def flush(self) -> None:
        if self._waiting:
            rows = pa.concat_tables(self._waiting)
            if self._writer is None:
                self._writer = pq.ParquetWriter(self.files.path(), rows.schema, compression="zstd")
            self._writer.write_table(rows)
            self._file_bytes += self._waiting_bytes
            self._waiting, self._waiting_bytes = [], 0

    def close(self) -> None:
        self.flush()
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class _Camera:
    """One camera's video files, and the statistics of all that is in them."""

    def __init__(self, folder: Path, field: ObservationField, spec: AgentSpec, quality: Quality) -> None:
        rows, columns, channels = field.shape
        if channels not in (1, 3):
            raise UserError(f"field {field.name}: {channels} channels; a LeRobot video holds 1 or 3")
        if quality == "small" and (rows % 2 or columns % 2):
            raise UserError(f"field {field.name}: {columns}x{rows} pixels; --video small needs even numbers of them")
        self.key, self.stats = _camera(field), ImageStats(3)
        self._files = _Files(folder, _VIDEO.replace("{video_key}", self.key))
        self._open: Callable[[Path], VideoFile] = lambda path: VideoFile(
            path, rate_hz=spec.control_rate_hz, quality=quality
        )
        self._video: VideoFile | None = None
        self._rate_hz = spec.control_rate_hz

    def add(self, pictures: NDArray[np.uint8]) -> tuple[dict[str, Any], Stats]:
        """Pictures [L, H, W, 1 or 3] of an episode; where they lie, as LeRobot says it, and their statistics."""
        if self._video is not None and self._video.bytes >= _VIDEO_MB * 2**20:
            self._video.close()
            self._files.turn()
            self._video = None
        if self._video is None:
            self._video = self._open(self._files.path())
        begin = self._video.pictures
        self._video.add(pictures)
        own = ImageStats(3)
        own.add(np.broadcast_to(pictures, (*pictures.shape[:3], 3)))
        self.stats.join(own)
        place = {"chunk_index": self._files.chunk, "file_index": self._files.file}
        times = {"from_timestamp": begin / self._rate_hz, "to_timestamp": self._video.pictures / self._rate_hz}
        return {f"videos/{self.key}/{name}": value for name, value in (place | times).items()}, own.stats()

    def close(self) -> None:
        if self._video is not None:
            self._video.close()
            self._video = None

    def abandon(self) -> None:
        if self._video is not None:
            self._video.abandon()


class _Writer:
    def __init__(self, folder: Path, spec: AgentSpec, quality: Quality) -> None:
        self._folder, self._spec = folder, spec
        self._features = features(spec, quality)
        self._vectors = [field.name for field in spec.observations if not field.is_image]
        self._cameras = {
            field.name: _Camera(folder, field, spec, quality) for field in spec.observations if field.is_image
        }
        self._data, self._rows = _Table(folder, _DATA), _Table(folder, _EPISODES, most_rows=_GROUP_EPISODES)
        self._stats = {key: VectorStats() for key, about in self._features.items() if about["dtype"] != "video"}
        self._tasks: dict[str, int] = {}
        self._episodes = self._frames = 0

    def add(self, number: int, episode: Episode) -> None:
        frames = episode.length - 1
        task = self._tasks.setdefault(episode.source.task, len(self._tasks))
        self._data.turn_if_full()
        self._rows.turn_if_full()
        columns = self._columns(episode, task)
        self._data.add(pa.table({key: _arrow(values) for key, values in columns.items()}))
        row: dict[str, Any] = {
            "episode_index": self._episodes,
            "tasks": [episode.source.task],
            "length": frames,
            "data/chunk_index": self._data.files.chunk,
            "data/file_index": self._data.files.file,
            "dataset_from_index": self._frames,
            "dataset_to_index": self._frames + frames,
        }
        stats: dict[str, Stats] = {}
        for key, values in columns.items():
            flat = values.reshape(frames, -1)
            stats[key] = vector_stats(flat)
            self._stats[key].add(flat, stats[key])
        for name, camera in self._cameras.items():
            place, stats[camera.key] = camera.add(episode.obs[name][:-1])
            row |= place
        row |= {f"stats/{key}/{name}": value.tolist() for key, found in stats.items() for name, value in found.items()}
        row |= {"meta/episodes/chunk_index": self._rows.files.chunk, "meta/episodes/file_index": self._rows.files.file}
        row["robot_wm/number"] = number  # of the store's entry, as episodes.json has it
        self._rows.add(pa.Table.from_pylist([row]))
        self._episodes += 1
        self._frames += frames

    def _columns(self, episode: Episode, task: int) -> dict[str, NDArray[Any]]:
        """Everything of an episode's frames [L - 1] but its pictures, in the order of the features."""
        frames = episode.length - 1
        step = np.arange(frames)
        found: dict[str, NDArray[Any]] = {}
        if self._vectors:
            found[STATE] = np.concatenate([episode.obs[name][:-1] for name in self._vectors], axis=1)
        found["action"] = episode.action[:-1]
        found["next.reward"], found["next.reward_known"] = episode.reward[1:], episode.reward_known[1:]
        found["next.done"] = episode.is_last[1:]
        found["next.truncated"] = episode.is_last[1:] & ~episode.is_terminal[1:]
        found["timestamp"] = (step / self._spec.control_rate_hz).astype(np.float32)
        found["frame_index"], found["index"] = step, self._frames + step
        found["episode_index"], found["task_index"] = np.full(frames, self._episodes), np.full(frames, task)
        return {key: found[key] for key in self._features if key in found}

    def finish(self) -> None:
        """Close all files and write what describes them."""
        if not self._episodes:
            raise UserError("no episode to export: LeRobot reads no empty dataset")
        self._data.close()
        self._rows.close()
        for camera in self._cameras.values():
            camera.close()
        meta = self._folder / "meta"
        info = {
            "codebase_version": VERSION,
            "robot_type": self._spec.robot,
            "total_episodes": self._episodes,
            "total_frames": self._frames,
            "total_tasks": len(self._tasks),
            "chunks_size": _FILES_A_CHUNK,
            "data_files_size_in_mb": _DATA_MB,
            "video_files_size_in_mb": _VIDEO_MB,
            "fps": _rate(self._spec),
            "splits": {"train": f"0:{self._episodes}"},
            "data_path": _DATA,
            "video_path": _VIDEO if self._cameras else None,
            "features": self._features,
        }
        (meta / "info.json").write_text(json.dumps(info, indent=4, ensure_ascii=False), encoding="utf-8")
        stats = {key: found.stats() for key, found in self._stats.items()}
        stats |= {camera.key: camera.stats.stats() for camera in self._cameras.values()}
        plain = {key: {name: value.tolist() for name, value in found.items()} for key, found in stats.items()}
        (meta / "stats.json").write_text(json.dumps(plain, indent=4), encoding="utf-8")
        pq.write_table(_tasks_table(self._tasks), meta / "tasks.parquet")

    def abandon(self) -> None:
        for camera in self._cameras.values():
            camera.abandon()


def _arrow(values: NDArray[Any]) -> pa.Array:
    """A column [L] or [L, n]; of one element a plain one, as LeRobot's features of shape (1,) are."""
    if values.ndim == 1 or values.shape[1] == 1:
        return pa.array(values.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).reshape(-1)), values.shape[1])


def _tasks_table(tasks: Mapping[str, int]) -> pa.Table:
    """A pandas frame with the tasks' words as its index, which is how LeRobot looks them up."""
    index = "__index_level_0__"
    described: list[dict[str, Any]] = [
        {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"},
        {"name": None, "field_name": index, "pandas_type": "unicode", "numpy_type": "object"},
    ]
    pandas = {
        "index_columns": [index],
        "column_indexes": [],
        "columns": [{**one, "metadata": None} for one in described],
    }
    table = pa.table({"task_index": pa.array(tasks.values(), pa.int64()), index: pa.array(tasks, pa.string())})
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})
