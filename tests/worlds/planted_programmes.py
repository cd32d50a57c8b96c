"""Programmes whose curves are drawn, not encoded: smaller and poorer from mode to mode, as real ones are."""

from __future__ import annotations

import numpy as np

from robot_wm_worlds.video.encoder import MODES, QUANTISERS, SPREADS
from robot_wm_worlds.video.programme import Programme


def planted(seed: int, chunks: int = 8) -> Programme:
    """Chunks of very different cost, each with a spread that suits it better than the others."""
    rng = np.random.default_rng(seed)
    octaves = (np.array(QUANTISERS) - 30) / rng.uniform(5, 7, (chunks, 1))  # [N, Q]
    bits = rng.uniform(9, 14, (chunks, 1)) - octaves
    vmaf = 100 - rng.uniform(3, 15, (chunks, 1)) * 2 ** (octaves * rng.uniform(0.6, 1.2, (chunks, 1)))
    size = np.concatenate([2 ** (bits + rng.uniform(-0.2, 0.2, (chunks, 1))) for _ in SPREADS], axis=1)
    quality = np.concatenate([vmaf + rng.uniform(-1, 1, (chunks, 1)) for _ in SPREADS], axis=1)
    assert size.shape == (chunks, len(MODES))
    whole = np.maximum(size.round(), 2).astype(np.int64)
    return Programme(tuple(("planted", n) for n in range(chunks)), whole, whole // 2, quality, quality / 2)
