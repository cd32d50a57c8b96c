"""Reads the ticks of a recording back, whole or what a crash has left of it.

Shape letters: N ticks of the recording.
"""

from __future__ import annotations

import fcntl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from mcap.opcode import Opcode
from mcap.records import Channel, DataEnd, Message, MessageIndex, Metadata, Statistics
from mcap.writer import MCAP0_MAGIC
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.replay.mcap_records import DAMAGE, HEAD, Budget, TooMuchError, framed, parse
from robot_wm.runtime.cdr import MessageLayout, Records
from robot_wm.runtime.mcap_file import PART
from robot_wm.runtime.tick_log import METADATA, TICK_TOPIC, RecordingInfo, TickLog
from robot_wm.spec import AgentSpec

_JOINED = "recordings joined into one file, which have to be imported one by one"


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
    except TooMuchError as error:
        raise UserError(f"{path}: {error}; no recording does") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    if content.metadata is None:
        raise UserError(
            f"{path}: an MCAP file, but no recording of a robot_wm agent: no metadata {METADATA!r}"
            " (`mcap filter` keeps it with --include-metadata)"
        )
    info, spec = RecordingInfo.checked(content.metadata, origin=str(path))
    log = TickLog(spec)
    # In their order, which a tool that sorts by time may have changed: the system clock can go back.
    tick_messages = sorted(content.messages.get(TICK_TOPIC, []), key=lambda message: message.sequence)
    place = {message.sequence: n for n, message in enumerate(tick_messages)}
    if len(place) < len(tick_messages):
        raise UserError(f"{path}: {len(tick_messages) - len(place)} ticks are there twice: {_JOINED}")
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
    budget = Budget.of_file(size)

    def bad(what: str, *, foreseen: bool = False) -> None:
        if not (foreseen or skip_damaged):
            raise UserError(f"{path}: {what} (skip_damaged / --skip-damaged leaves it out)")
        content.damage.append(what)

    for opcode, begin, body, crc in framed(file, size, budget):
        end = begin + HEAD.size + len(body)
        if opcode == Opcode.FOOTER:
            finished = True
            if (rest := file.read()) != MCAP0_MAGIC:
                bad("does not end as an MCAP file", foreseen=is_part and MCAP0_MAGIC.startswith(rest))
            break
        try:
            records = list(parse(opcode, body, budget))
        except DAMAGE as error:
            bad(f"damaged at byte {begin}, {len(body)} bytes: {' '.join(str(error).split())[:120]}")
            continue
        for record in records:
            if isinstance(record, Metadata) and record.name == METADATA:
                if content.metadata not in (None, record.metadata):
                    raise UserError(f"{path}: metadata {METADATA!r} is there twice: {_JOINED}")
                content.metadata = record.metadata
            elif isinstance(record, Channel):
                topics.setdefault(record.id, record.topic)  # the first is in a chunk, which has a checksum
            elif isinstance(record, DataEnd):
                if record.data_section_crc not in (0, crc):
                    bad("the checksum of its messages is another one")
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
