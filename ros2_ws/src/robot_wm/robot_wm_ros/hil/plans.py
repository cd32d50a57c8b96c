"""What the agent's planner did while it was measured, from its own reports: one for each segment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_PREFIX = "planner_"
_WORST = ("p50_us", "p99_us", "max_us")  # of all segments; everything else is counted


def planner_figures(reports: Sequence[Mapping[str, str]]) -> dict[str, Any] | None:
    """Counts of all segments together, and the worst segment's durations in µs; None where nothing planned."""
    planned = [report for report in reports if report.get("planner", "none") != "none"]
    if not planned:
        return None
    found: dict[str, Any] = {"planner": planned[-1]["planner"]}
    for report in planned:
        for key, text in report.items():
            name = key.removeprefix(_PREFIX)
            if not key.startswith(_PREFIX):
                continue
            if name in _WORST:
                known = [value for value in (found.get(name), float(text)) if value is not None and value == value]
                found[name] = max(known, default=None)
            elif text.isdecimal():
                found[name] = found.get(name, 0) + int(text)
    return found
