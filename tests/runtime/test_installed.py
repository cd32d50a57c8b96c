"""The store of a robot: what is current is always a whole bundle, whatever happens when."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from robot_wm.errors import UserError
from robot_wm.runtime import installed
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.bundle_writer import write_zip
from robot_wm.runtime.installed import InstalledBundles, default_root
from robot_wm.runtime.installed_command import app
from robot_wm.runtime.manifest import MANIFEST, PARITY, POLICY_OP17, SIGNATURE, Manifest
from robot_wm.runtime.signature import generate_key, load_private_key, sign


def variant(original, path: Path, *, spec: dict | None = None, **lineage) -> Path:
    """A signed bundle with another lineage, and with another spec if asked."""
    shutil.copytree(original.folder, path)
    manifest = Manifest.from_json((path / MANIFEST).read_bytes())
    changes = {"lineage": manifest.lineage.model_copy(update=lineage)}
    if spec:
        other = manifest.spec.model_copy(update=spec)
        changes |= {"spec": other, "spec_sha256": other.content_hash()}
    changed = manifest.model_copy(update=changes)
    (path / MANIFEST).write_bytes(changed.to_json())
    (path / SIGNATURE).write_bytes(sign(changed.to_json(), load_private_key(original.private_key)))
    return path


@pytest.fixture(scope="session")
def bundles(signed_original, tmp_path_factory) -> list[Path]:
    """Four signed bundles that differ in their lineage, by their ``steps``: 0 to 3."""
    folder = tmp_path_factory.mktemp("four")
    return [variant(signed_original, folder / f"{steps}.rwm", steps=steps) for steps in range(4)]


@pytest.fixture
def store(tmp_path) -> InstalledBundles:
    return InstalledBundles(tmp_path / "store")


def steps_of(store: InstalledBundles) -> int | None:
    """Which bundle an agent would get through the link, verified."""
    with Bundle.open(store.root / "current") as bundle:
        return bundle.manifest.lineage.steps


def names(store: InstalledBundles) -> set[str]:
    return set(os.listdir(store.root))


def test_installs_folder_and_zip_and_goes_back_step_by_step(store, bundles, signed_original, tmp_path):
    packed = tmp_path / "1.rwm"
    shutil.copytree(bundles[1], packed)
    for source in (bundles[0], write_zip(packed), bundles[2]):
        done = store.install(source, public_key=signed_original.public_key)
        assert (done.is_current, done.is_signed, done.problem) == (True, True, "")
    assert steps_of(store) == 2
    assert [bundle.manifest.lineage.steps for bundle in store.all() if bundle.is_current] == [2]
    assert len(store.all()) == 3
    assert store.rollback().manifest.lineage.steps == steps_of(store) == 1
    assert store.rollback().manifest.lineage.steps == steps_of(store) == 0
    with pytest.raises(UserError, match="no bundle was current before"):
        store.rollback()
    assert steps_of(store) == 0
    # Forward again, to one that is named.
    newest = next(bundle for bundle in store.all() if bundle.manifest.lineage.steps == 2)
    assert store.rollback(newest.sha256[:8]).sha256 == newest.sha256
    assert store.rollback().manifest.lineage.steps == 1


def test_what_is_installed_after_a_roll_back_leads_back_to_where_it_was(store, bundles):
    for source in (*bundles[:3],):
        store.install(source)
    store.rollback()
    store.rollback()
    store.install(bundles[3])
    assert steps_of(store) == 3
    store.rollback()
    assert steps_of(store) == 0


def test_the_same_bundle_twice_is_one(store, bundles):
    for source in (bundles[0], bundles[1], bundles[1], bundles[0]):
        store.install(source)
    assert len(store.all()) == 2
    assert store.rollback().manifest.lineage.steps == 1
    with pytest.raises(UserError, match="no bundle was current before"):
        store.rollback()


def test_a_bundle_that_is_refused_changes_nothing(store, bundles, signed_original, tmp_path):
    store.install(bundles[0])
    before = names(store)
    other = generate_key(tmp_path / "other.pem")
    bad = tmp_path / "bad.rwm"
    shutil.copytree(bundles[1], bad)
    (bad / POLICY_OP17).write_bytes(b"x")
    for source, key, naming in (
        (bundles[1], other, SIGNATURE),
        (bad, None, POLICY_OP17),
        (bad, signed_original.public_key, POLICY_OP17),
        (tmp_path / "none.rwm", None, "none.rwm"),
    ):
        with pytest.raises(UserError, match=naming):
            store.install(source, public_key=key)
    assert names(store) == before
    assert steps_of(store) == 0


def test_a_roll_back_is_verified_too(store, bundles, signed_original):
    first = store.install(bundles[0])
    store.install(bundles[1])
    (first.path / SIGNATURE).unlink()
    with pytest.raises(UserError, match="not signed"):
        store.rollback(public_key=signed_original.public_key)
    content = bytearray((first.path / PARITY).read_bytes())
    content[100] ^= 1
    (first.path / PARITY).write_bytes(content)
    with pytest.raises(UserError, match=PARITY):
        store.rollback()
    assert steps_of(store) == 1
    # Installing it again mends it.
    store.install(bundles[0])
    assert steps_of(store) == 0


def test_old_bundles_go_but_never_one_that_is_open(store, bundles):
    store.install(bundles[0])
    running = Bundle.open(store.root / "current")
    for source in bundles[1:]:
        store.install(source, keep=2)
    assert sorted(bundle.manifest.lineage.steps for bundle in store.all()) == [0, 2, 3]
    assert running.read()  # an agent that is configured again still can
    running.close()
    store.install(bundles[3], keep=2)
    assert sorted(bundle.manifest.lineage.steps for bundle in store.all()) == [2, 3]
    with pytest.raises(UserError, match="at least 2"):
        store.install(bundles[0], keep=1)


def kept(store: InstalledBundles) -> list[int]:
    return sorted(bundle.manifest.lineage.steps for bundle in store.all())


def test_what_was_rolled_back_from_stays_while_there_is_room(store, bundles):
    """`keep` counts what is kept, not what a history remembers."""
    for source in bundles[:3]:
        store.install(source)
    store.rollback()
    store.rollback()
    store.install(bundles[3], keep=4)
    assert kept(store) == [0, 1, 2, 3]
    store.install(bundles[3], keep=4)  # once more is no other bundle
    assert kept(store) == [0, 1, 2, 3]
    store.rollback()
    assert steps_of(store) == 0
    # Of what no way leads back to, the newest stays; the current one and the one before stay in any case.
    os.utime(store.root / next(b.sha256 for b in store.all() if b.manifest.lineage.steps == 1), (9e9, 9e9))
    store.install(bundles[3], keep=3)
    assert kept(store) == [0, 1, 3]
    store.install(bundles[3], keep=2)
    assert kept(store) == [0, 3]


@pytest.mark.parametrize("spec", [{"robot": "other"}, {"task": "other"}])
def test_a_bundle_for_another_robot_or_task_becomes_current_only_if_that_is_meant(
    store, bundles, signed_original, tmp_path, spec
):
    other = variant(signed_original, tmp_path / "other.rwm", spec=spec, steps=9)
    store.install(bundles[0])
    before = names(store)
    ours, theirs = (Manifest.from_json((path / MANIFEST).read_bytes()).spec for path in (bundles[0], other))
    named = f"does {theirs.task} on {theirs.robot}, .* {ours.task} on {ours.robot}; .*--allow-other-agent"
    with pytest.raises(UserError, match=named):
        store.install(other)
    assert (names(store), steps_of(store)) == (before, 0)
    done = store.install(other, allow_other_agent=True)
    assert steps_of(store) == 9
    store.install(other)  # it is the same agent now
    for to in (None, next(bundle.sha256 for bundle in store.all() if bundle.sha256 != done.sha256)):
        with pytest.raises(UserError, match="--allow-other-agent"):
            store.rollback(to)
    assert steps_of(store) == 9
    store.rollback(allow_other_agent=True)
    assert steps_of(store) == 0


def test_a_bundle_older_than_the_minimum_is_refused_before_it_becomes_current(store, signed_original, tmp_path):
    old, new = (variant(signed_original, tmp_path / f"{n}.rwm", steps=n, bundle_version=n) for n in (6, 7))
    store.install(old)
    store.install(new, min_version=7)
    for attempt in (store.rollback, lambda **options: store.install(old, **options)):
        with pytest.raises(UserError, match="bundle_version 6 is older than this robot's min_bundle_version 7"):
            attempt(min_version=7)
    assert steps_of(store) == 7
    store.rollback(min_version=6)
    assert steps_of(store) == 6


def test_an_open_bundle_stays_itself_when_the_link_is_switched(store, bundles):
    store.install(bundles[0])
    with Bundle.open(store.root / "current") as running:
        store.install(bundles[1])
        assert running.path.name == running.manifest_sha256
        assert running.recording().ticks == 256
        with pytest.raises(UserError, match="as"):
            Bundle.open(store.root / "nothing_such_as_that")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"activated": 5}', '{"activated": [5, "../x"]}', "[" * 100_000])
def test_a_damaged_history_costs_the_way_back_and_nothing_else(store, bundles, text):
    first = store.install(bundles[0])
    store.install(bundles[1])
    (store.root / "history.json").write_text(text)
    with pytest.raises(UserError, match="--to"):
        store.rollback()
    assert store.rollback(first.sha256).is_current
    store.install(bundles[2])
    assert store.rollback().sha256 == first.sha256


@pytest.mark.parametrize("target", ["/etc", "../../etc", "none", "f" * 64])
def test_a_link_that_is_not_ours_is_replaced(store, bundles, target):
    store.install(bundles[0])
    (store.root / "current").unlink()
    (store.root / "current").symlink_to(target)
    with pytest.raises(UserError, match=r"robot-wm bundle install|No such file"):
        app(["current", "--root", str(store.root)])
    store.install(bundles[1])
    assert steps_of(store) == 1


def test_a_prefix_must_mean_one_bundle(store, bundles):
    done = store.install(bundles[0])
    for prefix, naming in (("", "too short"), (done.sha256[:3], "too short"), ("0" * 63, "0 bundles"), ("../..", "0 ")):
        with pytest.raises(UserError, match=naming):
            store.rollback(prefix)


def test_the_default_root_is_the_systems_where_there_is_one(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(installed, "SYSTEM_ROOT", tmp_path / "var")
    assert default_root() == tmp_path / ".local/share/robot_wm/bundles"
    (tmp_path / "var").mkdir()
    assert default_root() == tmp_path / "var/bundles"


# Runs one operation and dies, as by kill -9, before the Nth thing that it does to the file system.
CRASH = """
import os, sys
from pathlib import Path
from robot_wm.runtime.installed import InstalledBundles
root, operation, source = sys.argv[1:4]
CHANGES = {"os.rename", "os.symlink", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.truncate", "shutil.rmtree"}
def operate(n):
    count = 0
    def hook(event, arguments):
        nonlocal count
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in CHANGES or writes:
            count += 1
            if count == n:
                os._exit(9)
    store = InstalledBundles(Path(root))
    sys.addaudithook(hook)
    store.install(Path(source), keep=2) if operation == "install" else store.rollback()
    os._exit(0)
def once(n):
    child = os.fork()
    if child == 0:
        try:
            operate(n)
        finally:
            os._exit(1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
for line in sys.stdin:
    once(int(line))
"""


@pytest.mark.parametrize("operation", ["install", "install over damage", "first install", "rollback"])
def test_killed_before_any_change_to_the_disk_the_store_still_works(store, bundles, tmp_path, operation):
    if operation != "first install":
        for source in bundles[:2]:
            store.install(source)
    if operation == "install over damage":
        (store.install(bundles[2]).path / PARITY).write_bytes(b"x")
        store.rollback(store.all()[-1].sha256)
    old = None if operation == "first install" else steps_of(store)
    original = tmp_path / "original"
    if store.root.exists():
        shutil.copytree(store.root, original, symlinks=True)
    crasher = subprocess.Popen(
        [
            sys.executable,
            "-c",
            CRASH,
            str(store.root),
            "rollback" if operation == "rollback" else "install",
            str(bundles[2]),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with crasher:
        assert crasher.stdin
        assert crasher.stdout
        seen = set()
        for point in range(1, 200):
            print(point, file=crasher.stdin, flush=True)
            code = crasher.stdout.readline().strip()
            if code == "0":
                break
            assert code == "9"
            seen.add(store.current_sha256() and steps_of(store))
            for bundle in store.all():
                assert bundle.problem == ""
            store.install(bundles[3], keep=3)
            assert steps_of(store) == 3
            left = {name for name in names(store) if name.startswith(".")}
            assert left == {".lock"}
            if old is not None:
                assert store.rollback().problem == ""
            shutil.rmtree(store.root)
            if original.exists():
                shutil.copytree(original, store.root, symlinks=True)
        crasher.stdin.close()
    new = {"rollback": 0}.get(operation, 2)
    assert steps_of(store) == new  # the run that was let through
    assert seen == {old, new}  # killed early and late
    assert point > 5


def test_many_at_once_leave_a_whole_store(store, bundles):
    errors: list[Exception] = []

    def work(source: Path) -> None:
        try:
            for _ in range(3):
                store.install(source, keep=2)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(source,)) for source in bundles]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if store.current_sha256():
            steps_of(store)  # a reader never meets half a bundle
    assert errors == []
    assert all(bundle.problem == "" for bundle in store.all())
    assert len(store.all()) >= 2


def test_the_command_tells_what_is_there(store, bundles, signed_original, capsys):
    root = ["--root", str(store.root), "--json"]
    key = ["--public-key", str(signed_original.public_key)]
    app(["install", str(bundles[0]), *root, *key])
    assert "warning" not in capsys.readouterr().err
    app(["install", str(bundles[1]), *root])
    assert "nobody vouches for this bundle" in " ".join(capsys.readouterr().err.split())
    app(["list", *root])
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {row["steps"]: row["current"] for row in rows} == {0: False, 1: True}
    assert {row["bundle_version"] for row in rows} == {0}
    app(["rollback", *root, *key])
    told = json.loads(capsys.readouterr().out)
    assert (told["steps"], told["current"], told["bundle_parameter"]) == (0, True, str(store.root / "current"))
    app(["current", *root])
    assert json.loads(capsys.readouterr().out)["sha256"] == told["sha256"]
    app(["list", *root[:2]])
    assert told["sha256"][:12] in capsys.readouterr().out


def test_a_root_that_cannot_be_written_is_one_line(tmp_path, bundles):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        InstalledBundles(tmp_path / "file" / "store").install(bundles[0])
    with pytest.raises(UserError, match="no bundle is installed"):
        InstalledBundles(tmp_path / "none").current()
