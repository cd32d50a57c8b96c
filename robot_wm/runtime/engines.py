"""The engine that computes a bundle's graph, by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from robot_wm.errors import UserError
from robot_wm.runtime.bundle_graph import BundleGraph, tick_graph
from robot_wm.runtime.graph_trial import require_tried
from robot_wm.runtime.parity_section import Precision

if TYPE_CHECKING:
    from robot_wm.runtime.bundle import Bundle
    from robot_wm.runtime.engine import Engine

EngineKind = Literal["onnx", "tensorrt"]
ENGINES: tuple[EngineKind, ...] = ("onnx", "tensorrt")


def make_engine(
    kind: EngineKind,
    bundle: Bundle,
    *,
    precision: Precision = "fp32",
    threads: int = 1,
    engine_dir: Path | None = None,
) -> Engine:
    """An engine for the bundle's tick graph of ``precision``, not active yet; see ``make_graph_engine``."""
    graph = tick_graph(bundle.manifest, precision)  # says which precisions there are
    return make_graph_engine(kind, bundle, graph, threads=threads, engine_dir=engine_dir)


def make_graph_engine(
    kind: EngineKind, bundle: Bundle, graph: BundleGraph, *, threads: int = 1, engine_dir: Path | None = None
) -> Engine:
    """An engine for one of the bundle's graphs, not active yet.

    ``onnx``: ONNX Runtime on the CPU, on ``threads``. ``tensorrt``: the first GPU, with an engine from the cache in
    ``engine_dir`` (default: this machine's own), which is built there first where it is missing: that takes minutes.
    The graph of a bundle whose signature was not checked is first tried in a process of its own (half a second).
    Raises UserError where there is no such engine, graph or GPU, and for a graph that takes too much.
    """
    if kind not in ENGINES:
        raise UserError(f"engine {kind!r} is not one of {', '.join(ENGINES)}")
    if kind == "onnx":
        from robot_wm.runtime.onnx_engine import OnnxEngine

        require_tried(bundle, graph)
        return OnnxEngine(bundle.read(graph.file), graph.state, threads=threads)
    from robot_wm.runtime.trt.provide import provide

    return provide(bundle, graph, folder=engine_dir).engine()
