"""The records of an MCAP file (https://mcap.dev/spec), in chunks or without, with an end to what they unpack to.

The mcap package's reader believes a chunk's sizes and reads what is no record byte by byte; this does neither.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import IO

import lz4.frame
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, DataEnd, McapRecord, Message, MessageIndex, Metadata, Statistics
from mcap.writer import MCAP0_MAGIC

HEAD = struct.Struct("<BQ")  # of a record: opcode, bytes that follow
_MESSAGE = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
# What comes of parsing bytes that are not what they were.
DAMAGE = (
    McapError,
    zstandard.ZstdError,
    struct.error,
    ValueError,
    KeyError,
    RuntimeError,
    MemoryError,
    OverflowError,
    EOFError,
    zlib.error,
)

MAX_CHUNK_BYTES = 2**28  # unpacked; the usual writers make chunks of 1 to 8 MiB, ours of half a second
MAX_UNPACKED_BYTES = 2**30  # of a small file in all
MAX_GROWTH = 64  # of a larger one: bytes unpacked for each of the file's
MAX_RECORDS = 2**23  # in all: two hours of 1 kHz
_MAX_WINDOW_BYTES = 2**27
_READERS: Mapping[int, Callable[[ReadDataStream], McapRecord]] = {
    Opcode.CHANNEL: Channel.read,
    Opcode.METADATA: Metadata.read,
    Opcode.STATISTICS: Statistics.read,
    Opcode.MESSAGE_INDEX: MessageIndex.read,
    Opcode.DATA_END: DataEnd.read,
}
_PRIVATE = 0x80  # opcodes from here on are an application's own, and skipped


class TooMuchError(Exception):
    """A file unpacks to more than any recording does; nothing behind that is read."""


@dataclass
class Budget:
    """What a file may still unpack to."""

    unpacked_bytes: int
    records: int = MAX_RECORDS

    @classmethod
    def of_file(cls, size_bytes: int) -> Budget:
        """For a file of that size."""
        return cls(max(MAX_UNPACKED_BYTES, MAX_GROWTH * size_bytes))

    def take(self, *, unpacked_bytes: int = 0, records: int = 0) -> None:
        """Raise TooMuchError where nothing is left."""
        self.unpacked_bytes -= unpacked_bytes
        self.records -= records
        if self.unpacked_bytes < 0:
            raise TooMuchError(f"unpacks to more than {MAX_UNPACKED_BYTES >> 20} MiB and {MAX_GROWTH} times its size")
        if self.records < 0:
            raise TooMuchError(f"has more than {MAX_RECORDS} records")


def framed(file: IO[bytes], size: int, budget: Budget) -> Iterator[tuple[int, int, bytes, int]]:
    """Each record behind the magic, as long as they are whole: opcode, place, body, CRC-32 of all before it."""
    crc = zlib.crc32(MCAP0_MAGIC)
    while True:
        begin = file.tell()
        head = file.read(HEAD.size)
        if len(head) < HEAD.size:
            return
        opcode, length = HEAD.unpack(head)
        if length > size - file.tell():
            return
        budget.take(records=1)
        body = file.read(length)
        yield opcode, begin, body, crc
        crc = zlib.crc32(body, zlib.crc32(head, crc))


def parse(opcode: int, body: bytes, budget: Budget) -> Iterator[McapRecord]:
    """What a record holds of what a recording is made of; raises one of ``DAMAGE``, or TooMuchError."""
    if opcode == Opcode.CHUNK:
        yield from _in_chunk(Chunk.read(ReadDataStream(BytesIO(body))), budget)
    elif opcode == Opcode.MESSAGE:  # a file need not have chunks
        yield _message(memoryview(body))
    elif opcode in _READERS:
        yield _READERS[opcode](ReadDataStream(BytesIO(body)))


def _in_chunk(chunk: Chunk, budget: Budget) -> Iterator[McapRecord]:
    data = _unpacked(chunk, budget)
    if chunk.uncompressed_crc and zlib.crc32(data) != chunk.uncompressed_crc:
        raise ValueError("its checksum is another one")
    view, at, found = memoryview(data), 0, list[McapRecord]()
    while at < len(view):
        opcode, length = HEAD.unpack_from(view, at)
        begin, at = at + HEAD.size, at + HEAD.size + length
        if at > len(view):
            raise ValueError(f"a record ends {at - len(view)} bytes behind its chunk")
        budget.take(records=1)
        if opcode == Opcode.MESSAGE:
            found.append(_message(view[begin:at]))
        elif opcode == Opcode.CHANNEL:
            found.append(Channel.read(ReadDataStream(BytesIO(view[begin:at]))))
        elif opcode != Opcode.SCHEMA and opcode < _PRIVATE:
            raise ValueError(f"a record of kind {opcode} is in a chunk")
    yield from found  # all or nothing of a chunk


def _message(view: memoryview) -> Message:
    channel, sequence, log_time, publish_time = _MESSAGE.unpack_from(view)
    data = bytes(view[_MESSAGE.size :])
    return Message(channel_id=channel, sequence=sequence, log_time=log_time, publish_time=publish_time, data=data)


def _unpacked(chunk: Chunk, budget: Budget) -> bytes:
    size = chunk.uncompressed_size
    if size > MAX_CHUNK_BYTES:
        raise TooMuchError(f"has a chunk of {size >> 20} MiB unpacked; at most {MAX_CHUNK_BYTES >> 20} MiB is read")
    budget.take(unpacked_bytes=size)
    if chunk.compression == "zstd":
        # Its frame may say another size, which would be allocated.
        if zstandard.frame_content_size(chunk.data) not in (-1, size):
            raise ValueError("its frame says another size")
        decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES)
        data = decompressor.decompress(chunk.data, max_output_size=size) if size else b""
    elif chunk.compression == "lz4":
        data = lz4.frame.LZ4FrameDecompressor().decompress(chunk.data, max_length=size + 1)
    elif chunk.compression in ("", "none"):
        data = chunk.data
    else:
        raise ValueError(f"compression {chunk.compression[:20]!r} is not known")
    if len(data) != size:
        raise ValueError(f"it unpacks to {len(data)} bytes, not {size}")
    return bytes(data)
