"""A manifest's planner section: it fits the tick that it starts from, and the robot's control period."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from robot_wm.errors import UserError
from robot_wm.runtime.manifest import Manifest

PLANNER: dict[str, Any] = {
    "kind": "halving",
    "decides": True,
    "graph": "planner.onnx",
    "candidates": 16,
    "depth": 5,
    "root": ["next/deter", "next/stoch"],
    "noise": [{"name": "noise/plan", "shape": [1, 16, 5, 2], "distribution": "normal"}],
    "outputs": [
        {"name": "action", "shape": [1, 2]},
        {"name": "value", "shape": [1]},
        {"name": "scores", "shape": [1, 16]},
        {"name": "plan", "shape": [1, 5, 2]},
        {"name": "gain", "shape": [1]},
    ],
    "budget_s": 0.01,
    "parity": {
        "file": "planner_parity.npz",
        "plans": 256,
        "near_tie_plans": 2,
        "unsteady_plans": 3,
        "differing_plans": 1,
        "largest_error": {"action": 1e-6},
    },
    "gate": {"episodes": 20, "seed": 7, "planned": 12.0, "reactive": 11.0, "interval": [-0.5, 2.5]},
}


@pytest.fixture
def planned(make_agent, make_spec) -> dict[str, Any]:
    """The JSON of a manifest with a planner: of two joints, at 50 Hz."""
    body: dict[str, Any] = json.loads(make_agent(make_spec()).manifest.to_json())
    for name in ("planner.onnx", "planner_parity.npz"):
        body["files"][name] = {"sha256": "0" * 64, "size_bytes": 1}
    return body | {"planner": json.loads(json.dumps(PLANNER))}


def read(body: dict[str, Any]) -> Manifest:
    return Manifest.from_json(json.dumps(body).encode())


def test_a_planner_is_told_beside_the_tick_that_needs_none(planned):
    manifest = read(planned)
    assert manifest.planner is not None
    assert manifest.planner.root == ("next/deter", "next/stoch")
    assert manifest.planner.decides
    tick = {tensor.name: tensor.shape for tensor in manifest.all_outputs()}
    assert {tensor.name: tensor.shape for tensor in manifest.planner.inputs(tick)} == {
        "next/deter": (1, 4),
        "next/stoch": (1, 2, 3),
        "noise/plan": (1, 16, 5, 2),
    }
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
        (_set("candidates", value=8), r"planner: scores must have shape \(1, 8\), not \(1, 16\)"),
        (_set("depth", value=4), r"planner: plan must have shape \(1, 4, 2\), not \(1, 5, 2\)"),
        (_set("outputs", 4, "name", value="advantage"), r"planner: gain must have shape \(1,\), not None"),
        (_set("kind", value="tree"), "a tree with simulations None"),
        (_set("simulations", value=16), "a halving with simulations 16"),
        (_set("kind", value="cem"), "planner.kind"),
        (_set("parity", "file", value="other.npz"), "planner: its recording other.npz is not listed in files"),
        (_set("parity", "plans", value=255), "planner.parity.plans"),
        (_set("parity", "plans", value=257), "planner: 257 plans of 256 recorded ticks"),
        (_set("parity", "max_differing", value=0.2), "planner.parity.max_differing"),
        (_set("budget_s", value=0.021), "budget_s 0.021 exceeds the control period 0.02 s"),
        (_set("budget_s", value=0), "planner.budget_s"),
        (_set("parity", "tolerance", value=0.1), "a plan may be off by 0.1; at most 0.01"),
        (_set("gate", "episodes", value=0), "planner.gate.episodes"),
        (_set("gate", "planned", value=float("nan")), "planner.gate.planned"),
        (_set("gate", "interval", value=[1.0, -1.0]), "its lower end comes first"),
    ],
)
def test_what_does_not_fit_is_refused(planned, change, naming):
    change(planned["planner"])
    with pytest.raises(UserError, match=naming):
        read(planned)


@pytest.mark.parametrize(("planned_return", "pays"), [(10.99, False), (11.0, True), (12.0, True)])
def test_a_planner_pays_unless_the_actor_alone_did_better(planned, planned_return, pays):
    planned["planner"]["gate"]["planned"] = planned_return
    assert read(planned).planner.gate.pays is pays
