"""Recordings that other programs have rewritten, sorted or joined, and files that are no recording of an agent."""

from __future__ import annotations

from pathlib import Path

import pytest
from mcap.opcode import Opcode
from mcap.writer import CompressionType, IndexType, Writer
from recordings import Made, attempt, changed, metadata_of, numbers

from robot_wm.errors import UserError
from robot_wm.replay.recording import read_recording
from robot_wm.runtime.tick_log import METADATA, TickLog
from robot_wm.spec import AgentSpec


def write_otherwise(path: Path, spec: AgentSpec, metadata: dict[str, dict[str, str]], message=None, **options) -> Path:
    """The same ticks from another program, which may write an MCAP otherwise."""
    log = TickLog(spec)
    tick = log.tick.empty(1)
    with path.open("wb") as stream:
        writer = Writer(stream, **options)
        writer.start()
        schema = writer.register_schema("Tick", "ros2msg", b"")
        channel = writer.register_channel("/agent/tick", "cdr", schema)
        camera = writer.register_channel("/agent/image/camera", "cdr", schema)
        for n in range(3):
            tick["tick"] = n + 1
            writer.add_message(channel, n, message or tick.tobytes(), n, sequence=n)
        # An image whose tick is not there.
        writer.add_message(camera, 9, log.images["camera"].empty(1).tobytes(), 9, sequence=9)
        for name, values in metadata.items():
            writer.add_metadata(name, values)
        writer.finish()
    return path


@pytest.mark.parametrize("compression", list(CompressionType))
@pytest.mark.parametrize("options", [{}, {"chunk_size": 1}, {"index_types": IndexType.NONE, "use_statistics": False}])
def test_rewritten_recordings_are_read_and_their_damage_seen(tmp_path, make_spec, compression, options):
    spec = make_spec(image=True)
    metadata = {"other": {"a": "b"}, METADATA: metadata_of(spec) | {"more": "than we know"}}
    path = write_otherwise(tmp_path / "run.mcap", spec, metadata, compression=compression, **options)
    whole = Made(path.name, path.read_bytes(), read_recording(path))
    assert (numbers(whole.read), whole.read.images, whole.read.damage) == ([1, 2, 3], {"camera": {}}, ())
    begin, end = whole.chunks()[0]
    for at in range(begin + 49, end, 5):
        read = attempt(changed(whole, at, tmp_path), skip_damaged=False)
        assert isinstance(read, str) or read.ticks.tobytes() == whole.read.ticks.tobytes()


def test_a_recording_rewritten_without_chunks_is_read_and_its_checksum_looked_at(tmp_path, make_spec):
    """As with `mcap convert --chunked=false`."""
    spec = make_spec(image=True)
    metadata = {METADATA: metadata_of(spec)}
    path = write_otherwise(tmp_path / "run.mcap", spec, metadata, use_chunking=False, enable_data_crcs=True)
    whole = Made(path.name, path.read_bytes(), read_recording(path))
    assert whole.chunks() == []
    assert (numbers(whole.read), whole.read.images, whole.read.damage) == ([1, 2, 3], {"camera": {}}, ())
    messages = [(begin, end) for opcode, begin, end in whole.records() if opcode == Opcode.MESSAGE]
    for begin, end in messages:
        for at in (begin + 9, begin + 13, end - 1):
            read = attempt(changed(whole, at, tmp_path), skip_damaged=False)
            assert "the checksum of its messages is another one" in str(read) or "damaged" in str(read)
    lost = whole.data[: messages[1][0]] + whole.data[messages[1][1] :]
    path.write_bytes(lost)
    with pytest.raises(UserError, match="the checksum of its messages is another one"):
        read_recording(path)


def test_ticks_are_read_in_their_order_though_a_tool_sorted_them_by_time(tmp_path, make_spec):
    spec = make_spec()
    log, path = TickLog(spec), tmp_path / "run.mcap"
    tick = log.tick.empty(1)
    with path.open("wb") as stream:
        writer = Writer(stream)
        writer.start()
        channel = writer.register_channel("/agent/tick", "cdr", writer.register_schema("Tick", "ros2msg", b""))
        for n in (2, 0, 1):
            tick["tick"] = n + 1
            writer.add_message(channel, 10 - n, tick.tobytes(), 10 - n, sequence=n)
        writer.add_metadata(METADATA, metadata_of(spec))
        writer.finish()
    assert numbers(read_recording(path)) == [1, 2, 3]


@pytest.mark.parametrize("times", [1, 2])
def test_recordings_joined_into_one_file_are_refused(tmp_path, make_spec, times):
    """Ticks of both have the same numbers, and which bundle acted would be a guess."""
    spec = make_spec()
    log, path = TickLog(spec), tmp_path / "run.mcap"
    with path.open("wb") as stream:
        writer = Writer(stream)
        writer.start()
        for run in range(2):
            channel = writer.register_channel(
                "/agent/tick", "cdr", writer.register_schema("Tick", "ros2msg", b""), metadata={"run": str(run)}
            )
            for n in range(3):
                writer.add_message(channel, n, log.tick.empty(1).tobytes(), n, sequence=n)
            if run < times:
                writer.add_metadata(METADATA, metadata_of(spec) | {"created_utc": f"2036-07-1{run}"})
        writer.finish()
    named = "metadata 'robot_wm' is there twice" if times == 2 else "3 ticks are there twice"
    for skip_damaged in (False, True):
        with pytest.raises(UserError, match=f"{named}: recordings joined into one file"):
            read_recording(path, skip_damaged=skip_damaged)


@pytest.mark.parametrize(
    ("metadata", "options", "message"),
    [
        ({}, {}, r"run\.mcap: an MCAP file, but no recording of a robot_wm agent: no metadata 'robot_wm'"),
        ({"rosbag2": {}}, {}, "no metadata 'robot_wm'"),
        ({METADATA: {}}, {}, r"run\.mcap: spec: Field required"),
        ({METADATA: {"format": "2"}}, {}, r"run\.mcap: format: .*'2'"),
        (None, {"message": b"\0\1\0\0abc"}, "run.mcap: /agent/tick: a message of 7 bytes, CDR_LE of"),
    ],
)
def test_foreign_files_are_refused(tmp_path, make_spec, metadata, options, message):
    spec = make_spec(image=True)
    metadata = {METADATA: metadata_of(spec)} if metadata is None else metadata
    path = write_otherwise(tmp_path / "run.mcap", spec, metadata, **options)
    with pytest.raises(UserError, match=message):
        read_recording(path)
