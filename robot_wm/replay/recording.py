"""Reads the ticks of a recording back, whole or what a crash has left of it.

Shape letters: N ticks of the recording.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
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
from robot_wm.runtime.tick_log import IMAGE_TOPICS, METADATA, TICK_TOPIC, RecordingInfo, TickLog
from robot_wm.spec import AgentSpec

_OURS = (TICK_TOPIC, IMAGE_TOPICS)
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
    numbers: NDArray[np.int64]  # [N] of the ticks in the recording, of which the file may be a part; ascending

    @cached_property
    def id(self) -> str:
        """What tells the recording from any other, however its file was rewritten; where it has no id, its content."""
        if self.info.recording_id:
            return self.info.recording_id
        said = f"{self.info.spec_hash} {self.info.bundle_sha256} {self.info.created_utc}"
        return hashlib.sha256(said.encode() + self.ticks.tobytes()).hexdigest()


@dataclass
class _Content:
    """What was found in a file, by topic, before it is known what its messages are."""

    metadata: dict[str, str] | None = None
    topics: set[str] = field(default_factory=set)
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
    log = TickLog(spec, form=info.format)
    _require_topics([TICK_TOPIC, *(topic.name for topic in log.image_topics.values())], content, path)
    # In their order, which a tool that sorts by time may have changed: the system clock can go back.
    tick_messages = sorted(_once(content, TICK_TOPIC), key=lambda message: message.sequence)
    place = {message.sequence: n for n, message in enumerate(tick_messages)}
    if len(tick_messages) > 1 and set(place) == {0}:
        raise UserError(f"{path}: a tool has written it without its messages' sequence numbers, which tell ticks apart")
    if len(place) < len(tick_messages):
        raise UserError(f"{path}: {len(tick_messages) - len(place)} ticks are there twice: {_JOINED}")
    images = {}
    for name, topic in log.image_topics.items():
        found = [message for message in _once(content, topic.name) if message.sequence in place]
        data = _records(found, log.images[name], path, topic.name)["data"]
        images[name] = {place[message.sequence]: data[n] for n, message in enumerate(found)}
    ticks = _records(tick_messages, log.tick, path, TICK_TOPIC)
    return TickRecording(info, spec, log, ticks, images, tuple(content.damage), np.array(list(place), np.int64))


def _require_topics(names: Sequence[str], content: _Content, path: Path) -> None:
    """Refuse a file that lacks a topic altogether: ticks would be none, or without their pictures, in silence."""
    lacks = [name for name in names if name not in content.topics]
    if lacks and not content.damage:
        there = ", ".join(sorted(content.topics)[:20]) or "none"
        raise UserError(f"{path}: no topic {lacks[0]} (there: {there}): was it renamed, or filtered out?")


def _once(content: _Content, topic: str) -> list[Message]:
    """A topic's messages; what pieces of one recording that were joined again have in common is taken once."""
    messages = content.messages.get(topic, [])
    if not (content.metadata or {}).get("recording_id"):
        return messages  # ticks of other recordings could be the same
    return list({(message.sequence, message.data): message for message in messages}.values())


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
    indexed = missing = seen = 0  # messages
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
                missing = max(missing, record.message_count - seen)
            elif isinstance(record, MessageIndex):  # behind its chunk, which cannot be seen without its opcode
                indexed += len(record.records)
                missing = max(missing, indexed - seen)
            elif isinstance(record, Message):
                seen += 1
                # What was recorded beside the ticks may be more than memory holds.
                if topics.get(record.channel_id, TICK_TOPIC).startswith(_OURS):
                    messages.append(record)
    if missing and not content.damage:
        bad(f"{missing} of {seen + missing} messages are missing")
    content.topics = set(topics.values())
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
