"""Writing a version in formats that others read: NumPy archives, Parquet, or a LeRobot dataset.

Shape letters: L steps of an episode, A action dimensions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from robot_wm.atomic import atomic_directory
from robot_wm.errors import UserError
from robot_wm.replay.episode import Episode
from robot_wm.replay.lerobot import write_lerobot
from robot_wm.replay.lerobot_video import Quality
from robot_wm.replay.reading import Damage, DamagedError, gather
from robot_wm.replay.rows import digest
from robot_wm.replay.store import EpisodeStore
from robot_wm.spec import AgentSpec
from robot_wm.step import step_columns

_README = """\
{card}# Experience of {task} on {robot}

Version {version} of a robot_wm replay store: {episodes} episodes, {steps} steps at {rate} Hz.

* `spec.json`: the AgentSpec: fields with shapes, SI units and joint names in order.
* `episodes.json`: one entry an episode: number, steps, return, whether it terminated (else it was truncated),
  SHA-256 digest, and source (sim or robot, task, seed, physics backend, policy, time; of a robot also the recording,
  its ticks, and the steps at which the robot was not observed).
* {layout}

{meaning}
A long episode lies in several entries: `first_step` in the source of a later one
says how many steps came before it, and `goes_on` that the episode had not ended there; such ends have no {last}.
"""
_STEPS = """\
`obs/<field>` is raw and in the spec's SI unit (images uint8, height x width x channel). `action` is the SI command
taken AFTER the step's observation, or a one-hot choice; zeros on the last step. `reward` and the flags came WITH the
step's observation; the reward of the reset is 0. `reward_known` is false where nobody told the reward, as on a robot:
the zero there means nothing. `is_first` marks the reset, `is_last` the end, `is_terminal` an end
after which nothing can be earned."""
_FRAMES = """\
A frame is a whole transition: the observation, `action` taken after it, and what came of that, so that an entry of L
steps has L - 1 frames, its last observation is left out, and an entry of one step is no episode. `observation.state`
joins the vector fields in the spec's order, raw and in SI units (`names` and `units` in `meta/info.json`);
`observation.images.<field>` are the cameras' pictures, of one channel repeated to three{loss}. `action` is the SI
command, or a one-hot choice. `next.done` is the end of an episode, `next.truncated` one after which there was more to
earn, as at a time limit. `next.reward_known` is false where nobody told the reward, as on a robot: the zero there
means nothing. `robot_wm/number` in `meta/episodes` is an entry's number. Quantiles in `meta/stats.json` are those of
65,536 frames where there are more."""
# What a dataset's page on the Hugging Face Hub takes its labels from.
_CARD = """\
---
task_categories:
- robotics
tags:
- LeRobot
- robot_wm
configs:
- config_name: default
  data_files: data/*/*.parquet
---

"""
_LAYOUTS = {
    "npz": "`episode_<number>.npz`: NumPy arrays with one row a step, keys "
    + "`obs/<field>`, `action`, `reward`, `reward_known`, flags.",
    "parquet": "`steps.parquet`: one row a step, ordered, with columns `episode` (its number), `step`, `obs/<field>` "
    "(flattened, row-major), `action`, `reward`, `reward_known`, flags.",
    "lerobot": "`meta/`, `data/`, `videos/`: a LeRobot dataset, format v3.0 "
    + "(`LeRobotDataset(repo_id, root=<this folder>)`).",
}


@dataclass(frozen=True)
class ExportResult:
    """What was written."""

    folder: Path
    episodes: int
    steps: int
    skipped: tuple[Damage, ...]


def export(
    store: EpisodeStore,
    folder: Path,
    *,
    form: Literal["npz", "parquet", "lerobot"] = "npz",
    video: Quality = "exact",
    skip_damaged: bool = False,
) -> ExportResult:
    """Write ``store``'s version to a new ``folder``, which appears when it is complete; its README.md says the format.

    ``video`` is how a LeRobot dataset holds pictures: bit for bit, or small and as browsers play them.
    Raises UserError where ``folder`` exists or cannot be written, DamagedError for a damaged episode unless
    ``skip_damaged``.
    """
    if folder.exists():
        raise UserError(f"{folder}: exists already")
    skipped: list[Damage] = []
    entries: list[dict[str, Any]] = []

    def sound() -> Iterator[tuple[int, Episode]]:
        for number, item in store.scan():
            if isinstance(item, Episode):
                entries.append(_entry(number, item))
                yield number, item
            elif skip_damaged:
                skipped.append(item)
            else:
                raise DamagedError(store.location, [item])

    writers: dict[str, Callable[[Path, AgentSpec, Iterator[tuple[int, Episode]]], None]]
    writers = {"npz": _write_npz, "parquet": _write_parquet, "lerobot": partial(write_lerobot, quality=video)}
    try:
        with atomic_directory(folder) as temporary:
            writers[form](temporary, store.spec, sound())
            steps = sum(entry["steps"] for entry in entries)
            (temporary / "spec.json").write_text(store.spec.to_json(), encoding="utf-8")
            (temporary / "episodes.json").write_text(json.dumps(entries, indent=1), encoding="utf-8")
            words = {"task": store.spec.task, "robot": store.spec.robot, "rate": store.spec.control_rate_hz}
            words |= {"version": store.version, "episodes": len(entries), "steps": steps, "layout": _LAYOUTS[form]}
            words |= (
                _lerobot_words(video) if form == "lerobot" else {"card": "", "meaning": _STEPS, "last": "`is_last`"}
            )
            (temporary / "README.md").write_text(_README.format(**words), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder}: cannot export: {error.strerror or error}") from error
    return ExportResult(folder, len(entries), steps, tuple(gather(skipped)))


def _lerobot_words(video: Quality) -> dict[str, str]:
    loss = "" if video == "exact" else ", compressed with loss"
    return {"card": _CARD, "meaning": _FRAMES.format(loss=loss), "last": "`next.done`"}


def _entry(number: int, episode: Episode) -> dict[str, Any]:
    return {
        "number": number,
        "steps": episode.length,
        "return": episode.episode_return,
        "terminated": bool(episode.is_terminal[-1]),
        "digest": digest(episode),
        "source": episode.source.model_dump(mode="json"),
    }


def _write_npz(folder: Path, spec: AgentSpec, episodes: Iterator[tuple[int, Episode]]) -> None:
    for number, episode in episodes:
        with (folder / f"episode_{number:08d}.npz").open("wb") as file:
            columns: dict[str, Any] = episode.columns()
            np.savez_compressed(file, **columns)


def _write_parquet(folder: Path, spec: AgentSpec, episodes: Iterator[tuple[int, Episode]]) -> None:
    columns = step_columns(spec)
    fields = [pa.field("episode", pa.int64()), pa.field("step", pa.int32())]
    for name, (shape, dtype) in columns.items():
        item = pa.from_numpy_dtype(dtype)
        fields.append(pa.field(name, pa.list_(item, int(np.prod(shape))) if shape else item))
    with pq.ParquetWriter(folder / "steps.parquet", pa.schema(fields), compression="zstd") as writer:
        for number, episode in episodes:
            length = episode.length
            arrays = [pa.array(np.full(length, number)), pa.array(np.arange(length, dtype=np.int32))]
            for name, array in episode.columns().items():
                shape = columns[name][0]
                flat = pa.array(array.reshape(-1))
                arrays.append(pa.FixedSizeListArray.from_arrays(flat, int(np.prod(shape))) if shape else flat)
            writer.write_table(pa.Table.from_arrays(arrays, schema=writer.schema))
