"""Only what was built for exactly this graph, machine and way of building is ever run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from robot_wm.errors import UserError
from robot_wm.runtime import installed
from robot_wm.runtime.trt.build import BuiltPlan
from robot_wm.runtime.trt.cache import EngineCache, EngineKey, default_folder
from robot_wm.runtime.trt.options import BuildOptions

KEY = EngineKey(
    graph_sha256="ab" * 32,
    shapes={"obs/joints": (1, 12), "is_first": (1,)},
    precision="fp32",
    tensorrt="10.3.0",
    gpu="Orin",
    compute_capability="8.7",
    driver="R36 (release), REVISION: 4.3",
    flags=(),
    strongly_typed=True,
    options=BuildOptions(),
    recipe=1,
)
CHANGES = {
    "graph_sha256": "cd" * 32,
    "shapes": {"obs/joints": (1, 13), "is_first": (1,)},
    "precision": "fp16",
    "tensorrt": "10.3.1",
    "gpu": "Orin Nano",
    "compute_capability": "8.9",
    "driver": "R36 (release), REVISION: 4.4",
    "flags": ("VERSION_COMPATIBLE",),
    "strongly_typed": False,
    "options": BuildOptions(workspace_mib=512),
    "recipe": 2,
}


class Builder:
    """Counts its builds and notes the timing cache that it is given."""

    def __init__(self, plan: bytes = b"plan", error: Exception | None = None) -> None:
        self.plan, self.error, self.given = plan, error, []

    def __call__(self, timings: bytes | None) -> BuiltPlan:
        self.given.append(timings)
        if self.error:
            raise self.error
        return BuiltPlan(self.plan, timing_cache=b"timings %d" % len(self.given), seconds=2.5, matrices=1)


@pytest.fixture
def cache(tmp_path) -> EngineCache:
    return EngineCache(tmp_path / "engines")


def path_of(cache: EngineCache, suffix: str, key: EngineKey = KEY) -> Path:
    return cache.folder / f"{key.digest}{suffix}"


def test_every_field_changes_the_digest():
    assert set(CHANGES) == set(EngineKey.model_fields)
    changed = {name: KEY.model_copy(update={name: value}).digest for name, value in CHANGES.items()}
    assert len({*changed.values(), KEY.digest}) == len(changed) + 1
    choices = {"version_compatible": True, "workspace_mib": 512, "optimization_level": 5, "matrices": 0}
    assert set(choices) == set(BuildOptions.model_fields)
    for name, value in choices.items():
        other = KEY.options.model_copy(update={name: value})
        assert KEY.model_copy(update={"options": other}).digest != KEY.digest, name


def test_the_digest_does_not_hang_on_the_order_of_tensors():
    turned = KEY.model_copy(update={"shapes": dict(reversed(KEY.shapes.items()))})
    assert turned.digest == KEY.digest
    assert EngineKey.model_validate_json(KEY.model_dump_json()).digest == KEY.digest


def test_it_is_built_once_and_found_again(cache):
    builder = Builder()
    assert cache.get(KEY) is None
    assert cache.get_or_build(KEY, builder) == (b"plan", True)
    assert cache.get_or_build(KEY, builder) == (b"plan", False)
    assert EngineCache(cache.folder).get(KEY) == b"plan"
    assert len(builder.given) == 1
    (engine,) = cache.all()
    assert (engine.key, engine.size_bytes, engine.build_seconds) == (KEY, 4, 2.5)
    assert engine.path.read_bytes() == b"plan"
    assert json.loads(path_of(cache, ".json").read_text())["matrices"] == 1  # what was chosen; the key leaves it open
    assert path_of(cache, ".plan").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("name", CHANGES)
def test_an_engine_of_another_key_is_not_run(cache, name):
    cache.get_or_build(KEY, Builder())
    wanted = KEY.model_copy(update={name: CHANGES[name]})
    assert cache.get(wanted) is None
    assert cache.get_or_build(wanted, Builder(b"another")) == (b"another", True)
    assert cache.get(KEY) == b"plan"


def cut(cache):
    path = path_of(cache, ".plan")
    path.write_bytes(path.read_bytes()[:-1])


def changed(cache):
    path_of(cache, ".plan").write_bytes(b"plaN")


def grown(cache):
    with path_of(cache, ".plan").open("ab") as file:
        file.write(b"more")


def gone(cache):
    path_of(cache, ".plan").unlink()


def a_folder(cache):
    gone(cache)
    path_of(cache, ".plan").mkdir()


def unknown(cache):
    path_of(cache, ".json").unlink()


def garbled(cache):
    path_of(cache, ".json").write_text("{")


def renamed(cache):
    """The engine of another key under this one's name, with its own sidecar."""
    other = KEY.model_copy(update={"gpu": "Orin Nano"})
    cache.get_or_build(other, Builder(b"foreign"))
    for suffix in (".plan", ".json"):
        path_of(cache, suffix, other).replace(path_of(cache, suffix))


