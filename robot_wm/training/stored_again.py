"""What the agent keeps beside steps, computed for those that came from a store, where nobody had."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from robot_wm.learning.batch import TensorBatch
from robot_wm.learning.learner import Learner
from robot_wm.replay.placed import Placed
from robot_wm.replay.sampler import SequenceSampler


def recompute(learner: Learner, sampler: SequenceSampler, placed: Sequence[Placed], *, batch_size: int) -> None:
    """Run the agent over these episodes in order and store what it finds, ``batch_size`` episodes at a time.

    A window begins with what was found at the end of the one before. An episode whose first steps have been overwritten
    begins with what is stored at the oldest that is left.
    """
    dtypes = {entry.name: getattr(torch, entry.dtype) for entry in learner.agent.stored}
    if not dtypes:
        return
    spans = sorted(_spans(sampler, placed), key=lambda span: span[1] - span[2])  # longest first
    for begin in range(0, len(spans), batch_size):
        lanes = np.array(spans[begin : begin + batch_size], np.int64)  # [B, 3] stream, context step, end
        for ahead in range(0, int((lanes[:, 2] - lanes[:, 1]).max()) - 1, sampler.length):
            going = lanes[lanes[:, 1] + ahead + 1 < lanes[:, 2]]
            # Always as many as a batch of an update has: compiled code is made for one shape.
            lane = going[np.arange(batch_size) % len(going)]
            drawn = sampler.at(lane[:, 0], lane[:, 1] + ahead)
            found = learner.recompute_stored(TensorBatch.from_numpy(drawn, learner.device))
            values = {name: value.to(dtypes[name]).cpu().numpy() for name, value in found.items()}
            index = drawn.index[: len(going), 1:]
            sampler.write_back(index, {name: value[: len(going)] for name, value in values.items()})


def _spans(sampler: SequenceSampler, placed: Sequence[Placed]) -> list[tuple[int, int, int]]:
    """Stream, position of the context step, and end of each episode, whose pieces are joined."""
    oldest = (sampler.rings.count - sampler.rings.size).clip(min=0)  # [streams]
    spans: list[tuple[int, int, int]] = []
    for item in placed:
        if spans and item.age and (spans[-1][0], spans[-1][2]) == (item.stream, item.begin):
            spans[-1] = (*spans[-1][:2], item.end)
            continue
        left = int(oldest[item.stream])
        # What is before a first step says nothing. Where the step before is gone, the oldest that is left is context.
        begins = item.begin >= left if item.age == 0 else item.begin > left
        spans.append((item.stream, item.begin - 1 if begins else max(item.begin, left), item.end))
    return spans
