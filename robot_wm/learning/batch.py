"""Replayed sequences as tensors on the device of an update."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from robot_wm.replay.batch import SequenceBatch


@dataclass(frozen=True)
class TensorBatch:
    """``replay.SequenceBatch`` on a device; T1 = T + 1, one context step first.

    ``action[:, t]`` was taken after ``obs[:, t]``; step 0 gives only its action and what is stored.
    """

    obs: dict[str, Tensor]  # name -> [B, T1, *input shape], float32 scaled or uint8
    action: Tensor  # [B, T1, A] float32, model units or one-hot
    reward: Tensor  # [B, T1] float32
    is_first: Tensor  # [B, T1] bool
    is_last: Tensor  # [B, T1] bool
    is_terminal: Tensor  # [B, T1] bool
    stored: dict[str, Tensor]  # name -> [B, *shape] at step 0 or [B, T1, *shape], float32 or uint8

    @classmethod
    def from_numpy(cls, batch: SequenceBatch, device: torch.device | str) -> TensorBatch:
        """Copy to the device; from pinned memory and without waiting when that is a GPU."""
        device = torch.device(device)

        def move(array: np.ndarray) -> Tensor:
            tensor = torch.from_numpy(np.ascontiguousarray(array))
            return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor

        return cls(
            obs={name: move(array) for name, array in batch.obs.items()},
            action=move(batch.action),
            reward=move(batch.reward),
            is_first=move(batch.is_first),
            is_last=move(batch.is_last),
            is_terminal=move(batch.is_terminal),
            stored={name: move(array) for name, array in batch.stored.items()},
        )
