"""Bundles with a planner whose every plan can be told by hand: made with onnx alone, for any agent's bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from onnx import TensorProto, helper, numpy_helper

from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.bundle_writer import write_bundle
from robot_wm.runtime.manifest import PARITY, Manifest
from robot_wm.runtime.onnx_engine import OnnxEngine
from robot_wm.runtime.planner_section import PLANNER, PLANNER_PARITY
from robot_wm.runtime.planner_section import Planner as PlannerSection
from robot_wm.runtime.planning.plan_parity import replay_plans
from robot_wm.runtime.planning.plan_recording import PlanRecording, recorded_roots

DEPTH, CANDIDATES, PLANS = 5, 4, 256
ROOT = ("next/deter", "post_logits")  # one that the tick hides, one that it shows
FLOAT = TensorProto.FLOAT


def planner_section(manifest: Manifest, **changes: Any) -> PlannerSection:
    """Of the planner that ``planner_graph`` makes for a manifest's tick."""
    a, period_s = manifest.spec.action_dim, manifest.spec.control_period_s
    section: dict[str, Any] = {
        "kind": "halving",
        "decides": True,
        "graph": PLANNER,
        "candidates": CANDIDATES,
        "depth": DEPTH,
        "root": ROOT,
        "noise": [
            {"name": "noise/plan", "shape": [1, CANDIDATES, DEPTH, a], "distribution": "normal"},
            {"name": "noise/root", "shape": [1, CANDIDATES], "distribution": "gumbel"},
        ],
        "outputs": [{"name": name, "shape": shape} for name, shape in _outputs(a).items()],
        "budget_s": 0.5 * period_s,
        "parity": {
            "file": PLANNER_PARITY,
            "plans": PLANS,
            "near_tie_plans": 0,
            "unsteady_plans": 0,
            "differing_plans": 0,
            "largest_error": {"action": 0.0},
        },
        "gate": {"episodes": 20, "seed": 0, "planned": 2.0, "reactive": 1.0, "interval": [0.5, 1.5]},
    }
    return PlannerSection.model_validate(section | changes)


def _outputs(a: int) -> dict[str, list[int]]:
    return {"action": [1, a], "value": [1], "scores": [1, CANDIDATES], "plan": [1, DEPTH, a], "gain": [1]}


def planner_graph(
    manifest: Manifest, *, scale: float = 0.01, gain: float = 1.0, work: int = 0, root: Sequence[str] = ROOT
) -> bytes:
    """``value`` is the mean of next/deter (a stand-in's: ticks since is_first); every element of ``plan`` [1, K, A] is
    ``scale`` times it, ``action`` its first row; ``gain`` is constant. ``work``: so many products of
    256 x 256 matrices, which change nothing.
    """
    a = manifest.spec.action_dim
    shapes = {tensor.name: list(tensor.shape) for tensor in manifest.all_outputs() if tensor.name in root}
    shapes |= {"noise/plan": [1, CANDIDATES, DEPTH, a], "noise/root": [1, CANDIDATES]}
    rng = np.random.default_rng(0)
    constants = {
        "rows": np.full((1, DEPTH, a), scale, np.float32),
        "first": np.full((1, a), scale, np.float32),
        "zero": np.float32([0]),
        "gain_of": np.float32([gain]),
        "hard": (rng.normal(size=(256, 256)) / 16).astype(np.float32),
        "flat": np.int64([1, -1]),
        "wide": np.ones((1, 256, 1), np.float32),
    }
    node = helper.make_node
    nodes = [
        node("Reshape", ["next/deter", "flat"], ["deter"]),
        node("ReduceMean", ["deter"], ["value"], axes=[1], keepdims=0),
        node("Mul", ["rows", "value"], ["plan"]),
        node("Mul", ["first", "value"], ["action"]),
        node("ReduceMean", ["noise/plan"], ["drawn"], axes=[2, 3], keepdims=0),
        node("Add", ["drawn", "noise/root"], ["scores"]),
        node("Reshape", ["post_logits", "flat"], ["logits"]),
        node("ReduceMean", ["logits"], ["logit"], axes=[1], keepdims=0),
        node("Mul", ["wide", "logit"], ["x0"]),
        node("Mul", ["x0", "hard"], ["y0"]),
    ]
    for layer in range(work):
        nodes += [node("MatMul", [f"y{layer}", "hard"], [f"z{layer}"]), node("Tanh", [f"z{layer}"], [f"y{layer + 1}"])]
    nodes += [
        node("ReduceMean", [f"y{work}"], ["worked"], axes=[1, 2], keepdims=0),
        node("Mul", ["worked", "zero"], ["nothing"]),
        node("Add", ["gain_of", "nothing"], ["gain"]),
    ]
    graph = helper.make_graph(
        nodes,
        "plan",
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in _outputs(a).items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def with_planner(
    bundle: Path,
    out: Path,
    *,
    sign_key: Ed25519PrivateKey | None = None,
    graph: dict[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """A bundle's agent with a planner, written to ``out``; ``graph`` and ``changes`` go to the functions above."""
    with Bundle.open(bundle) as opened:
        manifest, recording = opened.manifest, opened.recording()
        graphs = {name: opened.read(name) for name in manifest.files if name != PARITY}
    section = planner_section(manifest, **changes)
    made = planner_graph(manifest, **(graph or {}))
    rng = np.random.default_rng(1)
    inputs = recorded_roots(section.root, recording, PLANS)
    inputs |= {entry.name: rng.normal(size=(PLANS, *entry.shape)).astype(np.float32) for entry in section.noise}
    engine = OnnxEngine(made, ())
    engine.activate()
    plans = PlanRecording(inputs, replay_plans(engine, inputs, section), np.zeros(PLANS, np.bool_))
    write_bundle(
        out,
        kind=manifest.kind,
        spec=manifest.spec,
        state=manifest.state,
        noise=manifest.noise,
        outputs=manifest.outputs,
        draws=manifest.draws,
        surprise_unit=manifest.surprise_unit,
        graphs=graphs | {section.graph: made},
        recording=recording,
        parity=manifest.parity,
        lineage=manifest.lineage,
        sign_key=sign_key,
        planner=section,
        plans=plans,
    )
    return out


def lost(gate: float = -1.0) -> dict[str, Any]:
    """The gate of a planner that did not pay, by so much."""
    return {"episodes": 20, "seed": 0, "planned": 1.0 + gate, "reactive": 1.0, "interval": [gate - 0.1, gate + 0.1]}
