"""A recording is read as it was written or refused in words, wherever it ends and whatever byte has changed.

Chunks of messages have checksums, nothing else has one that is looked at. What else says that something is wrong: how
many messages there should be (statistics, and an index behind each chunk), the hash of the AgentSpec, and lengths.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcap.opcode import Opcode
from mcap.writer import MCAP0_MAGIC
from recordings import Made, attempt, changed, metadata_of, numbers

from robot_wm.errors import UserError
from robot_wm.replay.recording import read_recording
from robot_wm.runtime.mcap_file import McapFile
from robot_wm.runtime.tick_log import METADATA, TickLog, log_message
from robot_wm.spec import AgentSpec

TICKS, TICKS_A_CHUNK = 12, 4
KINDS = ("finished", "disk full", "killed")  # what files there are: with an index and statistics, without, without end

# Of the file's metadata: what can change unseen. No tick depends on any of it.
NO_CHECKSUM = {"bundle_sha256", "robot", "task", "created_utc", "robot_wm_version", "field_names", "spec"}
NO_CHECKSUM |= {"recording_id", "namespace", "agent", "host", "serial"}


def begin_file(path: Path, spec: AgentSpec, metadata: dict[str, str]) -> McapFile:
    """A file as the recorder makes it: topics with a first word in a chunk of their own, then chunks of ticks."""
    log = TickLog(spec)
    topics = (log.tick_topic, log.log_topic, *log.image_topics.values())
    file = McapFile(path, topics, library="test", metadata={METADATA: metadata})
    file.add(1, log_message(0, 20, "recording"), sequence=0, log_ns=0, publish_ns=0)
    file.flush()
    ticks, images = log.tick.empty(TICKS), log.images["camera"].empty(TICKS)
    for n in range(TICKS):
        rng = np.random.default_rng(n)
        ticks[n]["tick"], ticks[n]["observation.mark"] = n + 1, (7, n)
        ticks[n]["command"], ticks[n]["observation.angle"] = rng.normal(size=2), rng.normal(size=3)
        images[n]["data"] = rng.integers(0, 256, (4, 5, 3))
        file.add(0, ticks[n].tobytes(), sequence=n, log_ns=n, publish_ns=n)
        if n != 2:
            file.add(2, images[n].tobytes(), sequence=n, log_ns=n, publish_ns=n)
        if n % TICKS_A_CHUNK == TICKS_A_CHUNK - 1:
            file.flush()
    return file


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, make_spec) -> dict[str, Made]:
    spec = make_spec(image=True)
    files = {}
    for kind in KINDS:
        file = begin_file(tmp_path_factory.mktemp("made") / "run.mcap", spec, metadata_of(spec))
        {"finished": file.close, "disk full": file.cut_back, "killed": file.abandon}[kind]()
        path = file.part if kind == "killed" else file.path
        files[kind] = Made(path.name, path.read_bytes(), read_recording(path))
    return files


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_written_is_read(made, kind):
    read, finished = made[kind].read, made["finished"].read
    assert numbers(read) == list(range(1, TICKS + 1))
    assert read.ticks["observation.mark"].tolist() == [[7, n] for n in range(TICKS)]
    assert read.ticks.tobytes() == finished.ticks.tobytes()
    assert list(read.images["camera"]) == [n for n in range(TICKS) if n != 2]
    expected = np.random.default_rng(3)
    expected.normal(size=5)
    np.testing.assert_array_equal(read.images["camera"][3], expected.integers(0, 256, (4, 5, 3)))
    assert (read.info, read.spec) == (finished.info, finished.spec)
    size = len(made[kind].data)
    lost = f"was never finished; its first {size} of {size} bytes are whole, what came behind (0.5 s or so) is lost"
    assert read.damage == ((lost,) if kind == "killed" else ())


def expected_until(whole: Made, cut: int) -> list[int] | None:
    """Numbers of the ticks in the chunks that a cut leaves; None where it leaves no metadata."""
    if not any(opcode == Opcode.METADATA and end <= cut for opcode, _, end in whole.records()):
        return None
    chunks = sum(end <= cut for _, end in whole.chunks()[1:])
    return list(range(1, chunks * TICKS_A_CHUNK + 1))


def check_cut(whole: Made, cut: int, folder: Path) -> None:
    """A file that ends there: refused under its name, read up to there as what a crash has left."""
    path, part = folder / "cut.mcap", folder / "cut.mcap.part"
    for file in (path, part):
        file.write_bytes(whole.data[:cut])
    with pytest.raises(UserError, match=r"not an MCAP file|was never finished|does not end as an MCAP file"):
        read_recording(path)
    expected = expected_until(whole, cut)
    if expected is None:
        with pytest.raises(UserError, match=r"not an MCAP file|no metadata 'robot_wm'"):
            read_recording(part)
        return
    has_footer = any(opcode == Opcode.FOOTER and end <= cut for opcode, _, end in whole.records())
    for read in (read_recording(path, skip_damaged=True), read_recording(part)):
        assert numbers(read) == expected
        assert read.ticks.tobytes() == whole.read.ticks[: len(expected)].tobytes()
        assert list(read.images["camera"]) == [n for n in range(len(expected)) if n != 2]
        (damage,) = read.damage
        end = max((end for _, _, end in whole.records() if end <= cut), default=0)
        assert damage == "does not end as an MCAP file" if has_footer else f"first {end} of {cut} bytes" in damage


@given(cut=st.integers(0, 2**16))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_may_end_anywhere(made, tmp_path, cut):
    whole = made["finished"]
    check_cut(whole, cut % len(whole.data), tmp_path)


def test_a_file_may_end_at_a_record(made, tmp_path):
    whole = made["finished"]
    for _, begin, end in whole.records():
        for cut in (begin - 1, begin, begin + 1, begin + 8, begin + 9, end + 3):
            check_cut(whole, cut, tmp_path)


def test_a_crash_between_the_end_and_the_name(made, tmp_path):
    path = tmp_path / "run.mcap.part"
    path.write_bytes(made["finished"].data)
    read = read_recording(path)
    assert (len(read.ticks), read.damage) == (TICKS, ())
    # What is behind a footer and is no end is not what a crash leaves.
    path.write_bytes(made["finished"].data[:-1] + b"?")
    with pytest.raises(UserError, match="does not end as an MCAP file"):
        read_recording(path)


def check_changed(whole: Made, at: int, to: int, folder: Path) -> None:
    """With another byte there: refused, or told in `damage`, or nothing that a tick depends on."""
    path = folder / whole.name
    path.write_bytes(whole.data[:at] + bytes([to]) + whole.data[at + 1 :])
    sound = whole.read
    for skip_damaged in (False, True):
        read = attempt(path, skip_damaged=skip_damaged)
        if isinstance(read, str):
            assert read.startswith(str(path))
            continue
        # Whatever is read is as it was: ticks by their numbers, images with their ticks.
        places = [number - 1 for number in numbers(read)]
        assert places == sorted(set(places))
        assert [tick.tobytes() for tick in read.ticks] == [sound.ticks[place].tobytes() for place in places]
        for n, image in read.images["camera"].items():
            np.testing.assert_array_equal(image, sound.images["camera"][places[n]])
        told = set(read.damage) - set(sound.damage)
        if len(read.ticks) < TICKS or len(read.images["camera"]) < TICKS - 1:
            assert told
        if not skip_damaged:
            assert not told or whole.name.endswith(".part")
            assert places == list(range(len(places)))  # a file that a crash has left is read up to the damage
        assert {name for name, value in read.info if value != getattr(sound.info, name)} <= NO_CHECKSUM
        assert read.spec == sound.spec or read.spec.content_hash() == sound.spec.content_hash()


@given(kind=st.sampled_from(KINDS), at=st.integers(0, 2**16), flip=st.integers(1, 255))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_changed_byte_changes_a_tick_unseen(made, tmp_path, kind, at, flip):
    whole = made[kind]
    at %= len(whole.data)
    check_changed(whole, at, whole.data[at] ^ flip, tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_no_changed_head_of_a_record_changes_a_tick_unseen(made, tmp_path, kind):
    """Kinds and lengths have no checksum: every other kind there is, and the lowest and the highest bits of lengths."""
    whole = made[kind]
    for opcode, begin, _ in whole.records():
        if opcode in (Opcode.CHUNK, Opcode.METADATA):
            for other in {*Opcode, 0, 0x80} - {opcode}:
                check_changed(whole, begin, int(other), tmp_path)
        for at in (begin + 1, begin + 2, begin + 8):
            for bit in (0x01, 0x80):
                check_changed(whole, at, whole.data[at] ^ bit, tmp_path)
    # A chunk has its times, size, checksum, compression and another length before its bytes.
    begin, _ = whole.chunks()[2]
    for at in range(begin + 9, begin + 9 + 8 + 8 + 8 + 4 + 4 + 4 + 8):
        for bit in (0x01, 0x80):
            check_changed(whole, at, whole.data[at] ^ bit, tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_chunk_is_named_and_left_out(made, tmp_path, kind):
    whole = made[kind]
    begin, end = whole.chunks()[2]
    path = changed(whole, end - 20, tmp_path)
    where = f"damaged at byte {begin}, {end - begin - 9} bytes: "
    with pytest.raises(UserError, match=f"{whole.name}: {where}.*--skip-damaged"):
        read_recording(path)
    read = read_recording(path, skip_damaged=True)
    assert numbers(read) == [1, 2, 3, 4, 9, 10, 11, 12]
    assert list(read.images["camera"]) == [0, 1, 3, 4, 5, 6, 7]  # places among the ticks that are left
    np.testing.assert_array_equal(read.images["camera"][4], whole.read.images["camera"][8])
    assert read.damage[0].startswith(where)
    assert len(read.damage) == (2 if kind == "killed" else 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_chunk_that_is_taken_for_something_else_is_missed(made, tmp_path, kind):
    """Its index behind it tells, in files too that have no statistics; here even of the last chunk."""
    whole = made[kind]
    begin, _ = whole.chunks()[-1]
    path = changed(whole, begin, tmp_path)
    with pytest.raises(UserError, match="8 of 24 messages are missing"):
        read_recording(path)
    read = read_recording(path, skip_damaged=True)
    assert numbers(read) == list(range(1, 9))
    assert read.damage[0] == "8 of 24 messages are missing"


def test_what_the_first_chunk_says_of_topics_is_at_the_end_again(made, tmp_path):
    whole = made["finished"]
    begin, end = whole.chunks()[0]
    path = changed(whole, end - 5, tmp_path)
    with pytest.raises(UserError, match=f"damaged at byte {begin}, "):
        read_recording(path)
    read = read_recording(path, skip_damaged=True)
    assert read.ticks.tobytes() == whole.read.ticks.tobytes()
    assert len(read.damage) == 1
    # The first says more than the end, which has no checksum.
    at = whole.data.rindex(b"/agent/tick")
    check_changed(whole, at, whole.data[at] ^ 1, tmp_path)
    # Other files have no such end: then it is told that all is lost.
    begin, end = made["disk full"].chunks()[0]
    read = read_recording(changed(made["disk full"], end - 5, tmp_path), skip_damaged=True)
    assert len(read.ticks) == 0
    assert read.damage[1] == "nothing in it says what 23 of its messages are"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("bundle_sha256", "6" * 64, None),
        ("created_utc", "2020-01-01", None),
        ("robot", "other", None),
        ("field_names", "{}", None),
        ("spec", lambda spec: spec.replace('"frame": ""', '"frame": "x"'), None),
        ("spec", lambda spec: spec.replace('"topic": ""', '"topic": "x"'), None),
        ("spec", lambda spec: spec.replace('"toy"', '"joy"'), "spec_hash is "),
        ("spec", lambda spec: spec.replace('"rad"', '"deg"'), "spec_hash is "),
        ("spec", lambda spec: spec[:-1], "spec: "),
        ("spec_hash", "0" * 64, "spec_hash is 0000"),
        ("format", "3", "format: "),
    ],
)
def test_what_no_checksum_covers(tmp_path, make_spec, key, value, message):
    """The metadata's values but the AgentSpec's: of these the bundle's hash alone goes on, as who acted."""
    spec = make_spec(image=True)
    metadata = metadata_of(spec)
    metadata[key] = value(metadata[key]) if callable(value) else value
    file = begin_file(tmp_path / "run.mcap", spec, metadata)
    file.close()
    if message:
        with pytest.raises(UserError, match=f"run.mcap: {message}"):
            read_recording(file.path)
    else:
        read = read_recording(file.path)
        assert (len(read.ticks), read.damage, getattr(read.info, key)) == (TICKS, (), metadata[key])
        assert read.spec.content_hash() == spec.content_hash()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "run.mcap: not an MCAP file"),
        (b"text\n" * 9, "run.mcap: not an MCAP file"),
        (b"\x89MCAP1\r\n", "run.mcap: not an MCAP file"),
        (MCAP0_MAGIC, "run.mcap: was never finished; its first 8 of 8 bytes are whole"),
        (MCAP0_MAGIC + bytes(4), "run.mcap: was never finished; its first 8 of 12 bytes are whole"),
        (MCAP0_MAGIC + b"\x06" + b"\xff" * 8, "run.mcap: was never finished; its first 8 of 17 bytes are whole"),
    ],
)
def test_what_is_no_mcap_is_refused(tmp_path, data, message):
    (tmp_path / "run.mcap").write_bytes(data)
    with pytest.raises(UserError, match=message):
        read_recording(tmp_path / "run.mcap")
    with pytest.raises(UserError, match=r"not an MCAP file|no metadata"):
        read_recording(tmp_path / "run.mcap", skip_damaged=True)


def test_what_cannot_be_opened_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"none\.mcap: cannot be read: No such file or directory"):
        read_recording(tmp_path / "none.mcap")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_recording(tmp_path)


def test_a_file_that_is_still_written_is_refused(tmp_path, make_spec):
    spec = make_spec(image=True)
    file = begin_file(tmp_path / "run.mcap", spec, metadata_of(spec))
    for skip_damaged in (False, True):
        with pytest.raises(UserError, match=r"run\.mcap\.part: is still being recorded"):
            read_recording(file.part, skip_damaged=skip_damaged)
    file.close()
    assert len(read_recording(file.path).ticks) == TICKS
