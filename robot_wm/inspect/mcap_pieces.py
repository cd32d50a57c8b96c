"""A robot's recording, chunk by chunk: however long it is, no more than a chunk of it is in memory.

`robot_wm.replay.recording.read_recording` reads a whole one, in the order of its ticks; here they come as they lie.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mcap.records import Channel, Message, Metadata
from mcap.writer import MCAP0_MAGIC

from robot_wm.errors import UserError
from robot_wm.inspect.pieces import Piece
from robot_wm.posed import PosedRobot
from robot_wm.replay.mcap_records import DAMAGE, Budget, TooMuchError, framed, parse
from robot_wm.runtime.cdr import Records
from robot_wm.runtime.faults import Fault
from robot_wm.runtime.tick_log import METADATA, MODES, TICK_TOPIC, RecordingInfo, TickLog
from robot_wm.runtime.transform import to_command
from robot_wm.spec import AgentSpec

_TIMES = {"observe_ns": "took/observe_ms", "infer_ns": "took/infer_ms", "total_ns": "took/total_ms"}


class McapPieces:
    """The ticks of a recording; UserError for a file that is none, while it is gone through for one that is damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage: list[str] = []  # what could not be read, in words, as far as it was gone through
        self.info, self.spec = _head(path)
        self.task_options: Mapping[str, Any] = {}  # no recording tells them
        self.robot: PosedRobot | None = None
        self._log = TickLog(self.spec, form=self.info.format)
        self._topics: dict[int, str] = {}
        self._last: tuple[int, int] | None = None  # mode and faults of the latest tick

    def __iter__(self) -> Iterator[Piece]:
        size = self.path.stat().st_size
        budget = Budget.of_file(size)
        with self.path.open("rb") as file:
            file.seek(len(MCAP0_MAGIC))
            for opcode, begin, body, _ in framed(file, size, budget):
                try:
                    records = list(parse(opcode, body, budget))
                except DAMAGE as error:
                    self.damage.append(f"damaged at byte {begin}: {' '.join(str(error).split())[:120]}")
                    continue
                except TooMuchError as error:
                    raise UserError(f"{self.path}: {error}; no recording does") from None
                self._topics |= {record.id: record.topic for record in records if isinstance(record, Channel)}
                messages = [record for record in records if isinstance(record, Message)]
                ticks = [message for message in messages if self._topics.get(message.channel_id) == TICK_TOPIC]
                if ticks:
                    yield self._piece(ticks, messages)

    def _piece(self, ticks: list[Message], messages: list[Message]) -> Piece:
        spec, log = self.spec, self._log
        try:
            rows = log.tick.read([message.data for message in ticks])
        except ValueError as error:
            raise UserError(f"{self.path}: {TICK_TOPIC}: {error}") from None
        place = {message.sequence: k for k, message in enumerate(ticks)}
        names = {topic.name: name for name, topic in log.image_topics.items()}
        pictures: dict[str, dict[int, np.ndarray]] = {}
        for message in messages:
            name = names.get(self._topics.get(message.channel_id, ""))
            if name is not None and message.sequence in place:
                data = log.images[name].read([message.data])["data"][0]
                pictures.setdefault(f"camera/{name}/recorded", {})[place[message.sequence]] = data
        time_s = np.asarray(rows["receipt_ns"], np.float64) * 1e-9
        robots = {}
        if self.robot is not None:
            robots["recorded"] = self.robot.poses({name: np.asarray(rows[key]) for name, key in log.vectors.items()})
        return Piece(time_s, _numbers(rows, spec, log), pictures, self._events(rows, time_s), robots)

    def _events(self, rows: Records, time_s: np.ndarray) -> tuple[tuple[float, str], ...]:
        """Changes of mode and of faults, in words."""
        found = []
        for k, now in enumerate(zip(rows["mode"].tolist(), rows["fault_bits"].tolist(), strict=True)):
            if now != self._last:
                faults = ", ".join(f.name.lower() for f in Fault if f & now[1] and f.name)
                found.append((float(time_s[k]), f"{MODES[now[0]].value}{f': {faults}' if faults else ''}"))
                self._last = now
        return tuple(found)


def _numbers(rows: Records, spec: AgentSpec, log: TickLog) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {
        "value": np.asarray(rows["value"], np.float64),
        "surprise": np.asarray(rows["surprise"], np.float64),
        "mode": np.asarray(rows["mode"], np.float64),
    }
    found |= {path: np.asarray(rows[name], np.float64) * 1e-6 for name, path in _TIMES.items()}
    for field in spec.observations:
        if field.name in log.vectors:
            values = np.asarray(rows[log.vectors[field.name]])
            found |= {
                f"observation/{name}/recorded": values[:, n]
                for n, name in enumerate(element_names(field.name, field.labels, field.shape[0]))
            }
    asked = to_command(spec.action, np.ascontiguousarray(rows["raw_action"]))
    for n, joint in enumerate(spec.action.joints):
        found[f"action/{joint}/raw"] = asked[:, n]
        found[f"action/{joint}/filtered"] = np.asarray(rows["command"])[:, n]
    return found


def element_names(field: str, labels: tuple[str, ...], size: int) -> list[str]:
    """Names of a vector field's elements; of one alone the field's own."""
    return [field] if size == 1 else [f"{field}.{label}" for label in (labels or map(str, range(size)))]


def _head(path: Path) -> tuple[RecordingInfo, AgentSpec]:
    """What a recording says about itself, which its writer puts before its ticks."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if file.read(len(MCAP0_MAGIC)) != MCAP0_MAGIC:
                raise UserError(f"{path}: not an MCAP file")
            budget = Budget.of_file(size)
            for opcode, _, body, _ in framed(file, size, budget):
                try:
                    for record in parse(opcode, body, budget):
                        if isinstance(record, Metadata) and record.name == METADATA:
                            return RecordingInfo.checked(record.metadata, origin=str(path))
                except DAMAGE:
                    continue
    except TooMuchError as error:
        raise UserError(f"{path}: {error}; no recording does") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    raise UserError(f"{path}: an MCAP file, but no recording of a robot_wm agent: no metadata {METADATA!r}")
