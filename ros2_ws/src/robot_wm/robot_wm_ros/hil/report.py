"""Measurements as figures: percentiles, goals, rows of a table. Times in ms; None where nothing was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from robot_wm_ros.hil.measure import Measurement
from robot_wm_ros.hil.pairing import Int64

NS_PER_MS = 1e6
OVERHEAD_MS = 0.5  # goal: what the node may add to a bare echo and its own policy, at the 99th percentile
MISS_RATIO = 0.001  # goal: deadlines missed

Figures = dict[str, float | int | None]


def distribution(durations_ns: Int64) -> Figures:
    """Percentiles and jitter (the standard deviation) of durations [N]."""
    names = ("p50_ms", "p99_ms", "p999_ms", "max_ms")
    if not durations_ns.size:
        return {name: None for name in (*names, "jitter_ms")} | {"count": 0}
    values = durations_ns / NS_PER_MS
    found: Figures = dict(zip(names, np.percentile(values, (50, 99, 99.9, 100)).tolist(), strict=True))
    return found | {"jitter_ms": float(np.std(values)), "count": values.size}


def figures(agent: Measurement, echo: Measurement | None, *, deadline_ms: float) -> dict[str, Any]:
    """Everything measured at one rate, as it goes into the JSON.

    ``deadline_misses`` are ticks whose command came later than ``deadline_ms`` after the sample's stamp, or never.
    Samples that the agent never saw, or saw too late to act on, are counted apart: ``lost`` and ``superseded``.
    """
    late = int(np.count_nonzero(agent.end_to_end > deadline_ms * NS_PER_MS))
    ticks = agent.end_to_end.size + agent.unanswered
    result: dict[str, Any] = {
        "deadline_ms": deadline_ms,
        "end_to_end": distribution(agent.end_to_end),
        "stages": {name: distribution(durations) for name, durations in agent.stages.items()},
        "policy": distribution(agent.policy),
        "echo": None if echo is None else distribution(echo.end_to_end) | {"unanswered": echo.unanswered},
        "deadline_misses": late + agent.unanswered,
        "deadline_miss_ratio": (late + agent.unanswered) / ticks if ticks else None,
        "unanswered": agent.unanswered,
        **asdict(agent.samples),
        "unheard": agent.missed + (echo.missed if echo else 0),
    }
    return result | {"goals": goals(result)}


def goals(result: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Each goal with what was measured, its limit and whether it is met; None where it could not be measured."""
    echo_ms = result["echo"] and result["echo"]["p99_ms"]
    policy_ms = result["policy"]["p99_ms"]
    limit_ms = None if echo_ms is None or policy_ms is None else echo_ms + policy_ms + OVERHEAD_MS
    rules = {
        "end_to_end_p99_ms": (result["end_to_end"]["p99_ms"], limit_ms),
        "deadline_miss_ratio": (result["deadline_miss_ratio"], MISS_RATIO),
        "unaccounted": (result["unaccounted"], 0),
    }
    return {
        name: {
            "measured": measured,
            "limit": limit,
            "met": None if measured is None or limit is None else bool(measured <= limit),
        }
        for name, (measured, limit) in rules.items()
    }


def missed(result: Mapping[str, Any]) -> str:
    """How many deadlines were missed, for people to read."""
    if result["deadline_miss_ratio"] is None:
        return "nothing measured"
    return f"missed {result['deadline_misses']} times ({100 * result['deadline_miss_ratio']:.3g} %)"


def conditions(result: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """What the figures were measured under, in one line: engine, machine, its load, its scheduling."""
    load, host = result["load"], about["host"]
    busy = "" if load["cpu_busy"] is None else f" {100 * load['cpu_busy']:.0f} % busy,"
    where = f", agent on {about['robot_host']}" if about["robot_host"] else ""
    scheduling = "granted" if result["sched_fifo"] else "refused"
    return (
        f"{about['engine']} {about['precision']}; {host['usable_cores']} of {host['cores']} CPUs{busy}"
        f" load average {load['load_average']:.2f}; SCHED_FIFO {scheduling}{where}"
    )


def row(result: Mapping[str, Any]) -> dict[str, Any]:
    """One line of the table over rates; where it names nothing else, a latency is end to end."""
    echo = result["echo"] or {}
    return {
        "rate_hz": result["rate_hz"],
        **{name: result["end_to_end"][name] for name in ("p50_ms", "p99_ms", "p999_ms", "max_ms")},
        "echo_p99_ms": echo.get("p99_ms"),
        "policy_p99_ms": result["policy"]["p99_ms"],
        "miss_ratio": result["deadline_miss_ratio"],
        **{name: result[name] for name in ("lost", "superseded", "unaccounted")},
        "goals_met": all(goal["met"] is True for goal in result["goals"].values()),
    }


def quantities(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The distributions of one run, a row each, for people to read."""
    named = {"end to end": result["end_to_end"], **{f"  {k}": v for k, v in result["stages"].items()}}
    named |= {"policy": result["policy"]} | ({"bare echo": result["echo"]} if result["echo"] else {})
    columns = ("p50_ms", "p99_ms", "p999_ms", "max_ms", "jitter_ms", "count")
    return [{"": name} | {column: values[column] for column in columns} for name, values in named.items()]
