"""Options of the task that is evaluated or run: those that have flags of their own, and those it was trained with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from robot_wm.errors import UserError

if TYPE_CHECKING:
    from robot_wm.spec import AgentSpec


def short_options(
    task: str, spec: AgentSpec, option: Mapping[str, Any], *, backend: str | None, command: str | None
) -> dict[str, str]:
    """Task options that have a flag of their own. The task's factory checks their values."""
    from robot_wm.tasks import GYM_PREFIX

    given = {name: text for name, text in (("backend", backend), ("command", command)) if text is not None}
    for name in given:
        if name in option:
            raise UserError(f"--{name} and --option.{name}: give one of them")
        if task.startswith(GYM_PREFIX):
            raise UserError(f"--{name}: for our own tasks, not for {task}")
    if isinstance(latencies := option.get("sensor_model"), Mapping) and task.startswith(GYM_PREFIX):
        raise UserError(f"{_flags(latencies)}: for our own tasks, not for {task}")
    if command is not None and not spec.commands:
        raise UserError(f"--command: task {task} follows no command")
    return given


def with_latencies(
    option: dict[str, str] | None, observation_latency_s: float | None, action_latency_s: float | None
) -> dict[str, Any]:
    """Task options with the latencies that have a flag of their own: parts of the option ``sensor_model``."""
    given = {"observation_latency_s": observation_latency_s, "action_latency_s": action_latency_s}
    given = {name: value for name, value in given.items() if value is not None}
    if not given:
        return dict(option or {})
    for spelt in option or {}:
        if spelt.replace("-", "_") == "sensor_model":
            raise UserError(f"{_flags(given)} and --option.{spelt}: give one of them")
    return {**(option or {}), "sensor_model": given}


def told_of_world(options: Mapping[str, Any]) -> dict[str, Any]:
    """What a result tells of the task options ``sensor_model`` and ``randomisation``, where they were given."""
    from robot_wm.tasks import parse_options

    told = ("sensor_model", "randomisation")
    return {name: value for name, value in parse_options(options).items() if name in told}


def _flags(latencies: Iterable[str]) -> str:
    return " and ".join(f"--{name.replace('_', '-')}" for name in latencies)


def task_options(config: object, task: str) -> dict[str, str | int | float | bool]:
    """Options of the task that a bundle's lineage says it was trained with; none for another task."""
    if not isinstance(config, dict) or config.get("task") != task:
        return {}
    options = config.get("task_options")
    return dict(options) if isinstance(options, dict) else {}
