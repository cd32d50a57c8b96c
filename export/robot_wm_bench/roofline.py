"""`robot-wm bench roofline`: the least time that a board needs for one tick, by its bandwidth and its arithmetic.

Bytes and operations are counted in the real graphs; the board's figures are the published ones in its YAML file. A
floor is an estimate: it says what no engine can beat there while nothing stays in a cache between two ticks, not what
one reaches. Beside it stands what ONNX Runtime takes for the same graph on this machine's CPU.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from robot_wm.console import emit
from robot_wm.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robot_wm.firmware.board_model import BoardConfig
    from robot_wm.runtime.graph_tensors import StateTensor
    from robot_wm.runtime.parity_section import Precision
    from robot_wm_bench.graph_cost import GraphCost

PLANNER = "planner.onnx"
_WARM_UP = 20
_CALIBRATION_TICKS = 4  # of noise: what an int8 graph holds and costs does not depend on its scales


@dataclasses.dataclass(frozen=True)
class Graph:
    """One graph to judge."""

    name: str
    precision: Precision
    content: bytes
    state: Sequence[StateTensor]


def bench_roofline(
    *,
    bundle: Path | None = None,
    size: str | None = None,
    obs: Literal["proprio", "image"] = "proprio",
    board: str = "orin-nano",
    ticks: Annotated[int, Parameter(validator=Number(gt=0))] = 200,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Estimate the least time of a tick (and of a planner's call) on a board, from the graphs' bytes and operations.

    Parameters
    ----------
    bundle
        The bundle (or zoo:NAME) whose graphs are counted, every precision that it has. Or give ``--size``.
    size
        Instead of a bundle: a fresh agent of this size (12m where neither is given), in fp32, fp16 and int8.
    obs
        What the agent of ``--size`` sees: 48 numbers, or one image of 64x64x3 pixels; 12 actions.
    board
        Boards of firmware_configs, separated by commas, or paths of YAML files like them.
    ticks
        Timed runs of each graph on this machine, for comparison.
    json
        Print the result as one JSON object; times are in microseconds.
    """
    import onnx

    from robot_wm.firmware.loading import load_board
    from robot_wm_bench.graph_cost import graph_cost

    if bundle is not None and size is not None:
        raise UserError("--bundle and --size: give one of them")
    boards = [load_board(name.strip()) for name in board.split(",")]
    for entry in boards:
        _require_figures(entry)
    rows: list[dict[str, Any]] = []
    details: list[dict[str, Any]] = []
    for graph in _of_bundle(bundle) if bundle is not None else _of_size(size or "12m", obs):
        cost = graph_cost(onnx.load_from_string(graph.content))
        here_us = measured_us(graph, ticks)
        named = {"graph": graph.name, "precision": graph.precision}
        details.append(named | {"bytes": cost.bytes} | dataclasses.asdict(cost))
        for entry in boards:
            floor = floors(cost, entry, graph.precision)
            rows.append({"board": entry.name, **named, **floor, "onnxruntime_here_us": here_us})
    emit(
        {
            "estimate": "floor_us = max(memory_us, compute_us) is a lower bound by published figures, no measurement",
            "onnxruntime_here": f"median of {ticks} runs on one CPU thread of this machine",
            **({"boards": {entry.name: _figures(entry) for entry in boards}, "graphs": details} if json else {}),
            "rows": rows,
        },
        as_json=json,
        title="Roofline",
    )


def floors(cost: GraphCost, board: BoardConfig, precision: Precision) -> dict[str, Any]:
    """Least time in µs by bandwidth and by arithmetic, and the larger of both."""
    assert board.rates is not None
    assert board.memory_bandwidth_gb_s is not None
    rate_t = {"fp32": board.rates.fp32_tflops, "fp16": board.rates.fp16_tflops, "int8": board.rates.int8_tops}
    memory_us = cost.bytes / (board.memory_bandwidth_gb_s * 1e9) * 1e6
    compute_us = cost.product_flops / (rate_t[precision] * 1e12) * 1e6
    return {"floor_us": max(memory_us, compute_us), "memory_us": memory_us, "compute_us": compute_us}


def measured_us(graph: Graph, runs: int) -> float:
    """Median duration of ``OnnxEngine.infer`` on zeros, µs."""
    import numpy as np

    from robot_wm.runtime.onnx_engine import OnnxEngine

    engine = OnnxEngine(graph.content, graph.state)
    engine.activate()
    durations_ns = []
    for number in range(_WARM_UP + runs):
        begin_ns = perf_counter_ns()
        engine.infer()
        if number >= _WARM_UP:
            durations_ns.append(perf_counter_ns() - begin_ns)
    engine.deactivate()
    return float(np.median(durations_ns)) * 1e-3


def _require_figures(board: BoardConfig) -> None:
    for field in ("memory_bandwidth_gb_s", "rates"):
        if getattr(board, field) is None:
            raise UserError(f"board {board.name}: has no {field}: there is no published figure to judge by")


def _figures(board: BoardConfig) -> dict[str, Any]:
    assert board.rates is not None
    return {"memory_bandwidth_gb_s": board.memory_bandwidth_gb_s, **board.rates.model_dump()}


def _of_bundle(path: Path) -> Iterator[Graph]:
    from robot_wm.runtime.bundle import Bundle
    from robot_wm.runtime.manifest import POLICY_OF
    from robot_wm.zoo.catalog import locate_bundle

    with Bundle.open(*locate_bundle(path)) as bundle:
        for precision, name in POLICY_OF.items():
            if name in bundle.manifest.files:
                yield Graph("tick", precision, bundle.read(name), bundle.manifest.state)
        if PLANNER in bundle.manifest.files:
            yield Graph("planner", "fp32", bundle.read(PLANNER), ())


def _of_size(size: str, obs: str) -> Iterator[Graph]:
    from robot_wm_bench.agent import fresh_agent
    from robot_wm_export.fp16 import to_fp16
    from robot_wm_export.int8 import to_int8
    from robot_wm_export.onnx_export import export_op17
    from robot_wm_export.tick_graph import TickGraph

    agent, spec = fresh_agent(size, obs)
    graph = TickGraph(agent, spec)
    float32 = export_op17(graph)
    made: Mapping[Precision, Any] = {
        "fp32": float32,
        "fp16": to_fp16(float32),
        "int8": to_int8(float32, _noise(graph), graph.draws),
    }
    for precision, model in made.items():
        yield Graph("tick", precision, model.SerializeToString(), graph.state)


def _noise(graph: Any) -> dict[str, Any]:
    import numpy as np

    rng = np.random.default_rng(0)
    return {
        entry.name: rng.integers(0, 256, (_CALIBRATION_TICKS, *entry.shape), dtype=np.uint8)
        if entry.dtype == "uint8"
        else rng.standard_normal((_CALIBRATION_TICKS, *entry.shape)).astype(np.float32)
        for entry in graph.inputs
    }
