"""What each of several processes does in test_ranks: 20 updates of each kind of learner, its own share and the whole.

Started by torchrun, with a folder to leave the learners in: ``<case>-<rank>`` and, of rank 0, ``<case>-whole``.
Shape letters: R ranks, B sequences a rank, T steps, H imagined steps, W windows searched again, K1 positions.
"""

import json
import sys
from pathlib import Path

import sequences
import torch
import windows
from safetensors.torch import save_file

from robot_wm.dreamer.noise import Noise
from robot_wm.learning.process_group import process_group
from robot_wm.search.sampled import SearchNoise
from robot_wm.step import each

UPDATES, B = 20, 4


def of_dreamer(noise, rank, size):
    own = slice(rank * B, (rank + 1) * B)

    def imagined(tensor):  # [H, T*R*B, ...] -> [H, T*B, ...]
        return tensor.unflatten(1, (-1, size * B))[:, :, own].flatten(1, 2)

    return list(range(size * B))[own], Noise(noise.posterior[:, own], imagined(noise.prior), imagined(noise.action))


def of_muzero(noise, rank, size):
    """The windows that are searched again are a batch's last ones, of which every rank has its share."""
    W = B // 2
    rows = [part * size * W + rank * W + row for part in (0, 1) for row in range(W)]
    each_search = noise[0].shape[0] // (size * W)  # K1
    own = slice(rank * W * each_search, (rank + 1) * W * each_search)
    return rows, SearchNoise(*(None if value is None else value[own] for value in noise))


CASES = {
    "dreamer": (sequences.Workshop, {}, of_dreamer),
    "adapting": (sequences.Workshop, {"pessimism": 0.5, "anchor": 0.01}, of_dreamer),
    "muzero": (windows.Workshop, {"batch_size": B}, of_muzero),
}


def learn(workshop, settings, share, ranks):
    """State of this rank's learner, and on rank 0 of one that learns from all batches, after the same updates."""
    settings = {"warmup": 100, "learning_rate": 1e-3} | settings
    whole = workshop.awake(**settings)
    own = workshop.awake(seed=ranks.rank, learner_seed=ranks.rank, **settings)  # which are to begin as rank 0 does
    own.join(ranks)
    for seed in range(UPDATES):
        batch = workshop.batch(whole, size=ranks.size * B, seed=seed, first=0.1)
        noise = whole.draw_noise(batch)
        rows, own_noise = share(noise, ranks.rank, ranks.size)
        own.update(type(batch)(**each(lambda tensor, rows=rows: tensor[rows], batch)), own_noise)
        if ranks.rank == 0:
            whole.update(batch, noise)
    return own.state_dict(), whole.state_dict()


def main(folder):
    with process_group(torch.device("cpu")) as ranks:
        for case, (workshop, settings, share) in CASES.items():
            own, whole = learn(workshop(), settings, share, ranks)
            save_file(own, folder / f"{case}-{ranks.rank}")
            if ranks.rank == 0:
                save_file(whole, folder / f"{case}-whole")
        exchanged = {
            "rows": ranks.rows([ranks.rank, 0.5]).tolist(),
            "texts": ranks.texts("ä" * ranks.rank),
            "told": ranks.told(lambda: {"rank": ranks.rank}),
            "seed": ranks.seed(7),
        }
        (folder / f"exchanged-{ranks.rank}").write_text(json.dumps(exchanged))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
