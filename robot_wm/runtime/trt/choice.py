"""The fastest of the engines that one graph can be built to, measured where it will run.

How a product of one row is best written differs from GPU to GPU, and some ways TensorRT cannot build at all; see
``row_products``. So the ways are built one after the other and timed, and what cannot be built is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from robot_wm.errors import UserError
from robot_wm.runtime.engine import EngineError
from robot_wm.runtime.graph_tensors import StateTensor
from robot_wm.runtime.latency import LatencyRing
from robot_wm.runtime.parity_section import Precision
from robot_wm.runtime.trt.build import BuiltPlan, build_plan
from robot_wm.runtime.trt.engine import TensorRTEngine
from robot_wm.runtime.trt.options import ALL_MATRICES, BuildOptions
from robot_wm.runtime.trt.progress import OnProgress
from robot_wm.runtime.trt.timing import run_ticks

# How many of the largest products stay matrix products.
WAYS = (0, 1, 3, ALL_MATRICES)
_WARM_UP_TICKS, _TICKS = 100, 500


def fastest_plan(
    graph: bytes,
    precision: Precision,
    options: BuildOptions,
    state: Sequence[StateTensor],
    *,
    timing_cache: bytes | None = None,
    on_progress: OnProgress | None = None,
    origin: str = "graph",
) -> BuiltPlan:
    """``build_plan`` in each of the ``WAYS``, or in that of ``options``; the one with the smallest median of a tick.

    Raises the first UserError where none of them can be built and started.
    """
    ways = WAYS if options.matrices is None else (options.matrices,)
    found: list[tuple[float, BuiltPlan]] = []
    errors: list[UserError] = []
    seconds = 0.0
    for number, matrices in enumerate(ways):

        def tell(share: float, what: str, done: int = number) -> None:
            if on_progress is not None:
                on_progress((done + share) / len(ways), what)

        try:
            built = build_plan(
                graph,
                precision,
                options.model_copy(update={"matrices": matrices}),
                timing_cache=timing_cache,
                on_progress=None if on_progress is None else tell,
                origin=origin,
            )
            took_us = _median_us(built, options, state, origin) if len(ways) > 1 else 0.0
        except UserError as error:
            errors.append(error)
            continue
        seconds += built.seconds
        timing_cache = built.timing_cache or timing_cache
        found.append((took_us, built))
    if not found:
        raise errors[0]
    best = min(found, key=lambda entry: entry[0])[1]
    return replace(best, seconds=seconds, timing_cache=timing_cache or b"")


def _median_us(built: BuiltPlan, options: BuildOptions, state: Sequence[StateTensor], origin: str) -> float:
    engine = TensorRTEngine(built.plan, state, host_code=options.version_compatible, origin=origin)
    rng = np.random.default_rng(0)
    try:
        engine.activate()
        for view in engine.inputs.values():
            view[...] = rng.integers(0, 256, view.shape) if view.dtype == np.uint8 else rng.normal(size=view.shape)
        ring = LatencyRing(_TICKS)
        run_ticks(engine, range(_WARM_UP_TICKS), {})
        run_ticks(engine, range(_TICKS), {}, ring)
        return ring.summary().p50_us
    except EngineError as error:
        raise UserError(f"{origin}: its engine does not run: {error}") from None
    finally:
        engine.deactivate()
