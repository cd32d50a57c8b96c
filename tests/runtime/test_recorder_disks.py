"""Full disks, files that may not grow, killed recorders: what was written before can be read."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from recorder_ticks import add, make_tick, open_recorder, readable_ticks, wait_for

from robot_wm.errors import UserError
from robot_wm.replay.mcap_import import import_recording
from robot_wm.replay.recording import read_recording
from robot_wm.spec import AgentSpec


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_ends_the_recording_not_the_tick(small_disk, make_spec):
    spec = make_spec()
    recorder = open_recorder(small_disk, spec)
    calls = 0
    while not recorder.error:
        add(recorder, *make_tick(spec, calls), calls)
        calls += 1
        time.sleep(2e-4)
    assert "No space left on device" in recorder.error
    assert not add(recorder, *make_tick(spec, calls), calls)
    recorder.close()
    assert recorder.written + recorder.dropped == calls + 1
    assert recorder.path.exists()
    ticks = readable_ticks(recorder.path)
    assert len(ticks) == recorder.written > 1000
    assert ticks == sorted(set(ticks))


def test_a_disk_that_is_full_when_the_recording_is_closed(small_disk, make_spec):
    spec = make_spec()
    recorder = open_recorder(small_disk, spec)
    part, calls = recorder.path.with_name(recorder.path.name + ".part"), 0
    # What is left of the file's last page must take its end, but not its index.
    while not 100 < -part.stat().st_size % 4096 < 1500:
        assert add(recorder, *make_tick(spec, calls), calls)
        calls += 1
        wait_for(lambda: recorder.written == calls)  # noqa: B023
    fill(small_disk / "filler")
    recorder.close()
    assert "No space left on device" in recorder.error
    assert (recorder.written, recorder.dropped) == (calls, 0)
    assert readable_ticks(recorder.path) == list(range(1, calls + 1))


def test_no_file_is_left_where_the_disk_is_full_already(small_disk, make_spec):
    fill(small_disk / "filler")
    with pytest.raises(UserError, match=r"disk: cannot record here: No space left on device"):
        open_recorder(small_disk, make_spec())
    assert [p.name for p in small_disk.iterdir()] == ["filler"]


def fill(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while os.write(descriptor, bytes(4096)):
            pass
    os.close(descriptor)


CHILD = """
import resource, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import recorder_ticks as test
from robot_wm.spec import AgentSpec
spec = AgentSpec.load(Path(sys.argv[2]))
recorder = test.open_recorder(Path(sys.argv[3]), spec)
for k in range(500):
    test.add(recorder, *test.make_tick(spec, k), k)
    time.sleep(1e-4)
test.wait_for(lambda: recorder.written == 500)
calls = 500
if sys.argv[4] == "kill":
    for calls in range(500, 510):
        test.add(recorder, *test.make_tick(spec, calls), calls)
    print("written", flush=True)
    time.sleep(60)
else:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = recorder.path.with_name(recorder.path.name + ".part").stat().st_size + int(sys.argv[4])
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    while not recorder.error:
        test.add(recorder, *test.make_tick(spec, calls), calls)
        calls += 1
        time.sleep(1e-3)
recorder.close()
print(recorder.written, recorder.dropped, calls, recorder.error)
"""


def run_child(tmp_path: Path, spec: AgentSpec, how: str) -> subprocess.Popen:
    (tmp_path / "spec.json").write_text(spec.to_json())
    arguments = [str(Path(__file__).parent), str(tmp_path / "spec.json"), str(tmp_path / "out"), how]
    return subprocess.Popen([sys.executable, "-c", CHILD, *arguments], stdout=subprocess.PIPE, text=True)


def test_a_file_that_may_not_grow_ends_the_recording(tmp_path, make_spec):
    """As a full disk, where nothing can be mounted."""
    out, _ = run_child(tmp_path, make_spec(), "1000").communicate(timeout=120)
    written, dropped, calls, error = out.split(maxsplit=3)
    assert "File too large" in error
    assert int(written) + int(dropped) == int(calls)
    (path,) = (tmp_path / "out").iterdir()
    assert path.name.endswith(".mcap")
    assert readable_ticks(path) == list(range(1, int(written) + 1))
    assert int(written) >= 500


def test_a_file_that_cannot_even_be_ended_stays_a_part(tmp_path, make_spec):
    out, _ = run_child(tmp_path, make_spec(), "0").communicate(timeout=120)
    assert out.startswith("500 ")
    (path,) = (tmp_path / "out").iterdir()
    assert path.name.endswith(".mcap.part")
    assert out.endswith(f"File too large; it stays {path.name}\n")
    assert read_recording(path).ticks["tick"].tolist() == list(range(1, 501))


def test_a_killed_recorder_leaves_what_was_flushed(tmp_path, make_spec):
    child = run_child(tmp_path, make_spec(), "kill")
    assert child.stdout.readline() == "written\n"
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=60)
    (path,) = (tmp_path / "out").iterdir()
    assert path.name.endswith(".mcap.part")
    read = read_recording(path)
    assert 500 <= len(read.ticks) <= 510
    assert read.ticks["tick"].tolist() == list(range(1, len(read.ticks) + 1))
    assert [words.split(";")[0] for words in read.damage] == ["was never finished"]
    result = import_recording(path, tmp_path / "store")
    assert (result.added, result.steps) == (1, len(read.ticks))
