"""From a trained agent to a bundle: its graphs, their parity with torch, the recording, the signature."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from robot_wm.learning.agent import Agent
from robot_wm.model_card import model_card
from robot_wm.runtime.bundle_writer import check_target, write_bundle, write_zip
from robot_wm.runtime.manifest import POLICY, POLICY_OF, POLICY_OP17, Manifest, json_lineage
from robot_wm.runtime.monitor import MonitorSection
from robot_wm.runtime.parity_recording import Recording
from robot_wm.runtime.parity_section import MAX_TOLERANCE, LowPrecision, Parity, ParityResult, ParityThresholds
from robot_wm.runtime.planner_section import PLANNER, Planner
from robot_wm.runtime.signature import load_private_key
from robot_wm.spec import AgentSpec
from robot_wm_export.calibration import Calibration
from robot_wm_export.monitor.calibrate import Plan, calibrate
from robot_wm_export.onnx_export import export_newest, export_op17
from robot_wm_export.planner.export import PlannerExport, PlannerSettings, export_planner, make_graph, with_gate
from robot_wm_export.precision import low_precision
from robot_wm_export.rollout import Rollout, check_rollout
from robot_wm_export.tick_graph import TickGraph
from robot_wm_export.torch_parity import check_graph, run_torch, surprise_levels, with_resolution

_EXPORTERS = {POLICY_OP17: export_op17, POLICY: export_newest}


@dataclass(frozen=True)
class ExportReport:
    """What was written and how well it agrees with torch."""

    path: Path
    manifest: Manifest
    signed: bool
    zip_path: Path | None = None


def export_agent(
    agent: Agent,
    spec: AgentSpec,
    rollout: Rollout,
    lineage: Mapping[str, Any],
    out: Path,
    sign_key: Path | None = None,
    *,
    make_zip: bool = False,
    profiles: Sequence[str] = (POLICY_OP17, POLICY),
    precisions: Sequence[LowPrecision] = (),
    calibration: Calibration | None = None,
    monitor: Plan | MonitorSection | None = None,
    planner: PlannerSettings | None = None,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> ExportReport:
    """Export ``agent`` (on the CPU, float32) to the folder ``out`` (``*.rwm``) and check it over ``rollout``.

    ``sign_key`` is a PEM private key (Ed25519); ``profiles`` are the graphs to write, the opset-17 one always among
    them: robots and the recording use it. ``precisions`` are written beside them, made from the opset-17 graph;
    ``calibration`` scales int8 (by default the rollout does); ``monitor`` says how the monitor is calibrated, or is
    one that was calibrated for these weights, and ``planner`` which planner there is (None: the bundle has none); to
    calibrate and to plan the task of the spec must be there.
    ``on_stage`` hears what is being done. Raises UserError for bad arguments, when a graph differs from torch by more
    than 1e-4 * max(1, |torch's value|), when one of low precision is further from float32 than a manifest may allow,
    and for a planner that cannot be checked.
    """
    check_target(out)
    key = None if sign_key is None else load_private_key(sign_key)
    lineage_checked = json_lineage(dict(lineage))
    check_rollout(rollout, agent, spec)
    graph = TickGraph(agent, spec)
    thinking = None if planner is None else make_graph(agent, spec, planner)
    thresholds = ParityThresholds()
    on_stage("running torch over the rollout")
    # A discrete choice must not be so close that a coarser graph may take the other one.
    choice_gap = max([thresholds.min_logit_gap, *(MAX_TOLERANCE[precision] for precision in precisions)])
    torch_run = run_torch(graph, rollout, thresholds, choice_gap=choice_gap)
    thresholds = with_resolution(thresholds, graph, torch_run)
    models, graphs, results, outputs = {}, {}, {}, {}
    for name in profiles:
        on_stage(f"exporting {name}")
        models[name] = _EXPORTERS[name](graph)
        graphs[name] = models[name].SerializeToString(deterministic=True)
        on_stage(f"checking {name}")
        results[name], outputs[name] = check_graph(graphs[name], graph, torch_run, thresholds, origin=name)
    recording = Recording(inputs=torch_run.inputs, outputs=outputs[POLICY_OP17])
    low = {}
    for precision in precisions:
        on_stage(f"making and checking {POLICY_OF[precision]}")
        graphs[POLICY_OF[precision]], low[precision] = low_precision(
            models[POLICY_OP17], graph, recording, precision, calibration
        )
    watched = calibrate(agent, spec, monitor, on_stage=on_stage) if isinstance(monitor, Plan) else monitor
    write = partial(
        write_bundle,
        kind=agent.kind,
        spec=spec,
        state=graph.state,
        noise=graph.noise,
        outputs=graph.outputs,
        draws=graph.draws,
        surprise_unit=agent.surprise_unit,
        recording=recording,
        parity=Parity(
            ticks=rollout.ticks,
            thresholds=thresholds,
            results=results,
            precisions=low,
            surprise=surprise_levels(outputs[POLICY_OP17]),
        ),
        lineage=lineage_checked,
        sign_key=key,
        monitor=watched,
        card=model_card,
    )

    def write_with(target: Path, planned: PlannerExport) -> Manifest:
        return write(target, graphs=graphs | {PLANNER: planned.graph()}, planner=planned.section, plans=planned.plans)

    if planner is None or thinking is None:
        on_stage("writing the bundle")
        manifest = write(out, graphs=graphs)
    else:
        on_stage(f"exporting and checking {PLANNER}")
        planned = export_planner(thinking, planner, spec, recording)
        on_stage(f"{planner.starts} starts with the planner and without")
        planned = with_gate(planned, planner, write_with)
        on_stage("writing the bundle")
        manifest = write_with(out, planned)
    return ExportReport(
        path=out, manifest=manifest, signed=key is not None, zip_path=write_zip(out) if make_zip else None
    )


def summary(report: ExportReport) -> dict[str, Any]:
    """The report as plain values: paths, size in bytes, and per graph the parity figures.

    Errors and flips are those against torch, of a low precision those against float32. ``coarse_resolution`` is empty
    for a trained agent; see ``ParityThresholds.resolution``.
    """
    manifest = report.manifest
    results: dict[str, ParityResult] = dict(manifest.parity.results)
    results |= {POLICY_OF[precision]: entry.result for precision, entry in manifest.parity.precisions.items()}
    rows = [
        {
            "graph": name,
            "size_bytes": manifest.files[name].size_bytes,
            "largest_error": max(result.largest_error.values()),
            "near_tie_ticks": result.near_tie_ticks,
            "differing_draws": result.differing_draws,
            "free_running_flips": result.free_running_flips,
            "free_running_draws": result.free_running_draws,
            "free_running_action_divergence": result.free_running_action_divergence,
        }
        for name, result in results.items()
    ]
    thinking = manifest.planner
    planner = {} if thinking is None else {"planner": _planner_figures(thinking, manifest)}
    return {
        "bundle": str(report.path),
        "zip": None if report.zip_path is None else str(report.zip_path),
        "signed": report.signed,
        "task": manifest.spec.task,
        "spec_sha256": manifest.spec_sha256,
        "parity_ticks": manifest.parity.ticks,
        "coarse_resolution": manifest.parity.thresholds.resolution,
        **planner,
        "rows": rows,
    }


def _planner_figures(planner: Planner, manifest: Manifest) -> dict[str, Any]:
    parity, gate = planner.parity, planner.gate
    return {
        "kind": planner.kind,
        "candidates": planner.candidates,
        "depth": planner.depth,
        "budget_ms": 1e3 * planner.budget_s,
        "size_bytes": manifest.files[planner.graph].size_bytes,
        "plans": parity.plans,
        "largest_error": max(parity.largest_error.values()),
        "near_tie_plans": parity.near_tie_plans,
        "unsteady_plans": parity.unsteady_plans,
        "differing_plans": parity.differing_plans,
        "starts": gate.episodes,
        "return_planned": gate.planned,
        "return_reactive": gate.reactive,
        "difference_low": gate.interval[0],
        "difference_high": gate.interval[1],
        "pays": gate.pays,
    }
