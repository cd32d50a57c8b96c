"""A process that appends episodes to a store beside others: for test_bucket, run as a program.

Prints ``committed SEED`` after each.
"""

from __future__ import annotations

import sys

from writer_process import episode

from robot_wm.replay.store import EpisodeStore
from robot_wm.replay.upkeep import Upkeep


def main(uri: str, first_seed: int, count: int) -> None:
    store = EpisodeStore.open(uri, options=Upkeep(every_commits=4, keep_versions=100))
    for seed in range(first_seed, first_seed + count):
        store.append([episode(store.spec, seed, 20)])
        print(f"committed {seed}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
