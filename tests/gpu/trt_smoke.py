"""Does the TensorRT engine work on this machine, and how fast? One line of JSON; exit code 1 if parity fails.

    PYTHONPATH=. python tests/gpu/trt_smoke.py GRAPH.onnx parity.npz manifest.json [--precision fp16] [--ticks 30000]

For machines with little installed: beyond the repository it needs TensorRT and the wheels numpy, cuda-bindings (with
cuda-pathfinder), pydantic, pydantic-core, annotated-types, typing-extensions and typing-inspection. The three files
are those of one bundle; GRAPH is the one of the precision. Durations are microseconds, of ``infer`` alone: from the
inputs in the host's memory to the outputs there.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from dataclasses import asdict
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import Any

import numpy as np

from robot_wm.errors import UserError
from robot_wm.runtime.latency import LatencyRing
from robot_wm.runtime.manifest import POLICY_OF, Manifest, Precision
from robot_wm.runtime.parity import compare, free_run_over, objection, replay
from robot_wm.runtime.recording import Recording, read_recording
from robot_wm.runtime.trt import api
from robot_wm.runtime.trt.build import BuildOptions, build_plan
from robot_wm.runtime.trt.cuda import Cuda
from robot_wm.runtime.trt.engine import TensorRTEngine

# How a tick is run: one CUDA graph, call by call, and one graph without copies (the GPU reaches into host memory).
MODES: dict[str, dict[str, Any]] = {
    "graph": {"cuda_graph": True},
    "enqueue": {"cuda_graph": False},
    "graph_mapped": {"cuda_graph": True, "mapped": True},
}
WARM_UP_TICKS = 1000


def examine(engine: TensorRTEngine, manifest: Manifest, recording: Recording, precision: Precision) -> dict[str, Any]:
    """Parity step by step and free running, of an active engine."""
    thresholds = manifest.thresholds(precision)
    made = replay(engine, recording.inputs, manifest.state, manifest.outputs)
    found = compare(recording.inputs, recording.outputs, made, thresholds)
    return {
        "objection": objection(found, thresholds),
        "near_tie_ticks": found.near_tie_ticks,
        "differing_draws": found.differing_draws,
        "draws": found.draws,
        "largest_error": {name: float(f"{value:.3g}") for name, value in found.largest_error.items()},
        "free_run": asdict(free_run_over(engine, recording, manifest.state)),
    }


def ring_of(engine: TensorRTEngine, recording: Recording, ticks: int) -> LatencyRing:
    """Time ``ticks`` ticks over the recorded observations; the state goes round."""
    frames = [(view, recording.inputs[name]) for name, view in engine.inputs.items() if name.startswith("obs/")]
    ring = LatencyRing(ticks)
    executed = np.zeros((1, *engine.outputs["action"].shape[1:]), dtype=np.float32)
    gc.collect()
    gc.disable()  # as the control loop does
    for number in range(WARM_UP_TICKS + ticks):
        for view, values in frames:
            view[...] = values[number % recording.ticks]
        begin = perf_counter_ns()
        engine.infer()
        took = perf_counter_ns() - begin
        if "action" in engine._small:  # what the controller does after every tick
            engine.write_state("action", executed)
        if number >= WARM_UP_TICKS:
            ring.add(took * 1e-3)
    gc.enable()
    return ring


def main() -> int:
    """Build, check and time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graph", type=Path)
    parser.add_argument("recording", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--precision", choices=tuple(POLICY_OF), default="fp32")
    parser.add_argument("--ticks", type=int, default=30_000)
    parser.add_argument("--optimization-level", type=int, default=3)
    parser.add_argument("--timing-cache", type=Path, help="read if it is there, then written")
    given = parser.parse_args()
    manifest = Manifest.from_json(given.manifest.read_bytes(), origin=str(given.manifest))
    with given.recording.open("rb") as file:
        recording = read_recording(file, manifest, origin=str(given.recording))
    timings = given.timing_cache
    built = build_plan(
        given.graph.read_bytes(),
        given.precision,
        BuildOptions(optimization_level=given.optimization_level),
        timing_cache=timings.read_bytes() if timings and timings.exists() else None,
        on_progress=lambda share, what: print(f"{share:5.0%} {what}", file=sys.stderr),
        origin=str(given.graph),
    )
    if timings:
        timings.write_bytes(built.timing_cache)
    print(f"built in {built.seconds:.1f} s, {len(built.plan)} bytes", file=sys.stderr, flush=True)
    result: dict[str, Any] = {
        "graph": given.graph.name,
        "precision": given.precision,
        "tensorrt": api.load().version,
        "gpu": asdict(Cuda.open().gpu()),
        "build_s": round(built.seconds, 2),
        "engine_bytes": len(built.plan),
        "graph_bytes": given.graph.stat().st_size,
        "ticks": given.ticks,
        "modes": {},
    }
    for mode, options in MODES.items():
        engine = TensorRTEngine(built.plan, manifest.state, origin=mode, **options)
        begin = perf_counter()
        try:
            engine.activate()
        except UserError as error:
            result["modes"][mode] = {"objection": str(error)}
            continue
        activate_s = perf_counter() - begin
        figures = examine(engine, manifest, recording, given.precision)
        summary = ring_of(engine, recording, given.ticks).summary()
        result["modes"][mode] = {
            "p50_us": round(summary.p50_us, 1),
            "p99_us": round(summary.p99_us, 1),
            "p999_us": round(summary.p999_us, 1),
            "max_us": round(summary.max_us, 1),
            "activate_s": round(activate_s, 2),
            "graph_error": engine.graph_error,
            "states_on_gpu": sorted(engine._large),
            **figures,
        }
        engine.deactivate()
        print(f"{mode}: {result['modes'][mode]}", file=sys.stderr, flush=True)
    print(json.dumps(result))
    return int(any(figures["objection"] for figures in result["modes"].values()))


if __name__ == "__main__":
    sys.exit(main())
