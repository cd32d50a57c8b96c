"""Calls into an environment that somebody else wrote: what it raises, and what it gives back."""

from __future__ import annotations

import logging
import math
import os
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from robot_wm.errors import StoppedError, UserError
from robot_wm.figures import number

FLOAT32_MAX = float(np.finfo(np.float32).max)  # rewards are stored as float32
_log = logging.getLogger(__name__)


@contextmanager
def foreign(task: str, doing: str) -> Iterator[None]:
    """Turn what an environment's own code raises while ``doing`` into a UserError of one line.

    Its traceback goes to a file that the line names. What is no Exception is told, too (a SystemExit, a panic in Rust,
    a cancelled coroutine), but for what a user's or scheduler's signal raises.
    """
    try:
        yield
    except (UserError, KeyboardInterrupt, StoppedError):
        raise
    except BaseException as error:
        told = " ".join(_text(error, str).split()) or "no message"
        kept = _kept(traceback.format_exc())
        raise UserError(
            f"task {task}: {doing} raised {type(error).__name__}: {told[:400]} (traceback: {kept})"
        ) from error


def _kept(text: str) -> str:
    """The file into which a traceback was written."""
    try:
        descriptor, path = tempfile.mkstemp(prefix="robot_wm_env_", suffix=".log")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        return f"not written, {error.strerror}"
    return path


def attribute(env: Any, name: str, default: Any) -> Any:
    """An attribute of an environment; ``default`` where it has none, or none yet (a property that raises)."""
    try:
        return getattr(env.unwrapped, name, default)
    except Exception as error:
        _log.debug("%s.%s: %s: %s", type(env.unwrapped).__name__, name, type(error).__name__, error)
        return default


def as_reset(result: Any) -> tuple[Any, Mapping[str, Any]]:
    """Observation and info of a reset; Gym before 0.26 gives the observation alone."""
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], (Mapping, type(None))):
        return result[0], result[1] or {}
    return result, {}


def as_step(task: str, result: Any) -> tuple[Any, float, bool, bool, Mapping[str, Any]]:
    """Observation, reward, terminated, truncated and info of a step.

    Gym before 0.26 gives (observation, reward, done, info), and its time limit tells in the info that it cut.
    Raises UserError for anything else, and for a reward or flag that is not one number.
    """
    if not isinstance(result, tuple) or len(result) not in (4, 5):
        told = f"{len(result)} values" if isinstance(result, tuple) else f"a {type(result).__name__}"
        raise UserError(
            f"task {task}: step() gives {told}, not (observation, reward, terminated, truncated, info) of Gymnasium"
        )
    observation, reward, ended, *cut, told = result
    info: Mapping[str, Any] = told if isinstance(told, Mapping) else {}
    truncated = _flag(task, "truncated", cut[0] if cut else info.get("TimeLimit.truncated", False))
    terminated = _flag(task, "terminated", ended) and (len(cut) == 1 or not truncated)
    return observation, _reward(task, reward), terminated, truncated, info


def _reward(task: str, value: Any) -> float:
    told = number(value)
    if told is None:
        raise UserError(f"task {task}: reward is {shown(value)}, not one number")
    if not abs(told) <= FLOAT32_MAX:
        raise UserError(f"task {task}: reward is {told:g}; it must be finite, and within float32")
    return told


def _flag(task: str, name: str, value: Any) -> bool:
    told = number(value)
    if told is None or math.isnan(told):
        raise UserError(f"task {task}: {name} is {shown(value)}, not true or false")
    return bool(told)


def shown(value: Any) -> str:
    """What an environment gave, short enough for a refusal; it may be anything."""
    return f"an array of shape {value.shape}" if isinstance(value, np.ndarray) else _text(value, repr)[:80]


def _text(value: Any, spell: Callable[[Any], str]) -> str:
    try:
        return spell(value)
    except Exception:  # of its own __str__; or a whole number of too many digits
        return f"a {type(value).__name__} that cannot be shown"
