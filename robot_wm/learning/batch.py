"""Replayed sequences as tensors on the device of an update."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from robot_wm.replay.batch import SequenceBatch
from robot_wm.step import Steps, each


@dataclass(frozen=True, kw_only=True)
class TensorBatch(Steps[Tensor]):
    """``replay.SequenceBatch`` on a device; T1 = T + 1, one context step first.

    ``action[:, t]`` was taken after ``obs[:, t]``; step 0 gives only its action and what is stored.
    """

    stored: dict[str, Tensor]  # name -> [B, *shape] at step 0 or [B, T1, *shape], float32 or uint8
    window: dict[str, Tensor] = field(default_factory=dict)  # "weight" and "age" of each window [B] float32

    @classmethod
    def from_numpy(cls, batch: SequenceBatch, device: torch.device | str) -> TensorBatch:
        """Copy to the device; from pinned memory and without waiting when that is a GPU."""
        device = torch.device(device)

        def move(array: np.ndarray) -> Tensor:
            tensor = torch.from_numpy(np.ascontiguousarray(array))
            return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor

        return cls(**each(move, batch, cls))
