"""Where torch computes, by the name that a setting or a command gives it."""

from __future__ import annotations

import os

import torch

from robot_wm.errors import UserError


def place(name: str) -> torch.device:
    """The device of that name: auto (CUDA if there is any), cpu, cuda, or one of several, such as cuda:1.

    Each rank of a host has a GPU of its own. Raises UserError for one that is not there or that no learner computes on.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:  # no name that torch knows
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"--device {name}: neither auto, cpu nor cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--device {name}: torch sees no CUDA device; see `robot-wm doctor`")
    if device.type == "cuda" and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        return _of_rank()
    if device.type == "cuda" and (device.index or 0) >= (count := max(1, torch.cuda.device_count())):
        raise UserError(f"--device {name}: torch sees {count} CUDA devices, the first of them cuda:0")
    return device


def _of_rank() -> torch.device:
    """The GPU of this rank under torchrun; UserError where there are fewer than ranks."""
    local, there = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if local >= there:
        raise UserError(
            f"--device: rank {local} of this host has no GPU of its own, torch sees {there}; start as many ranks as"
            " there are GPUs, or take --device cpu"
        )
    return torch.device("cuda", local)


def device_name(device: torch.device) -> str:
    """What a result calls it: the GPU's product name, or cpu."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
