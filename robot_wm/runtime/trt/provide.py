"""From a bundle to an engine for this machine: out of the cache, or built."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from robot_wm.errors import UserError
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.bundle_graph import BundleGraph, tick_graph
from robot_wm.runtime.graph_trial import require_tried
from robot_wm.runtime.trt import api
from robot_wm.runtime.trt.build import RECIPE, builder_flags
from robot_wm.runtime.trt.cache import EngineCache, EngineKey
from robot_wm.runtime.trt.choice import fastest_plan
from robot_wm.runtime.trt.cuda import Cuda
from robot_wm.runtime.trt.engine import TensorRTEngine
from robot_wm.runtime.trt.options import BuildOptions
from robot_wm.runtime.trt.progress import OnProgress

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Provided:
    """A plan and what it was built for."""

    plan: bytes
    graph: BundleGraph
    key: EngineKey
    is_new: bool  # built now, not found in the cache
    host_code: bool  # it may bring a runtime of its own: asked for, or all that this machine can run

    def engine(self) -> TensorRTEngine:
        """An engine that runs the plan; not active yet."""
        return TensorRTEngine(
            self.plan,
            self.graph.state,
            host_code=self.host_code,
            background=self.graph.background,
            origin=f"engine {self.key.digest[:12]}",
        )


def engine_key(bundle: Bundle, graph: BundleGraph, options: BuildOptions) -> EngineKey:
    """What an engine of this graph depends on, here. Raises UserError without TensorRT or a GPU."""
    trt = api.load()
    gpu = Cuda.open().gpu()
    return EngineKey(
        graph_sha256=hashlib.sha256(bundle.read(graph.file)).hexdigest(),
        shapes={tensor.name: tensor.shape for tensor in graph.inputs},
        precision=graph.precision,
        tensorrt=trt.version,
        gpu=gpu.name,
        compute_capability=gpu.compute_capability,
        driver=gpu.driver,
        flags=builder_flags(trt, graph.precision, options) if trt.can_build else (),
        strongly_typed=trt.strongly_typed,
        options=options,
        recipe=RECIPE,
    )


def provide(
    bundle: Bundle,
    graph: BundleGraph | None = None,
    *,
    options: BuildOptions | None = None,
    folder: Path | None = None,
    on_progress: OnProgress | None = None,
) -> Provided:
    """An engine of one of this bundle's graphs for this machine, by default of the float32 tick.

    It comes from the cache in ``folder``, or is built into it, which takes minutes.
    Without ``options`` an engine that was built with any will do. Raises UserError where none can be had.
    """
    cache = EngineCache(folder)
    graph = graph or tick_graph(bundle.manifest)
    key = engine_key(bundle, graph, options or BuildOptions())
    can_build = api.load().can_build
    if options is None and (found := cache.serving(key, other_versions=not can_build)):
        # A sidecar cannot ask for host code by itself: with a full TensorRT no such engine is found.
        return Provided(plan=found[1], graph=graph, key=found[0], is_new=False, host_code=not can_build)
    if not can_build:
        raise UserError(
            f"{cache.folder}: has no engine of this bundle that TensorRT {key.tensorrt}, which cannot build one, can"
            " run; with the full TensorRT: robot-wm engine build BUNDLE --version-compatible"
        )
    if on_progress is None:
        _log.warning("%s: no engine of %s for this machine in %s: building one", bundle.path, graph.file, cache.folder)
    require_tried(bundle, graph)
    plan, is_new = cache.get_or_build(
        key,
        lambda timings: fastest_plan(
            bundle.read(graph.file),
            graph.precision,
            key.options,
            graph.state,
            timing_cache=timings,
            on_progress=on_progress,
            origin=str(bundle.path / graph.file),
        ),
    )
    return Provided(plan=plan, graph=graph, key=key, is_new=is_new, host_code=key.options.version_compatible)
