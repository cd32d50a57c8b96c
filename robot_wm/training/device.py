"""Where a run learns."""

from __future__ import annotations

import torch

from robot_wm.errors import UserError


def place(name: str) -> torch.device:
    """The device of a setting auto (CUDA if there is any), cpu or cuda. Raises UserError where it is missing."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device: 'cuda' was asked for, but torch sees no CUDA device; see `robot-wm doctor`")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
