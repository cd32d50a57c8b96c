"""A manifest's planner section: it fits the tick that it starts from, and the robot's control period."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from robot_wm.errors import UserError
from robot_wm.runtime.manifest import Manifest

PLANNER: dict[str, Any] = {
    "graph": "planner.onnx",
    "root": ["next/deter", "next/stoch"],
    "noise": [{"name": "noise/root", "shape": [1, 16], "distribution": "gumbel"}],
    "outputs": [
        {"name": "action", "shape": [1, 2]},
        {"name": "scores", "shape": [1, 16]},
        {"name": "chosen", "shape": [1, 16]},
    ],
    "draws": [{"logits": "scores", "noise": "noise/root", "drawn": "chosen", "before": ["scores"]}],
    "budget_s": 0.01,
    "result": {
        "ticks": 256,
        "near_tie_ticks": 0,
        "largest_error": {"action": 1e-6},
        "free_running_flips": 0,
        "free_running_draws": 0,
        "free_running_action_divergence": 0.0,
    },
    "gate": {"episodes": 20, "planned": 12.0, "reactive": 11.0},
}


@pytest.fixture
def planned(make_agent, make_spec) -> dict[str, Any]:
    """The JSON of a manifest with a planner: of two joints, at 50 Hz."""
    body: dict[str, Any] = json.loads(make_agent(make_spec()).manifest.to_json())
    body["files"]["planner.onnx"] = {"sha256": "0" * 64, "size_bytes": 1}
    return body | {"planner": json.loads(json.dumps(PLANNER))}


def read(body: dict[str, Any]) -> Manifest:
    return Manifest.from_json(json.dumps(body).encode())


def test_a_planner_is_told_beside_the_tick_that_needs_none(planned):
    manifest = read(planned)
    assert manifest.planner is not None
    assert manifest.planner.root == ("next/deter", "next/stoch")
    assert manifest.planner.thresholds == manifest.parity.thresholds
    assert Manifest.from_json(manifest.to_json()) == manifest
    del planned["planner"]
    assert read(planned).planner is None


def _set(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(planner: dict[str, Any]) -> None:
        parent: Any = planner
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "naming"),
    [
        (_set("graph", value="other.onnx"), "planner: its graph other.onnx is not listed in files"),
        (_set("graph", value="../evil.onnx"), "planner.graph"),
        (_set("root", value=["next/ghost"]), "planner: its root next/ghost is none of the tick's outputs"),
        (_set("root", value=["state/deter"]), "its root state/deter is none of the tick's outputs"),
        (_set("root", value=[]), "planner.root"),
        (_set("root", value=["next/deter", "next/deter"]), "planner: tensor names are not unique"),
        (_set("noise", 0, "name", value="next/deter"), "planner: tensor names are not unique"),
        (_set("outputs", 0, "shape", value=[1, 3]), r"planner: action must have shape \(1, 2\), not \(1, 3\)"),
        (_set("outputs", 0, "name", value="command"), r"action must have shape \(1, 2\), not None"),
        (_set("draws", 0, "drawn", value="action"), "draw action: its logits, noise and classes must have one shape"),
        (_set("budget_s", value=0.021), "budget_s 0.021 exceeds the control period 0.02 s"),
        (_set("budget_s", value=0), "planner.budget_s"),
        (_set("thresholds", value={"tolerance": 0.1}), "fp32 may be off by 0.1; at most 0.01"),
        (_set("gate", "episodes", value=0), "planner.gate.episodes"),
        (_set("gate", "planned", value=float("nan")), "planner.gate.planned"),
    ],
)
def test_what_does_not_fit_is_refused(planned, change, naming):
    change(planned["planner"])
    with pytest.raises(UserError, match=naming):
        read(planned)
