"""How long ticks take on an engine."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter_ns

from robot_wm.runtime.engine import Array
from robot_wm.runtime.latency import LatencyRing
from robot_wm.runtime.trt.engine import TensorRTEngine


def run_ticks(
    engine: TensorRTEngine, numbers: range, frames: Mapping[str, Array], ring: LatencyRing | None = None
) -> None:
    """Run the ticks ``numbers`` of an active engine; ``ring`` gets what ``infer`` takes of each.

    ``frames``: input name -> values [K, *shape] that take turns. What is not in it keeps what it holds.
    """
    written = [(engine.inputs[name], values) for name, values in frames.items()]
    for number in numbers:
        for buffer, values in written:
            buffer[...] = values[number % len(values)]
        begin_ns = perf_counter_ns()
        engine.infer()
        if ring is not None:
            ring.add((perf_counter_ns() - begin_ns) * 1e-3)
