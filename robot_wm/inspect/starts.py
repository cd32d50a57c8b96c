"""Real states to begin from: steps of stored episodes, each of which its simulator can come to again."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from robot_wm.errors import UserError
from robot_wm.replay.episode import Episode
from robot_wm.replay.store import EpisodeStore


class Start(NamedTuple):
    """After this observation of this episode the policy takes over."""

    number: int  # of the episode in its store
    episode: Episode
    step: int  # 0: at the reset


class Starts(NamedTuple):
    """What was drawn of a store, and how many draws fell on episodes that no simulator has a seed of."""

    chosen: list[Start]
    left_out: int


def draw_starts(
    store: EpisodeStore, count: int, rng: np.random.Generator, *, newest_steps: int | None = None
) -> Starts:
    """Up to ``count`` states, each with the same chance; of an episode in pieces those of its first piece.

    Raises UserError where the store has none: robots' recordings alone, or nothing.
    """
    index = store.index
    steps = np.where(index.readable & index.begins, index.steps - 1, 0)  # [E]: after an episode's last nothing is done
    if newest_steps is not None:
        steps = np.where(np.cumsum(index.steps[::-1])[::-1] <= newest_steps, steps, 0)
    total = int(steps.sum())
    ends = np.cumsum(steps)
    drawn = np.sort(rng.choice(total, min(count, total), replace=False)) if total else np.zeros(0, np.int64)
    rows = np.searchsorted(ends, drawn, side="right")
    chosen: list[Start] = []
    left_out = 0
    for row in np.unique(rows):
        number = int(index.number[row])
        episode = store.episode(number)
        here = drawn[rows == row] - (ends[row] - steps[row])
        if episode.source.kind == "sim" and episode.source.seed is not None:
            chosen += [Start(number, episode, int(step)) for step in here]
        else:
            left_out += len(here)
    if not chosen:
        raise UserError(f"{store.location}: no episode that a simulator could come back to (robots' have no seed)")
    return Starts(chosen, left_out)
