"""The engine that computes a bundle's graph, by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from robot_wm.errors import UserError
from robot_wm.runtime.graph_trial import require_tried
from robot_wm.runtime.manifest import POLICY_OF
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
    """An engine for the bundle's graph of ``precision``, not active yet.

    ``onnx``: ONNX Runtime on the CPU, on ``threads``. ``tensorrt``: the first GPU, with an engine from the cache in
    ``engine_dir`` (default: this machine's own), which is built there first where it is missing: that takes minutes.
    The graph of a bundle whose signature was not checked is first tried in a process of its own (half a second).
    Raises UserError where there is no such engine, graph or GPU, and for a graph that takes too much.
    """
    bundle.manifest.thresholds(precision)  # says which precisions there are
    if kind not in ENGINES:
        raise UserError(f"engine {kind!r} is not one of {', '.join(ENGINES)}")
    if kind == "onnx":
        from robot_wm.runtime.onnx_engine import OnnxEngine

        require_tried(bundle, precision)
        return OnnxEngine(bundle.read(POLICY_OF[precision]), bundle.manifest.state, threads=threads)
    from robot_wm.runtime.trt.provide import provide

    return provide(bundle, precision=precision, folder=engine_dir).engine(bundle)
