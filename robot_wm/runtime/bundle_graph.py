"""Which graph of a bundle an engine is to compute, and what the engine has to know of it."""

from __future__ import annotations

from dataclasses import dataclass

from robot_wm.errors import UserError
from robot_wm.runtime.graph_tensors import StateTensor, TensorSpec
from robot_wm.runtime.manifest import POLICY_OF, Manifest
from robot_wm.runtime.parity_section import Precision
from robot_wm.runtime.planner_section import NO_PLANNER


@dataclass(frozen=True)
class BundleGraph:
    """One of the graphs."""

    file: str
    precision: Precision
    inputs: tuple[TensorSpec, ...]
    state: tuple[StateTensor, ...]
    rows: int  # recorded ticks or plans, which every start computes again
    background: bool = False  # whether whatever else its processor is asked to compute goes first


def tick_graph(manifest: Manifest, precision: Precision = "fp32") -> BundleGraph:
    """The policy's; UserError where the bundle has none of that precision."""
    manifest.thresholds(precision)
    return BundleGraph(POLICY_OF[precision], precision, manifest.inputs(), manifest.state, manifest.parity.ticks)


def planner_graph(manifest: Manifest) -> BundleGraph:
    """The planner's, which has no state; UserError where the bundle has no planner."""
    planner = manifest.planner
    if planner is None:
        raise UserError(f"the bundle {NO_PLANNER}")
    shapes = {tensor.name: tensor.shape for tensor in manifest.all_outputs()}
    return BundleGraph(planner.graph, "fp32", planner.inputs(shapes), (), planner.parity.plans, background=True)
