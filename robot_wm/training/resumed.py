"""Which settings of a run can change when it is gone on from: all but those that what it has made is shaped by."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from robot_wm.errors import UserError
from robot_wm.training.config import TrainConfig, flag

# The replay in memory has a stream for each environment, and a room for each stream.
_SHAPE_REPLAY = ("envs", "replay_capacity_steps", "dreamer.batch_length")
_SHAPE_AGENT = tuple(
    f"dreamer.{name}"
    for name in (
        *("size", "deter", "hidden", "stoch", "classes", "depth", "units", "blocks"),
        *("prior_layers", "encoder_layers", "decoder_layers", "reward_layers", "continue_layers"),
        *("actor_layers", "critic_layers", "image_multipliers", "image_kernel", "bins"),
        *("unimix", "actor_scale", "min_std", "max_std"),  # of what the weights mean, and began as
    )
)
FIXED = frozenset((*_SHAPE_REPLAY, *_SHAPE_AGENT))
_OF_EVERY_START = ("run_dir", "steps", "time_limit_s")  # who goes on says how far, and nobody has to be told

_log = logging.getLogger(__name__)


def require_resumable(saved: TrainConfig, asked: TrainConfig, *, origin: Path) -> None:
    """Raise UserError where ``asked`` changes what is `FIXED` in the run of the checkpoint ``origin``.

    Other changes hold from now on, and a warning tells them: a YAML file or preset may bring more than was meant.
    """
    changed = {name: values for name, *values in _differences(saved, asked) if name not in _OF_EVERY_START}
    fixed = [f"{flag(name)} {before} (got {now})" for name, (before, now) in changed.items() if name in FIXED]
    if fixed:
        raise UserError(f"{origin}: made with {', '.join(fixed)}, which a run keeps; for another, take a new --run-dir")
    if changed:
        told = ", ".join(f"{flag(name)} {now} (was {before})" for name, (before, now) in changed.items())
        _log.warning("%s: going on with %s", origin, told)


def _differences(saved: BaseModel, asked: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    for name, before in saved:
        now = getattr(asked, name)
        if isinstance(before, BaseModel):
            yield from _differences(before, now, f"{prefix}{name}.")
        elif before != now and not (name == "replay_capacity_steps" and before is None):  # an older version's
            yield f"{prefix}{name}", before, now
