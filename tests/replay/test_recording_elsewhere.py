"""Recordings that other programs have rewritten, sorted or joined, and files that are no recording of an agent."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from mcap.opcode import Opcode
from mcap.reader import make_reader
from mcap.writer import CompressionType, IndexType, Writer
from recordings import Made, attempt, changed, metadata_of, numbers
from stories import BEGIN_NS, PERIOD_NS, tell, write

from robot_wm.errors import UserError
from robot_wm.replay.mcap_import import import_recording
from robot_wm.replay.recording import read_recording
from robot_wm.replay.store import EpisodeStore
from robot_wm.runtime.mcap_file import McapFile
from robot_wm.runtime.tick_log import METADATA, TickLog, Topic
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


def rewrite(path: Path, parts: list[tuple[Path, Callable]], metadata: list[Path] | None = None, **options) -> Path:
    """Messages of ``parts`` for which the function is true, by log time, as `mcap merge` and `mcap filter` write them.

    The function may say under which topic. Metadata is of all parts, each once, unless ``metadata`` names some.
    """
    found, records = [], []
    for part, wanted in parts:
        with part.open("rb") as stream:
            reader = make_reader(stream)
            found += [
                (message, channel, schema, topic if isinstance(topic, str) else channel.topic)
                for schema, channel, message in reader.iter_messages()
                if (topic := wanted(channel.topic, message))
            ]
    for part in [part for part, _ in parts] if metadata is None else metadata:
        with part.open("rb") as stream:
            records += [record for record in make_reader(stream).iter_metadata() if record not in records]
    with path.open("wb") as stream:
        writer = Writer(stream, **options)
        writer.start("ros2")
        channels: dict[str, int] = {}
        for message, channel, schema, topic in sorted(found, key=lambda entry: entry[0].log_time):
            if topic not in channels:
                kind = writer.register_schema(schema.name, schema.encoding, schema.data)
                channels[topic] = writer.register_channel(topic, channel.message_encoding, kind)
            writer.add_message(
                channels[topic], message.log_time, message.data, message.publish_time, sequence=message.sequence
            )
        writer.add_attachment(0, 0, "notes.txt", "text/plain", b"by a tool")
        for record in records:
            writer.add_metadata(record.name, record.metadata)
        writer.finish()
    return path


def everything(topic, message):
    return True


def at(begin: float, end: float):
    """Messages whose samples came in these periods of a story."""
    start_ns = BEGIN_NS + 1_000_000
    return lambda topic, message: begin * PERIOD_NS <= message.log_time - start_ns < end * PERIOD_NS


@pytest.fixture
def whole(tmp_path) -> Path:
    return write(tmp_path / "whole.mcap", tell("." * 40, recording_id="a" * 32))


@pytest.mark.parametrize("compression", list(CompressionType))
def test_pieces_that_overlap_are_joined_to_what_they_were(tmp_path, whole, compression):
    pieces = [
        rewrite(tmp_path / f"{n}.mcap", [(whole, at(*cut))]) for n, cut in enumerate([(0, 20), (15, 33), (30, 99)])
    ]
    joined = rewrite(tmp_path / "joined.mcap", [(piece, everything) for piece in pieces], compression=compression)
    read, original = read_recording(joined), read_recording(whole)
    assert (read.id, read.damage) == (original.id, ())
    assert read.ticks.tobytes() == original.ticks.tobytes()
    assert sorted(read.images["camera"]) == list(range(40))
    # Each piece, and all of them, into one store: no tick twice, none lost but those that stand alone.
    results = [import_recording(path, tmp_path / "store") for path in (*pieces, joined)]
    assert [result.added for result in results] == [1, 1, 1, 0]
    assert EpisodeStore.open(tmp_path / "store").index.steps.tolist() == [20, 13, 7]


def test_a_piece_cut_out_begins_where_it_was(tmp_path, whole):
    cut = read_recording(rewrite(tmp_path / "cut.mcap", [(whole, at(10, 20))]))
    assert (cut.numbers.tolist(), numbers(cut)) == (list(range(10, 20)), list(range(11, 21)))


@pytest.mark.parametrize("keep", [[0], [1], None])
def test_recordings_of_two_robots_in_one_file_are_refused_whatever_is_left_of_their_metadata(tmp_path, keep):
    left = write(tmp_path / "left.mcap", tell("." * 9, recording_id="a" * 32))
    right_ticks = tell("." * 20, recording_id="b" * 32)
    right_ticks.ticks["surprise"] = 7
    right = write(tmp_path / "right.mcap", right_ticks)
    metadata = None if keep is None else [(left, right)[n] for n in keep]
    joined = rewrite(tmp_path / "joined.mcap", [(left, everything), (right, everything)], metadata)
    named = "metadata 'robot_wm' is there twice" if keep is None else "9 ticks are there twice"
    with pytest.raises(
        UserError, match=f"{named}: recordings joined into one file, which have to be imported one by one"
    ):
        read_recording(joined)


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("/agent/tick", r"no topic /agent/tick \(there: /agent/image/camera\): was it renamed, or filtered out\?"),
        ("/agent/image/camera", r"no topic /agent/image/camera \(there: /agent/tick\)"),
    ],
)
def test_a_topic_that_is_gone_or_renamed_is_named(tmp_path, whole, gone, message):
    filtered = rewrite(tmp_path / "filtered.mcap", [(whole, lambda topic, _: topic != gone)])
    with pytest.raises(UserError, match=f"filtered.mcap: {message}"):
        read_recording(filtered)
    renamed = rewrite(
        tmp_path / "renamed.mcap", [(whole, lambda topic, _: f"/left{topic}" if topic == gone else topic)]
    )
    with pytest.raises(UserError, match=f"no topic {gone} .*/left{gone}"):
        read_recording(renamed)


def test_a_file_without_sequence_numbers_is_told(tmp_path, make_spec):
    """The mcap package's writer gives zero unless it is told them."""
    spec, path = make_spec(), tmp_path / "run.mcap"
    with path.open("wb") as stream:
        writer = Writer(stream)
        writer.start()
        channel = writer.register_channel("/agent/tick", "cdr", writer.register_schema("Tick", "ros2msg", b""))
        for n in range(3):
            writer.add_message(channel, n, TickLog(spec).tick.empty(1).tobytes(), n)
        writer.add_metadata(METADATA, metadata_of(spec))
        writer.finish()
    with pytest.raises(UserError, match=r"run\.mcap: a tool has written it without its messages' sequence numbers"):
        read_recording(path)


