"""Quota, compaction, cleanup: what goes, what is protected, and that the rest stays bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from robot_wm.errors import UserError
from robot_wm.replay.rows import bytes_per_step
from robot_wm.replay.store import EpisodeStore
from robot_wm.replay.upkeep import Upkeep, rows_per_file


def fill(path, spec, make_episode, count=10, steps=20, **options):
    store = EpisodeStore.create(path, spec, options=Upkeep(**options))
    for n in range(count):
        store.append([make_episode(spec, number=n, steps=steps)])
    return store


def digests(store):
    assert store.verify() == []
    return list(store.index.digest)


def data_files(store):
    return len(list((store.path / "data").iterdir()))


def test_compaction_joins_files_and_keeps_episodes_and_tags(tmp_path, make_spec, make_episode):
    store = fill(tmp_path / "replay", make_spec(image=True), make_episode)
    store.tag("early", 4)
    before = digests(store)
    result = store.compact(keep_versions=1)
    assert digests(store) == before
    assert store.index.number.tolist() == list(range(10))
    assert (result["files_before"], result["files_after"]) == (10, 1)
    assert result["disk_bytes"] < result["disk_bytes_before"]
    assert [entry["version"] for entry in store.log()][-1] == 4
    assert len(store.log()) == 2
    assert digests(EpisodeStore.open(store.path, version="early")) == before[:3]
    assert data_files(store) == 4  # the joined one, and three of the tagged version
    with pytest.raises(UserError, match="no version 5"):
        EpisodeStore.open(store.path, version=5)


def test_upkeep_runs_by_itself(tmp_path, make_spec, make_episode):
    store = fill(tmp_path / "replay", make_spec(), make_episode, count=23, every_commits=5, keep_versions=4)
    assert [e.source.seed for e in store.episodes()] == list(range(23))
    assert len(store.log()) <= 4 + 5
    assert len(store.dataset.get_fragments()) < 10


@pytest.mark.parametrize("joined", [False, True])
def test_quota_drops_the_oldest(tmp_path, make_spec, make_episode, joined):
    spec = make_spec(image=True)
    store = fill(tmp_path / "replay", spec, make_episode)
    if joined:
        store.compact(keep_versions=1)
    kept = digests(store)[-4:]
    result = store.enforce_quota(max_steps=99)
    assert (result["dropped_episodes"], result["episodes"], result["steps"]) == (6, 4, 80)
    assert digests(store) == kept
    assert store.index.number.tolist() == [6, 7, 8, 9]
    result = store.enforce_quota(max_bytes=3 * 20 * bytes_per_step(spec))
    assert result["dropped_episodes"] == 1
    assert (result["protected_bytes"], result["protected_by_tags"]) == (0, [])
    assert len(store.log()) == 1
    assert data_files(store) <= 3
    store.append([make_episode(spec, number=10)])
    assert store.index.number.tolist() == [7, 8, 9, 10]


def test_tagged_versions_outlive_the_quota_and_are_told(tmp_path, make_spec, make_episode):
    store = fill(tmp_path / "replay", make_spec(image=True), make_episode)
    before = digests(store)
    store.tag("paper", 9)
    result = store.enforce_quota(max_bytes=20 * bytes_per_step(store.spec))
    assert (result["dropped_episodes"], result["episodes"]) == (9, 1)
    assert result["protected_by_tags"] == ["paper"]
    assert result["protected_bytes"] > 7 * 20 * bytes_per_step(store.spec)
    assert digests(EpisodeStore.open(store.path, version="paper")) == before[:8]
    store.untag("paper")
    assert store.enforce_quota(max_bytes=20 * bytes_per_step(store.spec))["protected_bytes"] == 0


def test_a_stores_own_quota_holds_while_it_grows(tmp_path, make_spec, make_episode):
    store = fill(tmp_path / "replay", make_spec(), make_episode, count=12, quota_steps=100)
    assert store.summary()["steps"] <= 100
    assert [e.source.seed for e in store.episodes()] == [7, 8, 9, 10, 11]


def test_a_data_file_has_64_mib_or_1024_episodes(tmp_path, make_spec, make_episode):
    spec = make_spec(image=True)
    store = EpisodeStore.create(tmp_path / "replay", spec)
    assert rows_per_file(store) == 1024
    store.append([make_episode(spec, steps=2)])
    assert rows_per_file(store) == 1024
    store.append([make_episode(spec, steps=5000)])
    assert 1 < rows_per_file(store) == 64 * 2**20 // (bytes_per_step(spec) * 2501) < 1024


def test_a_quota_counts_what_another_process_has_added(tmp_path, make_spec, make_episode):
    store = fill(tmp_path / "replay", make_spec(), make_episode, count=3)  # of 20 steps
    other = EpisodeStore.open(store.path)
    for number in (3, 4):
        other.append([make_episode(store.spec, number=number, steps=20)])
    assert store.enforce_quota(max_steps=40)["dropped_episodes"] == 3
    assert [e.source.seed for e in EpisodeStore.open(store.path).episodes()] == [3, 4]
    assert other.refresh() == store.version


def test_the_newest_episode_always_stays(tmp_path, make_spec, make_episode):
    store = fill(tmp_path / "replay", make_spec(), make_episode, count=3)
    store.enforce_quota(max_steps=1)
    assert [e.source.seed for e in store.episodes()] == [2]


def test_nonsense_options_are_refused():
    for name in ("commit_episodes", "quota_bytes", "quota_steps", "keep_versions", "every_commits"):
        with pytest.raises(ValueError, match=name):
            Upkeep(**{name: 0})
    assert np.isfinite(Upkeep().keep_versions)
