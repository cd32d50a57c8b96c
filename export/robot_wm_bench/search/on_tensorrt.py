"""Plans on a GPU by TensorRT, timed in a process of its own as `robot-wm bench tick` times ticks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from robot_wm_bench.search.plans import Unrolled
from robot_wm_bench.tensorrt import tensorrt_rows


def tensorrt_plans(
    unrolled: Unrolled, plans: int, *, matrices: int | None, python: Path | None
) -> Iterator[dict[str, Any]]:
    """Rows of plain values: launched as one CUDA graph, and queued call by call.

    ``matrices`` and ``python`` as `tensorrt_rows` takes them, and its UserError.
    """
    with tempfile.TemporaryDirectory(prefix="robot_wm_bench_") as folder:
        graph, frames = Path(folder) / f"{unrolled.planner}.onnx", Path(folder) / "frames.npz"
        graph.write_bytes(unrolled.model.SerializeToString())
        np.savez(frames, **unrolled.values())  # type: ignore[arg-type]  # no input is called allow_pickle
        found = tensorrt_rows(
            graph, {"frames": frames}, precision="fp32", ticks=plans, matrices=matrices, python=python
        )
    for row in found:
        yield {
            "planner": unrolled.planner,
            "candidates": unrolled.candidates,
            "simulations": unrolled.simulations,
            "depth": unrolled.depth,
            "engine": "tensorrt, one CUDA graph" if row["cuda_graph"] else "tensorrt, call by call",
            "median_ms": row["p50_us"] * 1e-3,
            "p99_ms": row["p99_us"] * 1e-3,
            "nodes": len(unrolled.model.graph.node),
            "build_s": unrolled.export_s + row["build_s"],
            "matrices": row["matrices"],
            "graph_error": row["graph_error"],
        }
