"""From an ONNX graph to a TensorRT plan for this machine's GPU.

The precision lies in the graph: casts to half, Q/DQ. TensorRT is asked to compute in the graph's types, not to choose
others. TF32 is off: it rounds the factors of a float32 product to 10 bits, and parity is 1e-4. The libraries cuBLAS,
cuBLASLt and cuDNN are off as sources of kernels (``set_tactic_sources(0)``): less to install and to load, and what is
left can be captured in a CUDA graph. Edge-mask and JIT convolutions, for large images, go with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any

from robot_wm.errors import UserError
from robot_wm.runtime.engine import EngineError
from robot_wm.runtime.graph_check import require_plain_graph
from robot_wm.runtime.parity_section import Precision
from robot_wm.runtime.trt import api
from robot_wm.runtime.trt.cuda import Cuda
from robot_wm.runtime.trt.options import ALL_MATRICES, BuildOptions
from robot_wm.runtime.trt.progress import OnProgress, monitor
from robot_wm.runtime.trt.row_products import sum_row_products
from robot_wm.runtime.trt.weak_typing import hold_types

# Raised when what is asked of TensorRT here changes: plans of another recipe are stale.
RECIPE = 2
_MIB = 2**20
# What TensorRT says where its fusion gives up; of sums instead of products there is nothing that it could mistake.
_ATTENTION_DEFECT = "Could not find any implementation for node {ForeignNode"
_ATTENTION_HINT = (
    "; TensorRT before 10 takes such rows of products for attention (NVIDIA/TensorRT#3930): --matrices 0 may help"
)


@dataclass(frozen=True)
class BuiltPlan:
    """A serialized engine."""

    plan: bytes
    timing_cache: bytes  # how fast each kernel was, for the next build
    seconds: float  # that the build took
    matrices: int  # see ``BuildOptions``


def builder_flags(trt: api.TensorRT, precision: Precision, options: BuildOptions) -> tuple[str, ...]:
    """Names of the ``BuilderFlag`` that a build sets. Raises UserError for what this TensorRT cannot do."""
    wanted = []
    if not trt.strongly_typed and precision != "fp32":
        # Not FP16 as well for int8: what ``hold_types`` leaves free would then be rounded to half, in which the two-hot
        # bins of up to 4.85e8 are infinite, and the value NaN.
        wanted = ["INT8" if precision == "int8" else "FP16", "OBEY_PRECISION_CONSTRAINTS"]
    if options.version_compatible:
        wanted.append("VERSION_COMPATIBLE")
    for name in wanted:
        if trt.builder_flag(name) is None:
            raise UserError(f"TensorRT {trt.version} has no BuilderFlag.{name}, which {precision} here needs")
    return tuple(wanted)


def build_plan(
    graph: bytes,
    precision: Precision,
    options: BuildOptions,
    *,
    timing_cache: bytes | None = None,
    on_progress: OnProgress | None = None,
    origin: str = "graph",
) -> BuiltPlan:
    """Build an engine for the first GPU; takes from seconds to minutes, and the GPU to itself.

    Without ``options.matrices`` all products stay as they are in the graph. ``timing_cache`` is what an earlier build
    gave; one of another TensorRT or GPU is ignored. ``on_progress`` is called from TensorRT's threads; 8.6 never does.
    Raises UserError in one line for a graph that cannot be built.
    """
    require_plain_graph(graph, origin=origin)
    trt = api.load(need_builder=True)
    Cuda.open()
    begin = perf_counter()
    try:
        return _build(trt, graph, precision, options, timing_cache, on_progress, origin, begin)
    except EngineError as error:
        hint = _ATTENTION_HINT if _ATTENTION_DEFECT in str(error) and options.matrices != 0 else ""
        raise UserError(f"{origin}: TensorRT {trt.version} cannot build it: {error}{hint}") from None


def _build(
    trt: api.TensorRT,
    graph: bytes,
    precision: Precision,
    options: BuildOptions,
    timing_cache: bytes | None,
    on_progress: OnProgress | None,
    origin: str,
    begin: float,
) -> BuiltPlan:
    module = trt.module
    builder = trt.make("Builder", trt.log)
    network = builder.create_network(trt.creation_flags())
    _parse(trt, network, graph, origin)
    flags = builder_flags(trt, precision, options)
    config = builder.create_builder_config()
    for name in flags:
        config.set_flag(trt.builder_flag(name))
    config.clear_flag(module.BuilderFlag.TF32)
    config.set_tactic_sources(0)
    config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, options.workspace_mib * _MIB)
    config.builder_optimization_level = options.optimization_level
    matrices = ALL_MATRICES if options.matrices is None else options.matrices
    weights = sum_row_products(module, network, matrices=matrices)
    if "OBEY_PRECISION_CONSTRAINTS" in flags:
        hold_types(module, network)
    for content in (timing_cache or b"", b""):
        timings = config.create_timing_cache(content)
        if timings is not None and config.set_timing_cache(timings, False):
            break
    watch = monitor(trt, on_progress) if on_progress else None
    if watch is not None:
        config.progress_monitor = watch
    trt.log.take()
    serialized = builder.build_serialized_network(network, config)
    weights.clear()  # until here the network only pointed at them
    if watch is not None and watch.is_interrupted:
        raise KeyboardInterrupt
    if serialized is None:
        raise EngineError(trt.log.take())
    timings = config.get_timing_cache()
    return BuiltPlan(
        plan=bytes(serialized),
        timing_cache=b"" if timings is None else bytes(timings.serialize()),
        seconds=perf_counter() - begin,
        matrices=matrices,
    )


def _parse(trt: api.TensorRT, network: Any, graph: bytes, origin: str) -> None:
    parser = trt.make("OnnxParser", network, trt.log)
    if parser.parse(graph):
        return
    error = parser.get_error(0) if parser.num_errors else None
    if error is None:
        raise UserError(f"{origin}: TensorRT {trt.version} cannot parse it: {trt.log.take()}")
    # 8.6 numbers the node only; which one it was, its log has said.
    named = getattr(error, "node_name", None)
    node = f"{error.node_name()} [{error.node_operator()}]" if callable(named) else trt.log.parsing
    raise UserError(
        f"{origin}: TensorRT {trt.version} cannot parse node {error.node()} {node}: {' '.join(error.desc().split())}"
    )
