"""Recordings of older versions are read as they were.

``data/format_1.mcap`` was written by robot_wm at commit 63e6c30, the last one with a message type for each AgentSpec,
as ``write(path, tell(STORY, recording_id=…))`` of `stories`: tick n says n in all that is in it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rosbags.highlevel import AnyReader
from stories import SPEC, TICKS, tell

from robot_wm.inspect.mcap_pieces import McapPieces
from robot_wm.replay.mcap_import import import_recording
from robot_wm.replay.recording import read_recording
from robot_wm.replay.store import EpisodeStore

GOLDEN = Path(__file__).parent / "data" / "format_1.mcap"
STORY = "......F...s......D.."
COUNT = sum(char in TICKS for char in STORY)


def test_an_older_recording_is_read_as_it_was():
    with AnyReader([GOLDEN]) as reader:
        assert "robot_wm_msgs/msg/Tick329F4E44" in {connection.msgtype for connection in reader.connections}
    read, told = read_recording(GOLDEN), tell(STORY)
    assert (read.info.format, read.id, read.spec) == ("1", "0" * 31 + "1", SPEC)
    n = np.arange(COUNT)
    assert read.ticks["observation.mark"].tolist() == np.stack([n, -n], axis=1).tolist()
    assert read.ticks["command"].tolist() == np.stack([n, np.full(COUNT, 0.5)], axis=1).tolist()
    assert [shown.flat[0] for shown in read.images["camera"].values()] == n.tolist()
    for name in ("tick", "header.stamp.nanosec", "receipt_ns", "fault_bits", "damp"):
        np.testing.assert_array_equal(read.ticks[name], told.ticks[name], err_msg=name)


def test_an_older_recording_makes_the_episodes_that_a_new_one_makes(tmp_path):
    from stories import write

    import_recording(GOLDEN, tmp_path / "old")
    import_recording(write(tmp_path / "run.mcap", tell(STORY, recording_id="0" * 31 + "1")), tmp_path / "new")
    old, new = (list(EpisodeStore.open(tmp_path / name).episodes()) for name in ("old", "new"))
    assert [episode.length for episode in old] == [episode.length for episode in new] == [6, 3, 6, 2]
    for one, other in zip(old, new, strict=True):
        for name, values in one.columns().items():
            np.testing.assert_array_equal(values, other.columns()[name], err_msg=name)
    # The recording is the same one, in whichever format: nothing of it is added again.
    assert import_recording(tmp_path / "run.mcap", tmp_path / "old").added == 0


def test_an_older_recording_can_be_looked_at():
    pieces = list(McapPieces(GOLDEN))
    marks = np.concatenate([piece.numbers["observation/mark.0/recorded"] for piece in pieces])
    assert marks.tolist() == list(range(COUNT))