def test_a_cut_in_which_no_tick_is_is_told(tmp_path, whole):
    with pytest.raises(UserError, match=r"no topic /agent/tick \(there: none\)"):
        read_recording(rewrite(tmp_path / "cut.mcap", [(whole, at(1000, 2000))]))


def test_what_is_recorded_beside_is_never_all_in_memory(tmp_path, make_spec):
    """100 pictures of 1 MiB: 100 MiB, of which a chunk at a time is read."""
    spec = make_spec()
    log, path = TickLog(spec), tmp_path / "run.mcap"
    topics = (log.tick_topic, Topic("/camera", "sensor_msgs/msg/Image", "uint8[] data\n"))
    file = McapFile(path, topics, library="test", metadata={METADATA: metadata_of(spec)})
    for n in range(100):
        file.add(0, log.tick.empty(1).tobytes(), sequence=n, log_ns=n, publish_ns=n)
        file.add(1, bytes(2**20), sequence=n, log_ns=n, publish_ns=n)
        file.flush()
    file.close()
    tracemalloc.start()
    try:
        read = read_recording(path)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (len(read.ticks), read.damage) == (100, ())
    assert most_bytes < 20 * 2**20


@pytest.mark.parametrize(
    ("metadata", "options", "message"),
    [
        ({}, {}, r"run\.mcap: an MCAP file, but no recording of a robot_wm agent: no metadata 'robot_wm'"),
        ({"rosbag2": {}}, {}, "no metadata 'robot_wm'"),
        ({METADATA: {}}, {}, r"run\.mcap: spec: Field required"),
        ({METADATA: {"format": "3"}}, {}, r"run\.mcap: format: .*'3'"),
        (None, {"message": b"\0\1\0\0abc"}, "run.mcap: /agent/tick: a message of 7 bytes, CDR_LE of"),
    ],
)
def test_foreign_files_are_refused(tmp_path, make_spec, metadata, options, message):
    spec = make_spec(image=True)
    metadata = {METADATA: metadata_of(spec)} if metadata is None else metadata
    path = write_otherwise(tmp_path / "run.mcap", spec, metadata, **options)
    with pytest.raises(UserError, match=message):
        read_recording(path)