def swapped(cache):
    """Another key's plan under this key's name, this key's sidecar beside it."""
    other = KEY.model_copy(update={"gpu": "Orin Nano"})
    cache.get_or_build(other, Builder(b"fore"))
    path_of(cache, ".plan", other).replace(path_of(cache, ".plan"))


@pytest.mark.parametrize("harm", [cut, changed, grown, gone, unknown, garbled, renamed, swapped])
def test_what_is_not_as_it_was_written_is_built_anew(cache, harm):
    cache.get_or_build(KEY, Builder())
    harm(cache)
    assert cache.get(KEY) is None
    builder = Builder(b"fresh")
    assert cache.get_or_build(KEY, builder) == (b"fresh", True)
    assert cache.get_or_build(KEY, builder) == (b"fresh", False)


@pytest.mark.parametrize("suffix", [".plan", ".json"])
@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646])
def test_a_file_that_others_may_have_written_is_built_anew(cache, suffix, mode):
    cache.get_or_build(KEY, Builder(b"planted"))
    path_of(cache, suffix).chmod(mode)
    assert cache.get(KEY) is None
    assert cache.serving(KEY, other_versions=True) is None
    assert cache.get_or_build(KEY, Builder(b"fresh")) == (b"fresh", True)


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757, 0o1777])
def test_a_folder_that_others_may_write_is_neither_read_nor_built_into(cache, mode):
    cache.get_or_build(KEY, Builder(b"planted"))
    cache.folder.chmod(mode)
    builder = Builder()
    for use in (
        lambda: cache.get(KEY),
        lambda: cache.get_or_build(KEY, builder),
        lambda: cache.serving(KEY, other_versions=True),
    ):
        with pytest.raises(UserError, match=f"mode {mode:04o}: .*chmod go-w, or choose another folder"):
            use()
    assert builder.given == []
    cache.folder.chmod(0o755)
    assert cache.get(KEY) == b"planted"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("target", ["folder", ".plan", ".json"])
def test_what_another_user_owns_is_not_run(cache, target):
    cache.get_or_build(KEY, Builder(b"planted"))
    os.chown(cache.folder if target == "folder" else path_of(cache, target), 12345, 12345)
    if target == "folder":
        with pytest.raises(UserError, match="owner 12345"):
            cache.get(KEY)
    else:
        assert cache.get(KEY) is None


def test_a_link_to_a_plan_is_not_followed(cache, tmp_path):
    cache.get_or_build(KEY, Builder())
    path_of(cache, ".plan").rename(tmp_path / "elsewhere")
    path_of(cache, ".plan").symlink_to(tmp_path / "elsewhere")
    assert cache.get(KEY) is None


def test_a_loose_umask_does_not_open_the_folder(cache):
    before = os.umask(0o000)
    try:
        cache.get_or_build(KEY, Builder())
    finally:
        os.umask(before)
    assert cache.get(KEY) == b"plan"
    assert cache.folder.stat().st_mode & 0o777 == 0o755


def test_what_cannot_be_replaced_is_told_in_one_line(cache):
    cache.get_or_build(KEY, Builder())
    a_folder(cache)
    with pytest.raises(UserError, match=r"\.plan.*choose another folder"):
        cache.get_or_build(KEY, Builder())
    (cache.folder / "a_file").write_text("")
    with pytest.raises(UserError, match="a_file"):
        EngineCache(cache.folder / "a_file" / "deeper").get_or_build(KEY, Builder())


