"""What the tests of recordings share: a recording's bytes with what is in it, read again after a change."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

from mcap.opcode import Opcode
from mcap.writer import MCAP0_MAGIC

from robot_wm.errors import UserError
from robot_wm.replay.recording import TickRecording, read_recording
from robot_wm.runtime.tick_log import RecordingInfo
from robot_wm.spec import AgentSpec


@dataclass(frozen=True)
class Made:
    """A recording's bytes and what is in it."""

    name: str
    data: bytes = field(repr=False)
    read: TickRecording = field(repr=False)

    def records(self) -> list[tuple[int, int, int]]:
        """Opcode, first byte and end of every record."""
        found, begin = [], len(MCAP0_MAGIC)
        while begin + 9 <= len(self.data):
            opcode, length = struct.unpack_from("<BQ", self.data, begin)
            found.append((opcode, begin, begin + 9 + length))
            begin += 9 + length
        return found

    def chunks(self) -> list[tuple[int, int]]:
        return [(begin, end) for opcode, begin, end in self.records() if opcode == Opcode.CHUNK]


def metadata_of(spec: AgentSpec) -> dict[str, str]:
    return RecordingInfo.of(spec, bundle_sha256="5" * 64, created_utc="2036-07-18").model_dump()


def numbers(recording: TickRecording) -> list[int]:
    return recording.ticks["tick"].tolist()


def attempt(path: Path, *, skip_damaged: bool) -> TickRecording | str:
    """What is read, or why nothing is."""
    try:
        return read_recording(path, skip_damaged=skip_damaged)
    except UserError as error:
        return str(error)


def changed(whole: Made, at: int, folder: Path) -> Path:
    path = folder / whole.name
    path.write_bytes(whole.data[:at] + bytes([whole.data[at] ^ 0xFF]) + whole.data[at + 1 :])
    return path
