"""How long TensorRT takes for a tick or a plan: ``python -m robot_wm.runtime.trt.bench``, which prints a line of JSON.

A process of its own, so that an interpreter with TensorRT but without torch can be asked. Timed is
``TensorRTEngine.infer``: from the inputs in the host's memory to every output there. The engine that launches
one CUDA graph a tick and the one that queues call by call take turns in short blocks. Durations are microseconds.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from robot_wm.errors import UserError
from robot_wm.runtime.engine import Array, EngineError
from robot_wm.runtime.graph_tensors import StateTensor
from robot_wm.runtime.latency import LatencyRing
from robot_wm.runtime.manifest import POLICY_OF, Manifest
from robot_wm.runtime.parity_recording import read_recording
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
    frames: Mapping[str, Array],
    precision: Precision,
    ticks: int,
    options: BuildOptions,
    *,
    state: Sequence[StateTensor] = (),
    origin: str = "graph",
) -> list[dict[str, Any]]:
    """Build ``graph``, as the cache would, and time ``ticks`` of it with and without a CUDA graph.

    One row of plain values for each. ``frames``: input name -> values [K, *shape] that come one after the other; other
    inputs are zeros, but for the ``state``, which goes from tick to tick. Raises UserError and EngineError.
    """
    built = fastest_plan(graph, precision, options, state, origin=origin)
    engines = {
        captured: TensorRTEngine(built.plan, state, cuda_graph=captured, origin=origin) for captured in (True, False)
    }
    rings = {captured: LatencyRing(ticks) for captured in engines}
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
    parser.add_argument("--manifest", type=Path, help="of a tick: manifest.json of the graph's bundle")
    parser.add_argument("--recording", type=Path, help="of a tick: parity.npz of the graph's bundle")
    parser.add_argument("--frames", type=Path, help="of any other graph: .npz of inputs [K, *shape] that take turns")
    parser.add_argument("--precision", choices=tuple(POLICY_OF), default="fp32")
    parser.add_argument("--ticks", type=int, default=30_000)
    parser.add_argument("--matrices", type=int, help="as for `robot-wm engine build`")
    given = parser.parse_args(arguments)
    if (given.frames is None) == (given.manifest is None) or (given.manifest is None) != (given.recording is None):
        parser.error("either --manifest and --recording or --frames")
    try:
        try:
            state, frames = _of_bundle(given.manifest, given.recording) if given.manifest else ((), _read(given.frames))
            graph = given.graph.read_bytes()
        except OSError as error:
            raise UserError(f"{error.filename}: cannot read it: {error.strerror}") from None
        if given.ticks < 1:
            raise UserError(f"--ticks must be at least 1, got {given.ticks}")
        try:
            options = BuildOptions(matrices=given.matrices)
        except ValidationError as error:
            raise UserError.from_validation(error, origin="option") from None
        rows = measure(graph, frames, given.precision, given.ticks, options, state=state, origin=given.graph.name)
    except (UserError, EngineError) as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(rows))
    return 0


def _of_bundle(manifest: Path, recording: Path) -> tuple[Sequence[StateTensor], dict[str, Array]]:
    """What a tick carries on, and the recorded observations, by the names of the graph's inputs; no noise."""
    told = Manifest.from_json(manifest.read_bytes(), origin=str(manifest))
    with recording.open("rb") as file:
        recorded = read_recording(file, told, origin=str(recording))
    return told.state, {name: values for name, values in recorded.inputs.items() if name.startswith("obs/")}


def _read(path: Path) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as held:
            return dict(held)
    except (ValueError, EOFError, zipfile.BadZipFile):
        raise UserError(f"{path}: is no .npz file of arrays") from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
