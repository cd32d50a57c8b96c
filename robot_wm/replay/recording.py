"""Reads the ticks of a recording back, whole or what a crash has left of it.

Shape letters: N ticks of the recording.
"""

from __future__ import annotations

import fcntl
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, McapRecord, Message, MessageIndex, Metadata, Statistics
from mcap.stream_reader import breakup_chunk
from mcap.writer import MCAP0_MAGIC
from numpy.typing import NDArray
from zstandard import ZstdError

from robot_wm.errors import UserError
from robot_wm.runtime.cdr import MessageLayout, Records
from robot_wm.runtime.mcap_file import PART
from robot_wm.runtime.tick_log import METADATA, TICK_TOPIC, RecordingInfo, TickLog
from robot_wm.spec import AgentSpec

_HEAD = struct.Struct("<BQ")  # of an MCAP record: opcode, bytes that follow
# What comes of parsing bytes that are not what they were.
_DAMAGE = (
    McapError,
    ZstdError,
    struct.error,
    ValueError,
    KeyError,
    RuntimeError,
    MemoryError,
    OverflowError,
    EOFError,
    zlib.error,
)


@dataclass(frozen=True)
class TickRecording:
    """N ticks in the order in which they were recorded."""

    info: RecordingInfo
    spec: AgentSpec
    log: TickLog
    ticks: Records  # [N] records of ``log.tick``
    images: dict[str, dict[int, NDArray[np.uint8]]]  # field -> tick's place in ``ticks`` -> [H, W, C]
    damage: tuple[str, ...]  # what could not be read, in words


@dataclass
class _Content:
    """What was found in a file, by topic, before it is known what its messages are."""

    metadata: dict[str, str] | None = None
    messages: dict[str, list[Message]] = field(default_factory=dict)
    damage: list[str] = field(default_factory=list)


def read_recording(path: Path, *, skip_damaged: bool = False) -> TickRecording:
    """Read the ticks of an ``.mcap`` file, or of the ``.mcap.part`` file that a crash has left.

    A ``.part`` file is read as far as it goes, and ``damage`` says how far that is. Any other file that is cut off or
    damaged is refused (UserError naming the byte) unless ``skip_damaged``: then ``damage`` names what was left out.
    """
    try:
        with path.open("rb") as file:
            _require_finished(file, path)
            content = _read(file, path, skip_damaged=skip_damaged)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    if content.metadata is None:
        raise UserError(f"{path}: an MCAP file, but no recording of a robot_wm agent: no metadata {METADATA!r}")
    info, spec = RecordingInfo.checked(content.metadata, origin=str(path))
    log = TickLog(spec)
    tick_messages = content.messages.get(TICK_TOPIC, [])
    place = {message.sequence: n for n, message in enumerate(tick_messages)}
    images = {}
    for name, topic in log.image_topics.items():
        found = [message for message in content.messages.get(topic.name, []) if message.sequence in place]
        data = _records(found, log.images[name], path, topic.name)["data"]
        images[name] = {place[message.sequence]: data[n] for n, message in enumerate(found)}
    ticks = _records(tick_messages, log.tick, path, TICK_TOPIC)
    return TickRecording(info, spec, log, ticks, images, tuple(content.damage))


def _require_finished(file: IO[bytes], path: Path) -> None:
    """Refuse a file that a recorder on this machine is still writing: imported now, it would be there twice later."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # goes when the file is closed
    except BlockingIOError:
        raise UserError(f"{path}: is still being recorded") from None
    except OSError:  # a file system without locks
        return


def _records(messages: Sequence[Message], layout: MessageLayout, path: Path, topic: str) -> Records:
    try:
        return layout.read([message.data for message in messages])
    except ValueError as error:
        raise UserError(f"{path}: {topic}: {error}") from None


def _read(file: IO[bytes], path: Path, *, skip_damaged: bool) -> _Content:
    content, messages, topics = _Content(), list[Message](), dict[int, str]()
    size = file.seek(0, 2)
    file.seek(0)
    if file.read(len(MCAP0_MAGIC)) != MCAP0_MAGIC:
        raise UserError(f"{path}: not an MCAP file")
    end, finished, is_part = len(MCAP0_MAGIC), False, path.suffix == PART
    indexed = missing = 0  # messages

    def bad(what: str, *, foreseen: bool = False) -> None:
        if not (foreseen or skip_damaged):
            raise UserError(f"{path}: {what} (skip_damaged / --skip-damaged leaves it out)")
        content.damage.append(what)

    for opcode, begin, body in _framed(file, size):
        end = begin + _HEAD.size + len(body)
        if opcode == Opcode.FOOTER:
            finished = True
            if (rest := file.read()) != MCAP0_MAGIC:
                bad("does not end as an MCAP file", foreseen=is_part and MCAP0_MAGIC.startswith(rest))
            break
        try:
            records = _parse(opcode, body)
        except _DAMAGE as error:
            bad(f"damaged at byte {begin}, {len(body)} bytes: {' '.join(str(error).split())[:120]}")
            continue
        for record in records:
            if isinstance(record, Metadata) and record.name == METADATA:
                content.metadata = record.metadata
            elif isinstance(record, Channel):
                topics.setdefault(record.id, record.topic)  # the first is in a chunk, which has a checksum
            elif isinstance(record, Statistics):
                missing = max(missing, record.message_count - len(messages))
            elif isinstance(record, MessageIndex):  # behind its chunk, which cannot be seen without its opcode
                indexed += len(record.records)
                missing = max(missing, indexed - len(messages))
            elif isinstance(record, Message):
                messages.append(record)
    if missing and not content.damage:
        bad(f"{missing} of {len(messages) + missing} messages are missing")
    # Only now: where the first chunk is damaged, the channels' second copy is behind the last one.
    for message in messages:
        content.messages.setdefault(topics.get(message.channel_id, ""), []).append(message)
    if "" in content.messages:
        bad(f"nothing in it says what {len(content.messages[''])} of its messages are")
    if not finished:
        bad(
            f"was never finished; its first {end} of {size} bytes are whole, what came behind (0.5 s or so) is lost",
            foreseen=is_part,
        )
    return content


def _framed(file: IO[bytes], size: int) -> Iterator[tuple[int, int, bytes]]:
    """Opcode, place and body of each record, as long as they are whole."""
    while True:
        begin = file.tell()
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return
        opcode, length = _HEAD.unpack(head)
        if length > size - file.tell():
            return
        yield opcode, begin, file.read(length)


def _parse(opcode: int, body: bytes) -> Sequence[McapRecord]:
    stream = ReadDataStream(BytesIO(body))
    if opcode == Opcode.CHUNK:
        return breakup_chunk(Chunk.read(stream), validate_crc=True)
    if opcode == Opcode.CHANNEL:
        return [Channel.read(stream)]
    if opcode == Opcode.METADATA:
        return [Metadata.read(stream)]
    if opcode == Opcode.STATISTICS:
        return [Statistics.read(stream)]
    if opcode == Opcode.MESSAGE_INDEX:
        return [MessageIndex.read(stream)]
    return []
