"""Keeping a store small and quick: quota, compaction, removal of old versions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robot_wm.replay.rows import bytes_per_step
from robot_wm.replay.table import lance_errors

if TYPE_CHECKING:
    from robot_wm.replay.store import EpisodeStore

_FILE_BYTES = 64 * 2**20  # of episodes in one data file: few files to open, and little to write anew
_FILE_ROWS = 1024


@dataclass(frozen=True)
class Upkeep:
    """When a store commits and what it keeps.

    Every commit lists all data files of its version, so that small files and old versions must go now and then:
    after each ``every_commits`` commits files are joined and all but the newest ``keep_versions`` untagged versions
    are removed.
    """

    commit_episodes: int = 1  # finished episodes a commit: what a crash may cost
    quota_bytes: int | None = None  # of the newest version's episodes
    quota_steps: int | None = None
    keep_versions: int = 100
    every_commits: int = 50

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and value < 1:
                raise ValueError(f"{name} must be positive, not {value}")


def rows_per_file(store: EpisodeStore) -> int:
    """Episodes that make up a data file of a good size."""
    steps = store.index.steps
    mean = bytes_per_step(store.spec) * max(1.0, float(steps.mean())) if len(steps) else _FILE_BYTES / _FILE_ROWS
    return int(np.clip(_FILE_BYTES / mean, 1, _FILE_ROWS))


def over_quota(store: EpisodeStore) -> bool:
    """Whether the store's own quota is exceeded."""
    return _to_drop(store, store.options.quota_bytes, store.options.quota_steps) > 0


def run(store: EpisodeStore) -> None:
    """What is due after a commit: quota, compaction, cleanup."""
    options = store.options
    if over_quota(store):
        enforce_quota(store, max_bytes=options.quota_bytes, max_steps=options.quota_steps)
    else:
        compact(store, keep_versions=options.keep_versions)


def _to_drop(store: EpisodeStore, max_bytes: int | None, max_steps: int | None) -> int:
    """How many of the oldest episodes exceed the quota; the newest one always stays."""
    limits = [max_bytes // bytes_per_step(store.spec)] if max_bytes is not None else []
    limits += [max_steps] if max_steps is not None else []
    steps = store.index.steps
    if not limits or not len(steps):
        return 0
    kept_steps = np.cumsum(steps[::-1])[::-1]  # [E] from each episode to the newest
    return min(int((kept_steps > min(limits)).sum()), len(steps) - 1)


def enforce_quota(store: EpisodeStore, *, max_bytes: int | None, max_steps: int | None) -> dict[str, Any]:
    """Drop the oldest episodes until the newest version has at most ``max_bytes`` of data and ``max_steps`` steps.

    Tagged versions are not touched: episodes that they hold stay on disk until the tag goes, and are told as
    ``protected_bytes``. Untagged versions give way when the disk use is still over ``max_bytes``.
    """
    store.flush()
    with store.table.location.exclusive():
        store.refresh()
        drop = _to_drop(store, max_bytes, max_steps)
        if drop:
            number = int(store.index.number[drop])
            with lance_errors(f"{store.location}: cannot drop {drop} episodes"):
                store.table.latest().delete(f"number < {number}")
            store.refresh()
    result = {"dropped_episodes": drop} | compact(store, keep_versions=store.options.keep_versions)
    if max_bytes is not None and result["disk_bytes"] > max_bytes:
        result |= compact(store, keep_versions=1)
    live = store.summary()["bytes"]
    protected = sorted(name for name, version in store.tags().items() if version != store.version)
    return result | {
        "episodes": len(store.index.number),
        "steps": int(store.index.steps.sum()),
        "protected_by_tags": protected,
        "protected_bytes": max(0, result["disk_bytes"] - live) if protected else 0,
    }


def compact(store: EpisodeStore, *, keep_versions: int) -> dict[str, Any]:
    """Join small data files and remove all but the newest ``keep_versions`` untagged versions.

    Episodes stay the same, bit for bit. Needs room on disk for a copy of the files being joined.
    """
    rows = rows_per_file(store)
    with store.table.location.exclusive():
        before, versions_before = store.table.bytes(), len(store.table.versions())
        dataset = store.table.latest()
        with lance_errors(f"{store.location}: cannot compact"):
            metrics = dataset.optimize.compact_files(
                target_rows_per_fragment=rows, batch_size=max(1, min(rows, 64)), num_threads=1
            )
            # Where all writers hold a lock, files that no version refers to are remains of killed ones. Elsewhere one
            # may be about to commit them, and they stay until Lance takes them for remains, after a week.
            dataset.cleanup_old_versions(
                retain_versions=keep_versions,
                delete_unverified=store.table.location.locks,
                error_if_tagged_old_versions=False,
            )
        store.refresh()
        after, versions_after = store.table.bytes(), len(store.table.versions())
    return {
        "version": store.version,
        "files_before": int(metrics.files_removed),
        "files_after": int(metrics.files_added),
        "versions_removed": versions_before - versions_after,
        "disk_bytes_before": before,
        "disk_bytes": after,
    }
