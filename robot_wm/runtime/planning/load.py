"""From a bundle to a planner's engine that may be used: the one way on a robot, in a simulator and in a test bench."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from robot_wm.errors import UserError
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.bundle_graph import planner_graph
from robot_wm.runtime.engine import Engine
from robot_wm.runtime.engines import EngineKind, make_graph_engine
from robot_wm.runtime.parity_recording import Recording
from robot_wm.runtime.planner_section import NO_PLANNER, Planner
from robot_wm.runtime.planning.plan_parity import check_plan_parity

_log = logging.getLogger(__name__)


def load_planner(
    bundle: Bundle,
    *,
    kind: EngineKind = "onnx",
    engine: Engine | None = None,
    threads: int = 1,
    engine_dir: Path | None = None,
    recording: Recording | None = None,
    forced: bool = False,
    tell: Callable[[str], object] = _log.info,
) -> Engine:
    """The active engine of the bundle's planner, which has planned every recorded plan again.

    ``kind``, ``threads`` and ``engine_dir`` are as for ``make_graph_engine``, unless ``engine`` is given. ``recording``
    is the tick's, where it was read already; ``forced``: also a planner that did not pay; ``tell`` gets how near it
    came. The caller owns the engine. Raises UserError, and nothing stays active, where the bundle has no planner, where
    it did not pay, and for an engine that plans anything else: the agent is as sound without it, but who asked for a
    planner gets that one or is told.
    """
    planner = bundle.manifest.planner
    if planner is None:
        raise UserError(f"{bundle.path}: {NO_PLANNER}")
    require_pays(planner, forced, origin=str(bundle.path))
    if engine is None:
        graph = planner_graph(bundle.manifest)
        engine = make_graph_engine(kind, bundle, graph, threads=threads, engine_dir=engine_dir)
    engine.activate()
    try:
        found = check_plan_parity(engine, planner, bundle.plans(recording), origin=str(bundle.path))
    except BaseException:
        engine.deactivate()
        raise
    tell(f"{planner.kind} planner of {planner.candidates} x {planner.depth}: {found}")
    return engine


def require_pays(planner: Planner, forced: bool, *, origin: str) -> None:
    """Refuse (UserError) a planner with which the robot did worse than with its actor alone, unless it is forced."""
    gate = planner.gate
    if gate.pays or forced:
        return
    low, high = gate.interval
    raise UserError(
        f"{origin}: its planner does not pay: mean return {gate.planned:.6g} with it, {gate.reactive:.6g} without, over"
        f" {gate.episodes} starts (the difference {low:.4g} to {high:.4g} at {gate.confidence:.0%}); it can be forced"
    )
