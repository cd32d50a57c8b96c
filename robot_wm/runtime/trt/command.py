"""`robot-wm engine`: build TensorRT engines on the robot they are for, and see which are there."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts
from cyclopts import Parameter

from robot_wm.console import emit, progress
from robot_wm.errors import UserError
from robot_wm.runtime.parity_section import Precision
from robot_wm.runtime.trt.options import BuildOptions

if TYPE_CHECKING:
    from robot_wm.runtime.bundle import Bundle
    from robot_wm.runtime.trt.provide import Provided

app = cyclopts.App(
    name="engine",
    help="TensorRT engines of this machine: build, list, key.",
    result_action="return_value",
)

Options = Annotated[BuildOptions, Parameter(name="*", negative="")]
Json = Annotated[bool, Parameter(name="--json", negative="")]


@app.command
def build(
    bundle: Path,
    /,
    *,
    precision: Precision = "fp32",
    planner: Annotated[bool, Parameter(negative="")] = False,
    engine_dir: Path | None = None,
    options: Options = BuildOptions(),  # noqa: B008 - frozen
    public_key: Path | None = None,
    json: Json = False,
) -> None:
    """Build the engine of a bundle for this machine's GPU, unless it is there, and check it against the recording.

    An engine that does not compute what was exported is removed again. The agent finds the engine at its next start.

    Parameters
    ----------
    bundle
        Folder agent.rwm, agent.rwm.zip, or zoo:NAME (see `robot-wm zoo list`).
    precision
        Of the graph in the bundle that is built: fp32, fp16 or int8.
    planner
        The engine of the bundle's planner instead, which has one precision, fp32.
    engine_dir
        Folder of engines; default /var/lib/robot_wm/engines if /var/lib/robot_wm exists, else in your cache.
    public_key
        Ed25519 public key (PEM); a bundle that is not signed with its private half is refused.
    json
        Print one JSON object.
    """
    from robot_wm.runtime.bundle import Bundle
    from robot_wm.runtime.bundle_graph import planner_graph, tick_graph
    from robot_wm.runtime.trt import api
    from robot_wm.runtime.trt.cache import EngineCache
    from robot_wm.runtime.trt.provide import provide
    from robot_wm.zoo.catalog import locate_bundle

    if planner and precision != "fp32":
        raise UserError(f"--precision {precision}: of the policy; a planner is fp32")
    tells_progress = api.load(need_builder=True).tells_progress
    cache = EngineCache(engine_dir)
    with Bundle.open(*locate_bundle(bundle, public_key)) as opened:
        graph = planner_graph(opened.manifest) if planner else tick_graph(opened.manifest, precision)
        with progress() as bar:
            row = bar.add_task(f"build {graph.file}", total=100 if tells_progress else None, note="")
            provided = provide(
                opened,
                graph,
                options=options,
                folder=cache.folder,
                on_progress=lambda share, what: bar.update(row, completed=round(100 * share), note=what),
            )
            bar.update(row, total=100, completed=100, note="done")
        try:
            checked = _check_planner(opened, provided) if planner else _check(opened, provided, precision)
        except UserError as error:
            cache.remove(provided.key)
            raise UserError(f"{error}; the engine was removed from {cache.folder}") from None
    stored = next((engine for engine in cache.all() if engine.key == provided.key), None)
    result = {
        "bundle": str(bundle),
        "engine": str(stored.path) if stored else "",
        "built": provided.is_new,
        "build_s": stored.build_seconds if stored else None,
        "matrices": stored.matrices if stored else None,
        "engine_bytes": len(provided.plan),
        "precision": precision,
        **provided.key.machine(),
        **checked,
    }
    emit(result, as_json=json, title="engine")


def _check(bundle: Bundle, provided: Provided, precision: Precision) -> dict[str, Any]:
    """Run the engine over the recording: step by step, and free running. Raises UserError if it is too far off."""
    from robot_wm.runtime.parity import check_parity, free_run

    engine = provided.engine()
    engine.activate()
    try:
        graph_error = engine.graph_error
        recording = bundle.recording()
        found = check_parity(engine, bundle, precision, recording)
        free = free_run(engine, bundle, recording)
    finally:
        engine.deactivate()
    return {
        "cuda_graph": graph_error or "captured",
        "parity_ticks": found.ticks,
        "near_tie_ticks": found.near_tie_ticks,
        "differing_draws": found.differing_draws,
        "largest_error": max(found.largest_error.values()),
        "free_running_flips": free.flips,
        "free_running_draws": free.draws,
        "first_flip_tick": free.first_flip_tick,
        "free_running_action_divergence": free.action_divergence,
    }


def _check_planner(bundle: Bundle, provided: Provided) -> dict[str, Any]:
    """Run the engine over the recorded plans. Raises UserError if it is too far off."""
    from robot_wm.runtime.planning.plan_parity import check_plan_parity

    planner = bundle.manifest.planner
    assert planner is not None  # or there would be no graph
    engine = provided.engine()
    engine.activate()
    try:
        graph_error = engine.graph_error
        found = check_plan_parity(engine, planner, bundle.plans(), origin=str(bundle.path))
    finally:
        engine.deactivate()
    return {
        "cuda_graph": graph_error or "captured",
        "plans": found.plans,
        "near_tie_plans": found.near_tie_plans,
        "unsteady_plans": found.unsteady_plans,
        "differing_plans": found.differing_plans,
        "largest_error": max(found.largest_error.values()),
    }


@app.command(name="list")
def list_engines(*, engine_dir: Path | None = None, json: Json = False) -> None:
    """List the engines that were built here, the newest first.

    Parameters
    ----------
    engine_dir
        Folder of engines.
    json
        Print one JSON object.
    """
    from robot_wm.runtime.trt.cache import EngineCache

    cache = EngineCache(engine_dir)
    engines = cache.all()
    if json:
        rows = [asdict(engine) | {"key": engine.key.model_dump(mode="json")} for engine in engines]
    else:
        rows = [
            {
                "engine": engine.key.digest[:12],
                "graph": engine.key.graph_sha256[:12],
                "precision": engine.key.precision,
                "TensorRT": engine.key.tensorrt,
                "GPU": engine.key.gpu,
                "MiB": engine.size_bytes / 2**20,
                "built (UTC)": engine.created.strftime("%Y-%m-%d %H:%M:%S"),
                "in s": engine.build_seconds,
            }
            for engine in engines
        ]
    emit({"engine_dir": str(cache.folder), "rows": rows}, as_json=json, title="engines")


@app.command
def key(
    bundle: Path,
    /,
    *,
    precision: Precision = "fp32",
    engine_dir: Path | None = None,
    options: Options = BuildOptions(),  # noqa: B008 - frozen
    public_key: Path | None = None,
    json: Json = False,
) -> None:
    """Say what the engine of a bundle depends on here, and whether it is built; builds nothing.

    Parameters
    ----------
    bundle
        Folder agent.rwm, agent.rwm.zip, or zoo:NAME (see `robot-wm zoo list`).
    precision
        Of the graph in the bundle: fp32, fp16 or int8.
    engine_dir
        Folder of engines.
    public_key
        Ed25519 public key (PEM); a bundle that is not signed with its private half is refused.
    json
        Print one JSON object.
    """
    from robot_wm.runtime.bundle import Bundle
    from robot_wm.runtime.bundle_graph import tick_graph
    from robot_wm.runtime.trt.cache import EngineCache
    from robot_wm.runtime.trt.provide import engine_key
    from robot_wm.zoo.catalog import locate_bundle

    with Bundle.open(*locate_bundle(bundle, public_key)) as opened:
        wanted = engine_key(opened, tick_graph(opened.manifest, precision), options)
    cache = EngineCache(engine_dir)
    values = wanted.model_dump(mode="json")
    if not json:
        values |= {name: ", ".join(map(str, values[name])) or "none" for name in ("flags", "shapes")}
    emit(
        {"digest": wanted.digest, "is_built": cache.get(wanted) is not None, "engine_dir": str(cache.folder), **values},
        as_json=json,
        title="engine key",
    )
