"""What a killed process, a full disk or a bad sector costs: the uncommitted batch, nothing, the episodes named."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robot_wm.errors import UserError
from robot_wm.replay.export import export
from robot_wm.replay.reading import Damage, DamagedError
from robot_wm.replay.store import EpisodeStore
from robot_wm.replay.upkeep import Upkeep

WRITER = Path(__file__).with_name("writer_process.py")


def run_writer(path, batch, steps, *, kill_after=None, file_limit=-1):
    """Run the writer, kill -9 it ``kill_after`` (commits, seconds); its last committed seed, and its errors."""
    process = subprocess.Popen(
        [sys.executable, str(WRITER), str(path), str(batch), str(steps), str(file_limit)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    lines = [process.stdout.readline()]
    if kill_after is not None:
        commits, seconds = kill_after
        lines += [process.stdout.readline() for _ in range(commits)]
        time.sleep(seconds)
        process.kill()
    rest, errors = process.communicate(timeout=120)
    assert lines[0] == "started\n", errors
    lines += rest.splitlines(keepends=True)
    committed = [int(line.split()[1]) for line in lines if line.startswith("committed ") and line.endswith("\n")]
    return committed[-1] if committed else -1, errors


@pytest.mark.parametrize("batch", [1, 3])
def test_kill_9_costs_at_most_the_uncommitted_batch(tmp_path, make_spec, batch):
    path = tmp_path / "replay"
    EpisodeStore.create(path, make_spec())
    moments = random.Random(batch)
    known = -1
    for _ in range(5):
        moment = moments.randrange(5), moments.uniform(0.0, 0.02)
        committed, _ = run_writer(path, batch, 400, kill_after=moment)
        store = EpisodeStore.open(path)
        seeds = [episode.source.seed for episode in store.episodes()]
        assert seeds == list(range(len(seeds)))  # nothing twice, nothing missing, every digest right
        assert len(seeds) - 1 >= max(committed, known)
        assert store.index.number.tolist() == seeds
        for entry in store.log():
            assert EpisodeStore.open(path, version=entry["version"]).verify() == []
        known = len(seeds) - 1
    assert known >= 0
    (path / "data" / f"{'01' * 25}.lance").write_bytes(b"written, but killed before the commit")
    store.compact(keep_versions=1)
    referenced = {file.path for fragment in store.dataset.get_fragments() for file in fragment.data_files()}
    assert {file.name for file in (path / "data").iterdir()} == referenced  # remains of the killed are gone
    assert [episode.source.seed for episode in store.episodes()] == list(range(known + 1))


def test_kill_9_while_creating_can_be_done_again(tmp_path, make_spec):
    path = tmp_path / "replay"
    for remains in ("data", "_versions", "_transactions"):
        (path / remains).mkdir(parents=True)
    (path / "_versions" / ".tmp_1.manifest_0").write_bytes(b"half")
    (path / ".lock").touch()
    with pytest.raises(UserError, match="no replay store here"):
        EpisodeStore.open(path)
    assert EpisodeStore.create(path, make_spec()).version == 1


@pytest.mark.parametrize("file_limit", [300, 3_000, 20_000])
def test_full_disk_leaves_the_last_version_and_says_so(tmp_path, make_spec, make_episode, file_limit):
    """A limit on file size makes the writes fail in the manifest, the data file's end or its middle."""
    path = tmp_path / "replay"
    store = EpisodeStore.create(path, make_spec())
    store.append([make_episode(store.spec, number=0)])
    _, errors = run_writer(path, 1, 2_000, file_limit=file_limit)
    last = errors.strip().splitlines()[-1]
    assert "UserError" in last
    assert "cannot commit 1 episodes; version 2 stays as it is" in last
    assert "File too large" in last
    again = EpisodeStore.open(path)
    assert (again.version, again.verify(), len(again.index.number)) == (2, [], 1)
    assert again.append([make_episode(store.spec, number=1)]) == 3


