"""Batches on their way to the device."""

import dataclasses

import numpy as np
import torch

from robot_wm.learning.batch import TensorBatch
from robot_wm.replay.batch import SequenceBatch


def test_batch_from_numpy_keeps_every_value():
    rng = np.random.default_rng(0)
    steps = (3, 7)
    source = SequenceBatch(
        obs={
            "joints": rng.standard_normal((*steps, 5)).astype(np.float32),
            "camera": rng.integers(0, 256, (*steps, 6, 8, 3), dtype=np.uint8),
        },
        action=rng.standard_normal((*steps, 2)).astype(np.float32),
        reward=rng.standard_normal(steps).astype(np.float32),
        reward_known=rng.random(steps) < 0.5,
        is_first=rng.random(steps) < 0.5,
        is_last=rng.random(steps) < 0.5,
        is_terminal=rng.random(steps) < 0.5,
        stored={
            "deter": rng.standard_normal((3, 16)).astype(np.float32),
            "stoch": rng.integers(0, 3, (3, 4), dtype=np.uint8),
        },
        index=np.zeros(steps, np.int64),
        window={name: rng.random(3).astype(np.float32) for name in ("weight", "age")},
    )
    moved = TensorBatch.from_numpy(source, "cpu")
    groups = ("obs", "stored", "window")
    for name in (field.name for field in dataclasses.fields(moved) if field.name not in groups):
        value = torch.from_numpy(getattr(source, name))
        assert torch.equal(getattr(moved, name), value)
        assert getattr(moved, name).dtype == value.dtype
    for ours, theirs in ((getattr(moved, group), getattr(source, group)) for group in groups):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], torch.from_numpy(theirs[name])) for name in theirs)
