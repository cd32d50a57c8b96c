"""Files and folders are there whole or not at all."""

import pytest

from robot_wm.atomic import atomic_directory, atomic_file


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