def test_episodes_wait_while_the_disk_is_full(tmp_path, make_spec, make_episode):
    store = EpisodeStore.create(tmp_path / "replay", make_spec())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, hard))
    try:
        with pytest.raises(UserError, match="cannot commit"):
            store.append([make_episode(store.spec, steps=3_000)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (store.pending, store.version) == (1, 1)
    assert store.flush() == 2
    assert [episode.length for episode in store.episodes()] == [3_000]


@pytest.fixture
def three_files(tmp_path, make_spec, make_episode):
    """Nine episodes in three data files; the second one's path."""
    store = EpisodeStore.create(tmp_path / "replay", make_spec(image=True), options=Upkeep(commit_episodes=3))
    for k in range(3):
        store.append([make_episode(store.spec, number=3 * k + n, steps=30) for n in range(3)])
    (file,) = store.dataset.get_fragments()[1].data_files()
    return store.path, store.path / "data" / file.path


def test_truncated_file_is_named_and_skipped_only_on_request(three_files, tmp_path, make_spec):
    path, file = three_files
    with file.open("r+b") as handle:
        handle.truncate(file.stat().st_size // 2)
    store = EpisodeStore.open(path)
    assert store.summary()["unreadable_episodes"] == 3
    assert [(d.file, d.episodes) for d in store.verify()] == [(f"data/{file.name}", (3, 4, 5))]
    with pytest.raises(DamagedError, match=rf"data/{file.name}: episodes 3"):
        list(store.episodes())
    with pytest.raises(DamagedError, match="episodes 4"):
        store.episode(4)
    assert [e.source.seed for e in store.episodes(skip_damaged=True)] == [0, 1, 2, 6, 7, 8]
    clean = EpisodeStore.create(tmp_path / "clean", store.spec)
    with pytest.raises(DamagedError, match=file.name):
        clean.merge(store)
    assert len(clean.index.number) == 0
    result = clean.merge(store, skip_damaged=True)
    assert (result.added, [(d.file, d.episodes) for d in result.skipped]) == (6, [(f"data/{file.name}", (3, 4, 5))])
    with pytest.raises(DamagedError, match=file.name):
        export(store, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert export(store, tmp_path / "out", skip_damaged=True).episodes == 6
    file.unlink()
    assert [e.source.seed for e in EpisodeStore.open(path).episodes(skip_damaged=True)] == [0, 1, 2, 6, 7, 8]


def test_a_store_of_which_nothing_can_be_read_says_so_and_takes_new_episodes(three_files, make_episode):
    path, file = three_files
    for item in file.parent.iterdir():
        item.write_bytes(b"")
    store = EpisodeStore.open(path)
    assert (store.summary()["unreadable_episodes"], store.summary()["return_mean"]) == (9, None)
    assert sorted(number for damage in store.verify() for number in damage.episodes) == list(range(9))
    assert list(store.episodes(skip_damaged=True)) == []
    store.append([make_episode(store.spec, number=9)])
    (left,) = EpisodeStore.open(path).episodes(skip_damaged=True)
    assert left.source.seed == 9


def test_a_flipped_bit_in_an_array_is_found_by_the_digest(three_files):
    path, file = three_files
    content = bytearray(file.read_bytes())
    sound = list(EpisodeStore.open(path).episodes())
    where = content.find(np.ascontiguousarray(sound[4].obs["camera"]).tobytes())
    assert where > 0
    content[where + 100] ^= 16
    file.write_bytes(content)
    (damage,) = EpisodeStore.open(path).verify()
    assert damage == Damage(f"data/{file.name}", (4,), "its digest differs")
    skipped = [e.source.seed for e in EpisodeStore.open(path).episodes(skip_damaged=True)]
    assert skipped == [0, 1, 2, 3, 5, 6, 7, 8]


@given(place=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_flipped_byte_changes_an_episode_unnoticed(three_files, place, bits):
    """Wherever a byte goes wrong, each episode comes back as it was or is named as damaged."""
    path, file = three_files
    sound = file.read_bytes()
    content = bytearray(sound)
    content[int(place * len(content))] ^= bits
    file.write_bytes(content)
    try:
        store = EpisodeStore.open(path)
        expected = None
        damaged = []
        for number, item in store.scan():
            if isinstance(item, Damage):
                assert item.file == f"data/{file.name}"
                damaged.append(number)
                continue
            rng = np.random.default_rng([number, 30])
            assert item.source.seed == number
            expected = {field.name: None for field in store.spec.observations}
            for field in store.spec.observations:
                if field.is_image:
                    expected[field.name] = rng.integers(0, 256, (30, *field.shape), dtype=np.uint8)
                elif field.name == "mark":
                    expected[field.name] = np.stack([np.full(30, number), np.arange(30)], axis=1).astype(np.float32)
                else:
                    expected[field.name] = rng.normal(0, 4, (30, *field.shape)).astype(np.float32)
                np.testing.assert_array_equal(item.obs[field.name], expected[field.name])
            np.testing.assert_array_equal(item.reward, np.arange(30) * 0.5)
        assert set(damaged) <= {3, 4, 5}
        assert expected is not None
    finally:
        file.write_bytes(sound)


def test_damaged_spec_is_refused(tmp_path, make_spec):
    store = EpisodeStore.create(tmp_path / "replay", make_spec())
    (manifest,) = (store.path / "_versions").glob("*.manifest")
    content = manifest.read_bytes()
    assert content.count(b'"control_rate_hz": 50.0')
    manifest.write_bytes(content.replace(b'"control_rate_hz": 50.0', b'"control_rate_hz": 51.0'))
    with pytest.raises(UserError, match="AgentSpec in its metadata is damaged"):
        EpisodeStore.open(store.path)


def test_damaged_manifest_is_told_and_older_versions_open(three_files):
    path, _ = three_files
    newest = max((path / "_versions").glob("*.manifest"), key=lambda file: file.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[:100])
    with pytest.raises(UserError, match="cannot open the newest version"):
        EpisodeStore.open(path)
    assert [e.source.seed for e in EpisodeStore.open(path, version=3).episodes()] == list(range(6))
    assert [e.source.seed for e in EpisodeStore.open(path, version="3").episodes()] == list(range(6))
