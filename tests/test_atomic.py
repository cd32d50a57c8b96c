"""Files and folders are there whole or not at all."""

import os
import re
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from robot_wm.atomic import atomic_directory, atomic_file, require_writable, tidy
from robot_wm.errors import UserError
from robot_wm.runtime.signature import generate_key


def fail_after(write):
    write()
    raise RuntimeError("half way")


def test_file_replaces_only_on_success(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    with atomic_file(path) as temporary:
        temporary.write_text("one")
    with pytest.raises(RuntimeError, match="half way"), atomic_file(path) as temporary:
        fail_after(lambda: temporary.write_text("tw"))
    assert path.read_text() == "one"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_directory_replaces_only_on_success(tmp_path):
    path = tmp_path / "bundle"
    with atomic_directory(path) as temporary:
        (temporary / "old").write_text("1")
    with pytest.raises(RuntimeError, match="half way"), atomic_directory(path) as temporary:
        fail_after(lambda: (temporary / "new").write_text("2"))
    assert [p.name for p in path.iterdir()] == ["old"]
    with atomic_directory(path) as temporary:
        (temporary / "new").write_text("2")
    assert [p.name for p in path.iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def unwritable():
    return Path("/proc/none/a.txt"), Path("/dev/full/a.txt"), Path("/sys/a.txt")


@pytest.mark.parametrize("path", unwritable(), ids=str)
@pytest.mark.parametrize("atomic", [atomic_file, atomic_directory])
def test_a_place_that_cannot_be_written_is_one_line(atomic, path):
    with pytest.raises(UserError, match=rf"^{path}: cannot be written: \w"), atomic(path):
        pytest.fail("nothing can be written there")


def test_a_place_is_tried_before_the_work(tmp_path):
    require_writable(tmp_path / "new" / "a.txt")
    assert list((tmp_path / "new").iterdir()) == []
    for path in unwritable():
        with pytest.raises(UserError, match=rf"^{path}: cannot be written: \w"):
            require_writable(path)


FULL = """
import resource, signal, sys
from pathlib import Path
import numpy as np, safetensors.numpy
from robot_wm.atomic import atomic_directory, atomic_file
from robot_wm.errors import UserError
from robot_wm.runtime.signature import generate_key
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))
data = np.zeros(2**20)
for name, write in {
    "text": lambda path: path.write_text("x" * 2**20),
    "numpy": lambda path: np.save(path.open("wb"), data),
    "safetensors": lambda path: safetensors.numpy.save_file({"a": data}, path),
}.items():
    for atomic in (atomic_file, atomic_directory):
        place = Path(sys.argv[1]) / name
        try:
            with atomic(place) as temporary:
                write(temporary if atomic is atomic_file else temporary / "part")
        except UserError as error:
            print(error)
"""


def test_a_file_that_grows_too_large_is_one_line_whatever_library_writes_it(tmp_path):
    """The size limit of a process stands for a full disk: the same calls fail, with another number."""
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert [Path(line.split(":")[0]).name for line in lines] == ["text"] * 2 + ["numpy"] * 2 + ["safetensors"] * 2
    for line in lines:
        assert re.search(r": cannot be written: (File too large|\d+ requested and \d+ written)$", line), line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("mask", "file_mode", "folder_mode"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700)])
def test_the_umask_says_who_may_read_and_no_library(tmp_path, mask, file_mode, folder_mode):
    before = os.umask(mask)
    try:
        with atomic_file(tmp_path / "a") as temporary:
            temporary.unlink()
            temporary.touch(mode=0o600)  # as a library that writes and renames a file of its own
        with atomic_directory(tmp_path / "d") as temporary:
            safetensors.numpy.save_file({"a": np.zeros(3)}, temporary / "part")
            (temporary / "in").mkdir(mode=0o700)
            (temporary / "in" / "private").touch(mode=0o600)
            (temporary / "script").touch(mode=0o700)
            (temporary / "script").chmod(0o755)
    finally:
        os.umask(before)

    def mode(name):
        return (tmp_path / name).stat().st_mode & 0o777

    assert {mode(name) for name in ("a", "d/part", "d/in/private")} == {file_mode}
    assert {mode(name) for name in ("d", "d/in")} == {folder_mode}
    assert mode("d/script") == 0o755


def test_an_error_of_something_else_goes_on_as_it_is(tmp_path):
    with pytest.raises(FileNotFoundError, match="elsewhere"), atomic_file(tmp_path / "a") as temporary:
        temporary.write_text((tmp_path / "elsewhere").read_text())
    with pytest.raises(BrokenPipeError), atomic_directory(tmp_path / "d"):
        raise BrokenPipeError(32, "Broken pipe")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_came_meanwhile_stays_where_it_is_not_to_be_replaced(tmp_path):
    def write(folder):
        folder.mkdir(exist_ok=True)
        (folder / "a").write_text("theirs" if folder.name == "d" else "mine")

    def both(temporary):
        write(temporary)
        write(tmp_path / "d")

    with (
        pytest.raises(UserError, match="d: has come into being meanwhile"),
        atomic_directory(tmp_path / "d", replace=False) as temporary,
    ):
        both(temporary)
    assert (tmp_path / "d" / "a").read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [tmp_path / "d"]


def test_what_killed_writers_left_is_tidied_and_what_was_whole_is_back(tmp_path):
    for name in (".gone.0123abcd.old", ".there.0123abcd.old", "there", ".half.0123abcd.tmp", ".mine.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(name)
    (tmp_path / ".file.0123abcd.tmp").touch()
    tidy(tmp_path)
    found = {path.name: (path / "a").read_text() for path in tmp_path.iterdir()}
    assert found == {"gone": ".gone.0123abcd.old", "there": "there", ".mine.tmp": ".mine.tmp"}


def test_a_copy_that_finds_no_room_tells_of_the_place_that_has_none(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(bytes(10_000))
    with (
        little_room(1000),
        pytest.raises(UserError, match=r"target: cannot be written: File too large"),
        atomic_directory(tmp_path / "target") as temporary,
    ):
        shutil.copyfile(source, temporary / "copy")
    assert list(tmp_path.iterdir()) == [source]


def test_half_a_key_is_not_left_where_there_is_no_room_for_a_whole_one(tmp_path):
    with little_room(30), pytest.raises(UserError, match=r"robot\.pem: cannot write the key: File too large"):
        generate_key(tmp_path / "robot.pem")
    assert list(tmp_path.iterdir()) == []
    generate_key(tmp_path / "robot.pem")


@contextmanager
def little_room(size_bytes):
    """No file may grow beyond ``size_bytes``: as on a full disk the same calls fail, with another number."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