def test_an_unreadable_engine_is_built_anew(cache, monkeypatch):
    cache.get_or_build(KEY, Builder())
    real = os.open

    def refuse(path, *arguments, **options):
        if str(path).endswith(".plan"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    assert cache.get(KEY) is None
    assert cache.get_or_build(KEY, Builder(b"fresh")) == (b"fresh", True)


def test_timings_are_kept_by_tensorrt_and_gpu(cache):
    builder = Builder()
    keys = {
        "first": KEY,
        "same machine": KEY.model_copy(update={"precision": "fp16", "options": BuildOptions(workspace_mib=32)}),
        "other version": KEY.model_copy(update={"tensorrt": "10.3.1"}),
        "other gpu": KEY.model_copy(update={"gpu": "Orin Nano"}),
        "same again": KEY.model_copy(update={"graph_sha256": "cd" * 32}),
    }
    for key in keys.values():
        cache.get_or_build(key, builder)
    assert builder.given == [None, b"timings 1", None, None, b"timings 2"]


def test_a_build_that_fails_leaves_nothing_and_frees_the_lock(cache):
    for error in (UserError("no such operator"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            cache.get_or_build(KEY, Builder(error=error))
        assert os.listdir(cache.folder) == [".lock"]
    assert cache.get_or_build(KEY, Builder())[1]


def test_an_engine_can_be_removed(cache):
    cache.remove(KEY)
    cache.get_or_build(KEY, Builder())
    cache.remove(KEY)
    assert cache.get(KEY) is None
    assert cache.all() == ()


def test_an_engine_of_other_options_will_do_and_one_of_an_older_tensorrt_only_if_it_was_made_for_that(cache):
    wanted = KEY.model_copy(update={"tensorrt": "10.13.0", "driver": KEY.driver})
    plain = KEY.model_copy(update={"options": BuildOptions(workspace_mib=64)})
    compatible = KEY.model_copy(
        update={"options": BuildOptions(version_compatible=True), "flags": ("VERSION_COMPATIBLE",)}
    )
    cache.get_or_build(plain, Builder(b"plain"))
    assert cache.serving(KEY, other_versions=False) == (plain, b"plain")
    assert cache.serving(wanted, other_versions=True) is None
    cache.get_or_build(compatible, Builder(b"compatible"))
    assert cache.serving(wanted, other_versions=True) == (compatible, b"compatible")
    assert cache.serving(wanted, other_versions=False) is None
    # It brings host code: only who asked for that gets it, however new it is.
    assert cache.serving(KEY, other_versions=False) == (plain, b"plain")
    assert cache.serving(compatible, other_versions=False) == (compatible, b"compatible")
    older = KEY.model_copy(update={"tensorrt": "8.6.1"})
    assert cache.serving(older, other_versions=True) is None
    for name in ("graph_sha256", "shapes", "precision", "gpu", "compute_capability", "driver", "recipe"):
        other = wanted.model_copy(update={name: CHANGES[name]})
        assert cache.serving(other, other_versions=True) is None, name
    path_of(cache, ".plan", compatible).write_bytes(b"damaged")
    assert cache.serving(KEY, other_versions=False) == (plain, b"plain")


def test_the_folder_is_the_machines_or_the_users(tmp_path, monkeypatch):
    monkeypatch.setattr(installed, "SYSTEM_ROOT", tmp_path / "var")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_folder() == tmp_path / "xdg/robot_wm/engines"
    for ignored in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert default_folder() == Path.home() / ".cache/robot_wm/engines"
    (tmp_path / "var").mkdir()
    assert default_folder() == tmp_path / "var/engines"


SCRIPT = """
import sys, time
from pathlib import Path
from robot_wm.runtime.trt.build import BuiltPlan
from robot_wm.runtime.trt.cache import EngineCache, EngineKey

folder, key = Path(sys.argv[1]), EngineKey.model_validate_json(sys.argv[2])

def build(timings):
    with (folder.parent / "builds").open("a") as file:
        file.write("built\\n")
    print("building", flush=True)
    time.sleep(float(sys.argv[3]))
    return BuiltPlan(b"p" * 5_000_000, timing_cache=b"t", seconds=1.0, matrices=0)

plan, is_new = EngineCache(folder).get_or_build(key, build)
print(len(plan), is_new, flush=True)
"""


def start(cache: EngineCache, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(cache.folder), KEY.model_dump_json(), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_processes_build_once(cache):
    processes = [start(cache, 1.0) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0].split() for process in processes]
    assert all(process.returncode == 0 for process in processes)
    assert sorted(words[-1] for words in outputs) == ["False", "True"]
    assert (cache.folder.parent / "builds").read_text() == "built\n"


def test_killed_while_it_builds_it_leaves_no_lock_and_no_engine(cache):
    process = start(cache, 60.0)
    assert process.stdout.readline() == "building\n"
    process.kill()
    process.wait()
    assert cache.get(KEY) is None
    assert cache.get_or_build(KEY, Builder()) == (b"plan", True)
    assert not list(cache.folder.glob(".*.tmp"))


@pytest.mark.parametrize("delay_s", [0.0, 0.002, 0.005, 0.01, 0.02, 0.04])
def test_killed_while_it_writes_an_engine_is_whole_or_not_there(cache, delay_s):
    process = start(cache, 0.0)
    process.stdout.readline()
    time.sleep(delay_s)
    process.kill()
    process.wait()
    assert cache.get(KEY) in (None, b"p" * 5_000_000)
    plan, is_new = cache.get_or_build(KEY, Builder())
    assert plan == (b"plan" if is_new else b"p" * 5_000_000)
    assert not list(cache.folder.glob(".*.tmp"))


def test_readers_wait_for_nobody(cache):
    """A plan that is there is read while another one is built."""
    cache.get_or_build(KEY, Builder())
    other, inside, done = KEY.model_copy(update={"gpu": "Orin Nano"}), threading.Event(), threading.Event()

    def slow(timings):
        inside.set()
        assert done.wait(30)
        return BuiltPlan(b"slow", b"", 1.0, 0)

    thread = threading.Thread(target=cache.get_or_build, args=(other, slow))
    thread.start()
    assert inside.wait(30)
    assert cache.get_or_build(KEY, Builder()) == (b"plan", False)
    done.set()
    thread.join()
    assert cache.get(other) == b"slow"
