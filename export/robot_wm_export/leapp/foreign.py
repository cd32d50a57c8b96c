"""Somebody else's LEAPP package to a bundle that the robot's own controller runs, with all that it does for others."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from robot_wm.errors import UserError
from robot_wm.runtime.bundle_writer import check_target, write_bundle
from robot_wm.runtime.manifest import POLICY_OP17, Manifest, json_lineage
from robot_wm.runtime.onnx_engine import OnnxEngine
from robot_wm.runtime.parity import compare, free_run_over, objection
from robot_wm.runtime.parity_recording import Recording
from robot_wm.runtime.parity_section import Parity, ParityResult, ParityThresholds
from robot_wm.spec import AgentSpec
from robot_wm_export.leapp.incoming import IncomingGraph, tick_graph
from robot_wm_export.leapp.mapping import plan_of
from robot_wm_export.leapp.opset import op17_graph
from robot_wm_export.leapp.package import LeappPackage
from robot_wm_export.leapp.playing import record
from robot_wm_export.leapp.reference import Reference
from robot_wm_export.tensorrt86 import OPERATORS
from robot_wm_export.torch_parity import parity_result

KIND = "leapp"


@dataclass(frozen=True)
class ForeignReport:
    """What was imported."""

    manifest: Manifest
    share_beyond: float  # of the commands over the recorded ticks, that the spec's action cannot ask for
    untried: tuple[str, ...]  # operators that no graph of ours has: TensorRT was never tried with them here


def import_foreign(
    package: LeappPackage,
    spec: AgentSpec,
    out: Path,
    *,
    task: str | None,
    options: Mapping[str, Any] | None = None,
    rate_hz: float | None = None,
    ignored: Sequence[str] = (),
    ticks: int = 256,
    seed: int = 0,
    sign_key: Ed25519PrivateKey | None = None,
    bundle_version: int = 0,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> ForeignReport:
    """Write ``package`` as a bundle for ``spec`` to ``out`` (``*.rwm``).

    ``task`` (with ``options``) is where the policy is played for the recording; None: observations are drawn. Raises
    UserError for what does not fit the spec, for a graph that no robot should be given, and where the bundle's graph
    does not compute what the package does.
    """
    check_target(out)
    plan = plan_of(package, spec, rate_hz=rate_hz, ignored=ignored)
    on_stage("trying the graph in a process of its own")
    graphs = {
        node.name: op17_graph(node, ticks=ticks, origin=f"{package.description}: model {node.name}")
        for node in package.nodes
    }
    graph = tick_graph(package, graphs, plan, spec)
    on_stage(f"recording {ticks} ticks of {task}" if task else f"recording {ticks} drawn ticks")
    recording = record(graph, spec, task=task, options=options or {}, ticks=ticks, seed=seed)
    on_stage("comparing with the package as it stands")
    thresholds = ParityThresholds()
    result = _compared(Reference(package, plan, spec), graph, recording, thresholds, origin=str(package.description))
    on_stage("writing the bundle")
    beyond = float((np.abs(recording.outputs["action"]) > 1).mean())
    lineage = {
        "bundle_version": bundle_version,
        "config": {"task": task or spec.task, "task_options": dict(options or {})},
        "leapp": _origin(package) | {"played": task, "share_of_commands_beyond": beyond},
    }
    manifest = write_bundle(
        out,
        kind=KIND,
        spec=spec,
        state=graph.state,
        noise=(),
        outputs=graph.outputs,
        draws=(),
        surprise_unit=None,
        graphs={POLICY_OP17: graph.model.SerializeToString(deterministic=True)},
        recording=recording,
        parity=Parity(ticks=ticks, thresholds=thresholds, results={POLICY_OP17: result}),
        lineage=json_lineage(lineage),
        sign_key=sign_key,
    )
    return ForeignReport(
        manifest, beyond, tuple(sorted({node.op_type for node in graph.model.graph.node} - OPERATORS.keys()))
    )


def _compared(
    reference: Reference, graph: IncomingGraph, recording: Recording, thresholds: ParityThresholds, *, origin: str
) -> ParityResult:
    expected = reference.outputs(recording, graph)
    found = compare(recording.inputs, expected, recording.outputs, (), thresholds)
    if reason := objection(found, thresholds):
        raise UserError(f"{origin}: the bundle's graph does not compute what the package does: {reason}")
    engine = OnnxEngine(graph.model.SerializeToString(), graph.state)
    engine.activate()
    try:
        free = free_run_over(engine, Recording(recording.inputs, {**recording.outputs, **expected}), graph.state, ())
    finally:
        engine.deactivate()
    return parity_result(found, free)


def _origin(package: LeappPackage) -> dict[str, Any]:
    description = package.description
    system = package.told.system_information
    return {
        "package": description.name,
        "description_sha256": hashlib.sha256(description.read_bytes()).hexdigest(),
        "models": {node.name: hashlib.sha256(node.graph).hexdigest() for node in package.nodes},
        "config_version": str(system.get("leapp config version")),
        "leapp_version": str(system.get("leapp version")),
        "frequency_hz": package.frequency_hz,
    }
