"""How long TensorRT takes for a tick: ``python -m robot_wm.runtime.trt.bench``, which prints one line of JSON.

A process of its own, so that an interpreter with TensorRT but without torch can be asked. Timed is
``TensorRTEngine.infer``: from the observation in the host's memory to every output there. The engine that launches
one CUDA graph a tick and the one that queues call by call take turns in short blocks. Durations are microseconds.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from robot_wm.errors import UserError
from robot_wm.runtime.engine import EngineError
from robot_wm.runtime.latency import LatencyRing
from robot_wm.runtime.manifest import POLICY_OF, Manifest
from robot_wm.runtime.parity_recording import Recording, read_recording
from robot_wm.runtime.parity_section import Precision
from robot_wm.runtime.trt import api
from robot_wm.runtime.trt.choice import fastest_plan
from robot_wm.runtime.trt.engine import TensorRTEngine
from robot_wm.runtime.trt.options import ALL_MATRICES, BuildOptions
from robot_wm.runtime.trt.timing import run_ticks

_BLOCK_TICKS = 50
_WARM_UP_TICKS = 200


def measure(
    graph: bytes,
    manifest: Manifest,
    recording: Recording,
    precision: Precision,
    ticks: int,
    options: BuildOptions,
) -> list[dict[str, Any]]:
    """Build ``graph``, as the cache would, and time ``ticks`` ticks with and without a CUDA graph.

    One row of plain values for each. The recorded observations come one after the other, without noise. Raises
    UserError and EngineError.
    """
    built = fastest_plan(graph, precision, options, manifest.state, origin=POLICY_OF[precision])
    engines = {
        captured: TensorRTEngine(built.plan, manifest.state, cuda_graph=captured, origin=POLICY_OF[precision])
        for captured in (True, False)
    }
    rings = {captured: LatencyRing(ticks) for captured in engines}
    frames = {name: values for name, values in recording.inputs.items() if name.startswith("obs/")}
    try:
        for engine in engines.values():
            engine.activate()
            run_ticks(engine, range(_WARM_UP_TICKS), frames)
        gc.collect()
        gc.disable()  # as the control loop does
        for start in range(0, ticks, _BLOCK_TICKS):
            for captured, engine in engines.items():
                run_ticks(engine, range(start, min(start + _BLOCK_TICKS, ticks)), frames, rings[captured])
        graph_error = engines[True].graph_error
    finally:
        gc.enable()
        for engine in engines.values():
            engine.deactivate()
    return [
        {
            "engine": "tensorrt",
            "precision": precision,
            "device": "cuda",
            "cuda_graph": captured,
            "p50_us": summary.p50_us,
            "p99_us": summary.p99_us,
            "p999_us": summary.p999_us,
            "max_us": summary.max_us,
            "engine_bytes": len(built.plan),
            "build_s": built.seconds,
            "matrices": None if built.matrices == ALL_MATRICES else built.matrices,
            "tensorrt": api.load().version,
            "graph_error": graph_error if captured else None,
        }
        for captured, ring in rings.items()
        for summary in (ring.summary(),)
    ]


def main(arguments: Sequence[str]) -> int:
    """Measure what the command line names; the exit status. A user's error is one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m robot_wm.runtime.trt.bench", description=__doc__)
    parser.add_argument("--graph", type=Path, required=True, help="ONNX file of the precision")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest.json of the graph's bundle")
    parser.add_argument("--recording", type=Path, required=True, help="parity.npz of the graph's bundle")
    parser.add_argument("--precision", choices=tuple(POLICY_OF), default="fp32")
    parser.add_argument("--ticks", type=int, default=30_000)
    parser.add_argument("--matrices", type=int, help="as for `robot-wm engine build`")
    given = parser.parse_args(arguments)
    try:
        try:
            manifest = Manifest.from_json(given.manifest.read_bytes(), origin=str(given.manifest))
            with given.recording.open("rb") as file:
                recording = read_recording(file, manifest, origin=str(given.recording))
            graph = given.graph.read_bytes()
        except OSError as error:
            raise UserError(f"{error.filename}: cannot read it: {error.strerror}") from None
        if given.ticks < 1:
            raise UserError(f"--ticks must be at least 1, got {given.ticks}")
        try:
            options = BuildOptions(matrices=given.matrices)
        except ValidationError as error:
            raise UserError.from_validation(error, origin="option") from None
        rows = measure(graph, manifest, recording, given.precision, given.ticks, options)
    except (UserError, EngineError) as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
