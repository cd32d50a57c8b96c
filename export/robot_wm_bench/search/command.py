"""`robot-wm bench search`: how long a plan takes, planner by planner.

On the CPU all planners take turns in short blocks within one run, so that whatever else the machine does falls on all
of them. TensorRT has a process of its own for each.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from robot_wm.console import emit, messages, progress
from robot_wm.errors import UserError
from robot_wm.options import Positive

if TYPE_CHECKING:
    from robot_wm_bench.search.plans import Timed, Unrolled

ENGINES = ("onnxruntime", "tensorrt")
PLANNERS = ("flat", "halving", "tree", "mctx")
_BLOCK_PLANS = 20
_WARM_UP_PLANS = 20


def bench_search(
    *,
    models: str = "plain,muzero,3m,12m",
    planners: str = ",".join(PLANNERS),
    candidates: str = "16,64",
    depth: Annotated[int, Positive] = 5,
    simulations: Annotated[int, Positive] = 32,
    whole_tree: Annotated[int | None, Positive] = None,
    engines: str = "onnxruntime",
    plans: Annotated[int, Positive] = 300,
    threads: Annotated[int, Positive] = 2,
    matrices: int | None = None,
    tensorrt_python: Path | None = None,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Measure one plan from one root, the planners side by side.

    Parameters
    ----------
    models
        What is planned with, separated by commas: plain (128 numbers, 2x256 rectified units for g and for f, 16
        actions), muzero (its networks of that size as they deploy), or a size of Dreamer: nano, 1m, 3m, 12m, ...
    planners
        Separated by commas: flat and halving (one ONNX graph each), tree (the reference in NumPy over the model's ONNX
        graph), mctx (its jitted gumbel_muzero_policy, where mctx is installed). A tree needs 16 discrete actions, so
        Dreamers have none; mctx searches the plain model.
    candidates
        Of flat planners, separated by commas; halving planners begin with the first of them.
    depth
        Steps that are looked ahead.
    simulations
        Of tree and mctx.
    whole_tree
        Simulations of a search that is unrolled into one graph; none is if not given, since building it takes long.
    engines
        What runs planners that are one graph, separated by commas: onnxruntime, tensorrt.
    plans
        Timed plans of each.
    threads
        CPU threads of ONNX Runtime; JAX takes all there are.
    matrices
        As for `robot-wm engine build`. Not given: TensorRT builds several ways and the fastest is kept.
    tensorrt_python
        Interpreter that has TensorRT, NumPy, pydantic and CUDA's bindings; by default the one that runs this.
    json
        Print the result as one JSON object; durations are in milliseconds.
    """
    import platform

    from robot_wm_bench.search.models import bench_model
    from robot_wm_bench.search.on_tensorrt import tensorrt_plans
    from robot_wm_bench.search.plans import session_plan

    chosen = known_parts(planners, "--planners", PLANNERS)
    on = known_parts(engines, "--engines", ENGINES)
    counts = candidate_counts(candidates)
    rows: list[dict[str, Any]] = []
    built = {name: bench_model(name) for name in dict.fromkeys(part.strip() for part in models.split(","))}
    with progress() as bar:
        task = bar.add_task("search", total=len(built), note="")
        for name, made in built.items():
            bar.update(task, note=f"{name}: exporting")
            graphs = list(_graphs(made, chosen, counts, depth, whole_tree))
            timed = [session_plan(graph, threads) for graph in graphs if "onnxruntime" in on]
            timed += _others(made, chosen, depth, simulations, threads)
            bar.update(task, note=f"{name}: planning")
            found = list(_in_turns(timed, plans))
            for graph in graphs if "tensorrt" in on else ():
                bar.update(task, note=f"{name}: TensorRT, {graph.planner}")
                found += tensorrt_plans(graph, plans, matrices=matrices, python=tensorrt_python)
            rows += [{"model": name, **row} for row in found]
            bar.update(task, advance=1)
    emit(
        {"machine": platform.machine(), "threads": threads, "plans": plans, "rows": rows},
        as_json=json,
        title="One plan, ms",
    )


def _graphs(
    made: Any, planners: Sequence[str], counts: Sequence[int], depth: int, whole_tree: int | None
) -> Iterator[Unrolled]:
    """Every planner of a model that is one graph."""
    from robot_wm_bench.search.plans import planner_graph, whole_tree_graph

    try:
        for count in counts if "flat" in planners else ():
            yield planner_graph(made, "flat", count, depth)
        if "halving" in planners:
            yield planner_graph(made, "halving", counts[0], depth)
    except ValueError as error:
        raise UserError(f"planner: {error}") from None
    if whole_tree is not None and made.model.discrete:
        yield whole_tree_graph(made, whole_tree, depth)


def _others(made: Any, planners: Sequence[str], depth: int, simulations: int, threads: int) -> Iterator[Timed]:
    """Trees that are no graph."""
    from robot_wm_bench.search.models import PlainModel
    from robot_wm_bench.search.peer import mctx_plan
    from robot_wm_bench.search.plans import reference_plan

    if "tree" in planners and made.model.discrete:
        yield reference_plan(made, simulations, depth, threads)
    if "mctx" in planners and isinstance(made.model, PlainModel):
        if importlib.util.find_spec("mctx") is None:
            messages().print("mctx is not installed (pip install 'robot-wm\\[baselines]'): it is left out")
        else:
            yield mctx_plan(made.model, simulations, depth)


def _in_turns(timed: Sequence[Timed], plans: int) -> Iterator[dict[str, Any]]:
    """Rows of plain values."""
    from robot_wm.runtime.latency import LatencyRing

    rings = [LatencyRing(plans) for _ in timed]
    for entry in timed:
        for number in range(_WARM_UP_PLANS):
            entry.plan(number)
    for start in range(0, plans, _BLOCK_PLANS):
        for entry, ring in zip(timed, rings, strict=True):
            for number in range(start, min(start + _BLOCK_PLANS, plans)):
                ring.add(entry.plan(number) * 1e-3)
    for entry, ring in zip(timed, rings, strict=True):
        summary = ring.summary()
        yield {
            "planner": entry.planner,
            "candidates": entry.candidates,
            "simulations": entry.simulations,
            "depth": entry.depth,
            "engine": entry.engine,
            "median_ms": summary.p50_us * 1e-3,
            "p99_ms": summary.p99_us * 1e-3,
            "least_ms": float(ring.durations_us().min()) * 1e-3,
            "nodes": entry.nodes,
            "build_s": entry.build_s,
        }


def known_parts(text: str, option: str, known: Sequence[str]) -> list[str]:
    """The parts of an option that are separated by commas, without repeats; UserError for one that is not known."""
    parts = list(dict.fromkeys(part.strip() for part in text.split(",")))
    for part in parts:
        if part not in known:
            raise UserError(f"{option}: {part!r} is none of {', '.join(known)}")
    return parts


def candidate_counts(text: str) -> list[int]:
    """The numbers that ``--candidates`` names; UserError for anything else."""
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if not part.isdecimal() or int(part) < 1:
            raise UserError(f"--candidates: {part!r} is no number of candidates")
    return [int(part) for part in parts]
