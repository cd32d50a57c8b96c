"""The parameters that say whether the agent plans, for how long, and when it gives that up."""

from __future__ import annotations

import re
from typing import Any

from robot_wm.errors import UserError
from robot_wm.runtime.planning.config import PlanningConfig
from robot_wm.runtime.planning.request import AUTO, NONE, PlannerRequest
from robot_wm_ros.declaration import Declaration

_row, _PLANNING = Declaration, PlanningConfig()
_ALL = -1  # of planner_reuse_ticks
_KIND = re.compile(r"[a-z][a-z0-9_]{0,40}")

DECLARATIONS = (
    _row(
        "planner",
        NONE,
        "what looks ahead before acting: none; the bundle's kind, such as dreamer or muzero; auto: the bundle's"
        " planner, if it has one that paid at export",
    ),
    _row("planner_force", False, "run also a planner that did not pay at export"),
    _row(
        "planner_budget_ms",
        0.0,
        "ms of one search, from when it begins; 0: what the planner was exported for",
        limits=(0.0, 1e4),
    ),
    _row(
        "planner_margin_ms",
        0.0,
        "ms before the deadline that are kept free for the safety filter and publishing; 0: a fifth of deadline_s",
        limits=(0.0, 1e4),
    ),
    _row(
        "planner_waits",
        _PLANNING.waits,
        "ticks wait for the plan that they asked for; false: none ever does, and a plan's later actions serve the ticks"
        " after, if the actor has done what it begins with",
    ),
    _row(
        "planner_simulations",
        0,
        "of a planner that is a tree, which must be what it was exported with; 0: whatever that is",
        limits=(0, 1_000_000),
    ),
    _row("planner_share", _PLANNING.share, "of the ticks that may search, over any long time", limits=(0.0, 1.0)),
    _row(
        "planner_gain_limit",
        _PLANNING.gain_limit,
        "reward units: a plan that promises no more than that over the actor's own is not used",
        limits=(-1e9, 1e9),
    ),
    _row(
        "planner_reuse_ticks",
        _ALL,
        "ticks after its search that a plan is used, if reality follows it; -1: all that it has; 0: none",
        limits=(_ALL, 1_000_000),
    ),
    _row(
        "planner_surprise_limit",
        0.0,
        "in the agent's unit, above it the actor acts; 0: the largest of the bundle's recorded ticks",
        limits=(0.0, 1e9),
    ),
    _row(
        "planner_late_limit",
        _PLANNING.late_limit,
        "plans in a row that were late or failed, after which there are none until ~/enable_planner",
        limits=(1, 1_000_000),
    ),
    _row(
        "planner_blend_ticks",
        _PLANNING.blend_ticks,
        "ticks of a blend from the actor's action to the planner's, and back; 0: none",
        limits=(0, 1000),
    ),
)


def take_request(given: dict[str, Any]) -> PlannerRequest:
    """The request, whose parameters leave ``given``. Raises UserError naming the parameter and its value."""
    name = given.pop("planner")
    if not _KIND.fullmatch(name):
        raise UserError(f"parameter planner: {name!r} is not {NONE}, {AUTO} or a kind of agent, such as dreamer")
    rest = {row.name: given.pop(row.name) for row in DECLARATIONS if row.name != "planner"}
    reuse_ticks = rest["planner_reuse_ticks"]
    return PlannerRequest(
        name=name,
        simulations=rest["planner_simulations"],
        forced=rest["planner_force"],
        config=PlanningConfig(
            budget_s=rest["planner_budget_ms"] * 1e-3 or None,
            margin_s=rest["planner_margin_ms"] * 1e-3 or None,
            waits=rest["planner_waits"],
            share=rest["planner_share"],
            gain_limit=rest["planner_gain_limit"],
            max_age=None if reuse_ticks == _ALL else reuse_ticks,
            surprise_limit=rest["planner_surprise_limit"] or None,
            late_limit=rest["planner_late_limit"],
            blend_ticks=rest["planner_blend_ticks"],
        ),
    )
