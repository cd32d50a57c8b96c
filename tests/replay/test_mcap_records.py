"""What an MCAP file unpacks to has an end, whatever its chunks say of themselves."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

import lz4.frame
import pytest
import zstandard
from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import Chunk, Message
from mcap.writer import MCAP0_MAGIC

from robot_wm.errors import UserError
from robot_wm.replay import mcap_records
from robot_wm.replay.mcap_records import DAMAGE, Budget, TooMuchError, framed, parse
from robot_wm.replay.recording import read_recording


def message(data: bytes = b"x", *, sequence: int = 0) -> bytes:
    body = struct.pack("<HIQQ", 1, sequence, 5, 6) + data
    return struct.pack("<BQ", Opcode.MESSAGE, len(body)) + body


def chunk(data: bytes, *, compression: str = "zstd", size: int | None = None, packed: bytes | None = None) -> bytes:
    if packed is None:
        packed = {"zstd": zstandard.compress, "lz4": lz4.frame.compress}.get(compression, bytes)(data)
    record = Chunk(
        compression=compression, data=packed, message_end_time=9, message_start_time=0,
        uncompressed_crc=zlib.crc32(data), uncompressed_size=len(data) if size is None else size,
    )  # fmt: skip
    builder = RecordBuilder()
    record.write(builder)
    return bytes(builder.end())


def read(record: bytes, budget: Budget | None = None) -> list:
    return list(parse(record[0], record[9:], budget or Budget.of_file(0)))


@pytest.mark.parametrize("compression", ["zstd", "lz4", ""])
def test_messages_come_out_of_a_chunk_as_they_went_in(compression):
    content = message(b"a", sequence=3) + struct.pack("<BQ", 0x81, 2) + b"??" + message(b"", sequence=4)
    found = read(chunk(content, compression=compression))
    assert found == [
        Message(channel_id=1, sequence=3, log_time=5, publish_time=6, data=b"a"),
        Message(channel_id=1, sequence=4, log_time=5, publish_time=6, data=b""),
    ]


def read_all(file: BytesIO, budget: Budget) -> list:
    return [
        record
        for opcode, _, body, _ in framed(file, len(file.getvalue()), budget)
        for record in parse(opcode, body, budget)
    ]


BOMB = bytes(2**20)


@pytest.mark.parametrize(
    ("record", "error", "words"),
    [
        (chunk(BOMB), DAMAGE, "a record of kind 0 is in a chunk"),
        (chunk(b"", size=2**29), TooMuchError, "has a chunk of 512 MiB unpacked; at most 256 MiB"),
        (chunk(BOMB, size=9), DAMAGE, "its frame says another size"),
        (chunk(BOMB, size=9, compression="lz4"), DAMAGE, "it unpacks to 10 bytes, not 9"),
        (chunk(BOMB, size=9, compression=""), DAMAGE, "it unpacks to 1048576 bytes, not 9"),
        (chunk(message(), size=10**6, compression="lz4"), DAMAGE, "it unpacks to 32 bytes, not 1000000"),
        (chunk(message(), compression="brotli"), DAMAGE, "compression 'brotli' is not known"),
        (chunk(message()[:-1]), DAMAGE, "a record ends 1 bytes behind its chunk"),
        (chunk(struct.pack("<BQ", Opcode.MESSAGE, 2**63)), DAMAGE, "bytes behind its chunk"),
        (chunk(chunk(message())), DAMAGE, "a record of kind 6 is in a chunk"),
    ],
)
def test_a_chunk_that_says_what_is_not_so_is_refused(record, error, words):
    with pytest.raises(error, match=words):
        read(record)


def test_a_zstd_frame_without_its_size_is_held_to_the_chunks():
    packed = zstandard.ZstdCompressor(write_content_size=False).compress(BOMB)
    with pytest.raises(DAMAGE):
        read(chunk(BOMB, packed=packed, size=9))
    content = message(b"a" * 999)
    packed = zstandard.ZstdCompressor(write_content_size=False).compress(content)
    assert len(read(chunk(content, packed=packed))) == 1


def test_many_chunks_share_one_budget():
    record = chunk(message(bytes(2**20)))
    budget = Budget.of_file(0)
    for _ in range(2**10 - 1):
        read(record, budget)
    with pytest.raises(TooMuchError, match="unpacks to more than 1024 MiB and 64 times its size"):
        read(record, budget)
    assert Budget.of_file(2**30).unpacked_bytes == 2**36


@pytest.mark.parametrize("packed", [True, False])
def test_records_have_an_end_in_chunks_and_outside(monkeypatch, packed):
    monkeypatch.setattr(mcap_records, "MAX_RECORDS", 100)
    content = message() * 101
    file = BytesIO(MCAP0_MAGIC + (chunk(content) if packed else content))
    file.seek(len(MCAP0_MAGIC))
    with pytest.raises(TooMuchError, match="has more than 100 records"):
        read_all(file, Budget(2**30, records=100))


def test_a_bomb_is_one_line_also_where_damage_is_skipped(tmp_path: Path):
    path = tmp_path / "bomb.mcap"
    path.write_bytes(MCAP0_MAGIC + chunk(b"", size=2**40))
    for skip_damaged in (False, True):
        with pytest.raises(UserError, match=r"bomb\.mcap: has a chunk of .* MiB unpacked; .* no recording does"):
            read_recording(path, skip_damaged=skip_damaged)
