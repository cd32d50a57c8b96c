"""Which settings of a run can change when it is gone on from: all but those that what it has made is shaped by."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from robot_wm.agents import agent_kind
from robot_wm.errors import UserError
from robot_wm.training.config import TrainConfig, flag

# The replay in memory has a stream for each environment, and a room for each stream.
_SHAPE_REPLAY = ("agent", "envs", "collectors", "replay_capacity_steps")
_OF_EVERY_START = ("run_dir", "steps", "time_limit_s")  # who goes on says how far, and nobody has to be told

_log = logging.getLogger(__name__)


def fixed(config: TrainConfig) -> frozenset[str]:
    """Settings that what such a run has made is shaped by."""
    kind = agent_kind(config.agent)
    return frozenset((*_SHAPE_REPLAY, *(f"{kind.name}.{name}" for name in (*kind.shapes, "batch_length"))))


def require_resumable(saved: TrainConfig, asked: TrainConfig, *, origin: Path) -> None:
    """Raise UserError where ``asked`` changes what is `fixed` in the run of the checkpoint ``origin``.

    Other changes hold from now on, and a warning tells them: a YAML file or preset may bring more than was meant.
    """
    changed = {name: values for name, *values in _differences(saved, asked) if name not in _OF_EVERY_START}
    kept = fixed(saved)
    told = [f"{flag(name)} {before} (got {now})" for name, (before, now) in changed.items() if name in kept]
    if told:
        raise UserError(f"{origin}: made with {', '.join(told)}, which a run keeps; for another, take a new --run-dir")
    if changed:
        others = ", ".join(f"{flag(name)} {now} (was {before})" for name, (before, now) in changed.items())
        _log.warning("%s: going on with %s", origin, others)


def _differences(saved: BaseModel, asked: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    for name, before in saved:
        now = getattr(asked, name, None)
        if isinstance(before, BaseModel):
            kind = saved.agent if isinstance(saved, TrainConfig) else name
            yield from _differences(before, now, f"{prefix}{kind}.")
        elif before != now and not (name == "replay_capacity_steps" and before is None):  # an older version's
            yield f"{prefix}{name}", before, now
