"""Whether a run has its updates compiled on a CPU."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping

import torch

from robot_wm.console import messages
from robot_wm.errors import UserError
from robot_wm.training.config import TrainConfig

# Of planned updates, each of B*T. The compiler takes three minutes of a core and a quarter off an update of Dreamer:
# 0.15 s of nano and 0.24 s of 1m with 16 x 64 steps, so that a quickstart's million would not win them back, and four
# million win them back twice.
_WORTH_STEPS = 4_000_000
_WORTH_S = 1800.0  # of a run that has a time limit


def compiles_on_cpu(
    config: TrainConfig, device: torch.device, ranks: int, environ: Mapping[str, str] = os.environ
) -> bool:
    """What ``config.compile_on_cpu`` says; UserError where it asks for a C++ compiler and there is none.

    Told by the plan and never by a clock: a run that is done again computes the same bits.
    """
    if device.type != "cpu" or config.compile_on_cpu == "never":
        return False
    if config.compile_on_cpu == "auto" and not _is_long(config, ranks):
        return False
    compiler = any(shutil.which(name) for name in (environ.get("CXX", ""), "g++", "clang++") if name)
    if not compiler and config.compile_on_cpu == "always":
        raise UserError("--compile-on-cpu always: takes a C++ compiler, such as g++, and there is none on PATH")
    if compiler:
        messages().print("updates are compiled first, which takes some minutes; --compile-on-cpu never does without")
    return compiler


def _is_long(config: TrainConfig, ranks: int) -> bool:
    """Whether the updates that are planned win the compiler's time back."""
    settings = config.settings
    updates = config.steps if config.offline else config.schedule(ranks).earned(0, config.steps, 0.0)
    planned = updates * settings.batch_size * settings.batch_length
    return planned >= _WORTH_STEPS and (config.time_limit_s or math.inf) >= _WORTH_S
