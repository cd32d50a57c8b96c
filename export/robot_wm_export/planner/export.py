"""From an agent to the planner of its bundle."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from robot_wm.errors import UserError
from robot_wm.learning.agent import Agent
from robot_wm.runtime.graph_tensors import TensorSpec
from robot_wm.runtime.parity_recording import Recording
from robot_wm.runtime.planner_section import MIN_PLANS, PLANNER_PARITY, Planner, PlannerGate, PlannerKind, PlannerParity
from robot_wm.runtime.planner_section import PLANNER as FILE
from robot_wm.runtime.planning.plan_recording import PlanRecording
from robot_wm.spec import AgentSpec
from robot_wm_export.onnx_export import export_op17, folded
from robot_wm_export.planner.gate import GATE_SEED, measure_gate
from robot_wm_export.planner.graph import PlannerGraph
from robot_wm_export.planner.recorded import record_plans

MIN_STARTS = 20
_NOT_RECORDED = PlannerParity(
    file=PLANNER_PARITY, plans=MIN_PLANS, near_tie_plans=0, unsteady_plans=0, differing_plans=0, largest_error={}
)
_NOT_MEASURED = PlannerGate(episodes=1, seed=0, planned=0.0, reactive=0.0, interval=(0.0, 0.0))


@dataclass(frozen=True, kw_only=True)
class PlannerSettings:
    """Which planner a bundle is to have."""

    kind: PlannerKind
    candidates: int = 16
    depth: int = 5  # control steps
    budget_s: float | None = None  # of a control period; None: half of it
    starts: int = MIN_STARTS  # that its worth is measured by
    seed: int = GATE_SEED  # of the first of them, and of the noise of the recorded plans

    def budget(self, spec: AgentSpec) -> float:
        """Seconds; UserError for more than there are between two commands."""
        budget_s = 0.5 * spec.control_period_s if self.budget_s is None else self.budget_s
        if not 0.0 < budget_s <= spec.control_period_s:
            raise UserError(
                f"planner: a budget of {1e3 * budget_s:g} ms; the control period is {1e3 * spec.control_period_s:g} ms"
            )
        return budget_s


@dataclass(frozen=True)
class PlannerDraft:
    """A planner of which nothing is recorded or measured yet: it can think, but belongs in no bundle."""

    section: Planner
    model: onnx.ModelProto

    def graph(self) -> bytes:
        """The ONNX file."""
        return self.model.SerializeToString(deterministic=True)


@dataclass(frozen=True)
class PlannerExport(PlannerDraft):
    """A planner, whose gate is still to be measured by the bundle that it is in."""

    plans: PlanRecording


def draft_planner(graph: PlannerGraph, settings: PlannerSettings, spec: AgentSpec) -> PlannerDraft:
    """Export it, and nothing more; UserError for what a bundle cannot hold."""
    section = Planner(
        kind=settings.kind,
        graph=FILE,
        candidates=settings.candidates,
        depth=settings.depth,
        decides=graph.decides,
        root=graph.root,
        noise=graph.noise,
        outputs=tuple(TensorSpec(name=name, shape=shape) for name, shape in graph.output_shapes.items()),
        budget_s=settings.budget(spec),
        parity=_NOT_RECORDED,
        gate=_NOT_MEASURED,
    )
    return PlannerDraft(section, export_op17(graph, simplify=folded))


def export_planner(
    graph: PlannerGraph, settings: PlannerSettings, spec: AgentSpec, recording: Recording
) -> PlannerExport:
    """Export it and record its plans from the tick's recorded outputs.

    Raises UserError for what a bundle cannot hold and for a planner that cannot be checked; see `record_plans`.
    """
    draft = draft_planner(graph, settings, spec)
    plans, parity = record_plans(draft.model, graph, recording, seed=settings.seed)
    return PlannerExport(draft.section.model_copy(update={"parity": parity}), draft.model, plans)


def with_gate(
    planner: PlannerExport, settings: PlannerSettings, write: Callable[[Path, PlannerExport], object]
) -> PlannerExport:
    """The same with what it is worth, measured with the bundle that ``write`` makes in a temporary place."""
    with tempfile.TemporaryDirectory(prefix="robot_wm_planner_") as folder:
        bundle = Path(folder) / "agent.rwm"
        write(bundle, planner)
        gate = measure_gate(bundle, episodes=settings.starts, seed=settings.seed)
    return replace(planner, section=planner.section.model_copy(update={"gate": gate}))


def make_graph(agent: Agent, spec: AgentSpec, settings: PlannerSettings) -> PlannerGraph:
    """The torch module to export; UserError for settings that cannot be met, before anything is done."""
    settings.budget(spec)
    return PlannerGraph(agent, settings.kind, candidates=settings.candidates, depth=settings.depth)
