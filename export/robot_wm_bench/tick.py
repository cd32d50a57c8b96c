"""`robot-wm bench tick`: how long one tick takes in torch, in ONNX Runtime, in the runtime's controller, in TensorRT.

Every engine computes the same agent with fresh weights on the same observations, recurrent state carried from tick to
tick. Those of this interpreter take turns in short blocks within one run, so that whatever else the machine does falls
on all of them; TensorRT has a process of its own. What is timed of each: ``ticks`` and ``runtime.trt.bench``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from robot_wm.console import emit, progress
from robot_wm.errors import UserError
from robot_wm.runtime.manifest import POLICY_OF

if TYPE_CHECKING:
    from robot_wm.dreamer.agent import DreamerAgent
    from robot_wm.runtime.bundle import Bundle
    from robot_wm_bench.ticks import Tick
    from robot_wm_export.rollout import Rollout

ENGINES = ("torch_eager", "torch_compile", "onnxruntime", "controller", "tensorrt")
_OF_EVERY_PRECISION = ("onnxruntime", "tensorrt")  # the others run the float32 agent
_BLOCK_TICKS = 50
_WARM_UP_TICKS = 50
_OTHER_TICKS = 2000
_Progress = Callable[[int, str], None]  # ticks done, what is being done


def bench_tick(
    *,
    sizes: str = "1m,12m,50m",
    obs: str = "proprio",
    engine: str = "torch_eager,onnxruntime,controller",
    precision: str = "fp32",
    device: Literal["cpu", "cuda"] = "cpu",
    ticks: Annotated[int, Parameter(validator=Number(gt=0))] = 30_000,
    other_ticks: Annotated[int | None, Parameter(validator=Number(gt=0))] = None,
    matrices: int | None = None,
    tensorrt_python: Path | None = None,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Measure one tick of the policy, engine by engine, on one CPU thread or on the first GPU.

    Parameters
    ----------
    sizes
        Model sizes, separated by commas: nano, 1m, 3m, 12m, 25m, 50m, 100m, 200m.
    obs
        What the agent sees: proprio (48 numbers), image (64x64x3 pixels), or both one after the other: proprio,image.
    engine
        Engines, separated by commas: torch_eager, torch_compile, onnxruntime, controller, tensorrt.
    precision
        Graphs that onnxruntime and tensorrt run, separated by commas: fp32, fp16, int8. The others are fp32.
    device
        Where torch computes: cpu or cuda. ONNX Runtime and the controller compute on the CPU, TensorRT on the GPU.
    ticks
        Timed ticks of TensorRT, by size and way to launch: enough for one tick in a thousand.
    other_ticks
        Timed ticks of each engine beside it, which may be a hundred times slower; if not given 2,000, or --ticks where
        that is less.
    matrices
        As for `robot-wm engine build`: what TensorRT leaves matrix products; if not given, engines are built every way
        and the fastest is measured.
    tensorrt_python
        Python interpreter that has TensorRT, if this one has not; it needs numpy and pydantic, no torch.
    json
        Print the result as one JSON object; durations are in microseconds.
    """
    import platform

    from robot_wm.dreamer.config import SIZES
    from robot_wm.training.device import device_name, place
    from robot_wm_bench.agent import OBSERVATIONS

    gpu = device_name(place(device)) if device == "cuda" else None
    chosen = _parts(engine, "--engine", ENGINES)
    precisions = _parts(precision, "--precision", list(POLICY_OF))
    observed = _parts(obs, "--obs", OBSERVATIONS)
    cases = [(size, seen) for seen in observed for size in _parts(sizes, "--sizes", list(SIZES))]
    others = other_ticks or min(ticks, _OTHER_TICKS)
    per_case = sum(
        (ticks if name == "tensorrt" else others) * (len(precisions) if name in _OF_EVERY_PRECISION else 1)
        for name in chosen
    )
    rows: list[dict[str, Any]] = []
    with progress() as bar:
        task = bar.add_task("tick", total=len(cases) * per_case, note="")
        for size, seen in cases:

            def advance(count: int, what: str, case: str = f"{size} {seen}") -> None:
                bar.update(task, advance=count, note=f"{case}: {what}")

            rows += measure(
                size,
                seen,
                chosen,
                precisions,
                ticks,
                others,
                device=device,
                matrices=matrices,
                tensorrt_python=tensorrt_python,
                tell=advance,
            )
    emit(
        {
            "machine": platform.machine(),
            "gpu": gpu,
            "threads": 1,
            "ticks": ticks,
            "other_ticks": others,
            **ratios(rows),
            "rows": rows,
        },
        as_json=json,
        title="One tick, µs",
    )


def measure(
    size: str,
    obs: str,
    engines: Sequence[str],
    precisions: Sequence[str],
    ticks: int,
    other_ticks: int,
    *,
    device: str = "cpu",
    matrices: int | None = None,
    tensorrt_python: Path | None = None,
    tell: _Progress = lambda count, what: None,
) -> list[dict[str, Any]]:
    """Time ticks of a fresh agent: a row of plain values for each engine, precision and way to launch.

    ``ticks`` of TensorRT, ``other_ticks`` of each engine beside it.
    """
    import tempfile

    import torch

    from robot_wm.runtime.bundle import Bundle
    from robot_wm.runtime.manifest import MANIFEST, PARITY, POLICY_OP17
    from robot_wm_bench.agent import fresh_agent, random_rollout
    from robot_wm_bench.tensorrt import tensorrt_rows
    from robot_wm_export.export import export_agent

    tell(0, "exporting")
    agent, spec = fresh_agent(size, obs)
    rollout = random_rollout(agent, spec)
    rows: list[dict[str, Any]] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory(prefix="robot_wm_bench_") as folder:
            path = Path(folder) / "bench.rwm"
            export_agent(agent, spec, rollout, {}, path, profiles=(POLICY_OP17,))
            with Bundle.open(path) as bundle:
                graphs = _graphs(bundle, precisions, Path(folder))
                for precision, graph in graphs.items() if "tensorrt" in engines else ():
                    tell(0, f"tensorrt {precision}")
                    rows += tensorrt_rows(
                        graph,
                        {"manifest": path / MANIFEST, "recording": path / PARITY},
                        precision=precision,
                        ticks=ticks,
                        matrices=matrices,
                        python=tensorrt_python,
                    )
                    tell(ticks, f"tensorrt {precision}")
                with torch.inference_mode():
                    here = dict(_here(engines, bundle, graphs, agent, rollout, device))
                    rows += _in_turns(here, other_ticks, tell)
    finally:
        torch.set_num_threads(threads)
    return [{"size": size, "obs": obs, **row} for row in rows]


def ratios(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Medians of float32 engines over one another, by size (and observation): only what was measured."""
    both = len({row["obs"] for row in rows}) > 1
    p50: dict[tuple[str, str], float] = {}
    for row in rows:
        if row["precision"] == "fp32" and row.get("cuda_graph", True):
            p50[row["engine"], f"{row['size']} {row['obs']}" if both else row["size"]] = row["p50_us"]
    cases = dict.fromkeys(case for _, case in p50)
    found = {}
    for over, under in (("controller", "onnxruntime"), ("torch_eager", "controller"), ("torch_eager", "tensorrt")):
        found[f"{over}_over_{under}"] = {
            case: p50[over, case] / p50[under, case] for case in cases if (over, case) in p50 and (under, case) in p50
        }
    return {name: values for name, values in found.items() if values}


def _graphs(bundle: Bundle, precisions: Sequence[str], folder: Path) -> dict[str, Path]:
    """A file for each precision; those of low precision are not judged, since fresh weights mean nothing."""
    import onnx

    from robot_wm_export.fp16 import to_fp16
    from robot_wm_export.int8 import to_int8

    float32 = bundle.path / POLICY_OF["fp32"]
    graphs = {}
    for precision in precisions:
        graphs[precision] = float32
        if precision != "fp32":
            model = onnx.load(float32)
            made = (
                to_fp16(model)
                if precision == "fp16"
                else to_int8(model, bundle.recording().inputs, bundle.manifest.draws)
            )
            graphs[precision] = folder / f"{precision}.onnx"
            onnx.save(made, graphs[precision])
    return graphs


def _here(
    engines: Sequence[str],
    bundle: Bundle,
    graphs: Mapping[str, Path],
    agent: DreamerAgent,
    rollout: Rollout,
    device: str,
) -> Iterator[tuple[tuple[str, str, str], Tick]]:
    """What this interpreter runs: (engine, precision, device) and its tick."""
    from robot_wm_bench import ticks

    manifest = bundle.manifest
    for engine in engines:
        if engine == "onnxruntime":
            for precision, graph in graphs.items():
                yield (engine, precision, "cpu"), ticks.onnxruntime_tick(graph.read_bytes(), manifest, rollout)
        elif engine == "controller":
            yield (engine, "fp32", "cpu"), ticks.controller_tick(manifest.spec, bundle, rollout)
        elif engine != "tensorrt":
            compiled = engine == "torch_compile"
            yield (engine, "fp32", device), ticks.torch_tick(agent, rollout, device, compiled=compiled)


def _in_turns(here: Mapping[tuple[str, str, str], Tick], ticks: int, tell: _Progress) -> list[dict[str, Any]]:
    from robot_wm.runtime.latency import LatencyRing

    rings = {key: LatencyRing(ticks) for key in here}
    for (engine, _, _), tick in here.items():
        tell(0, f"{engine}: warming up")
        for number in range(_WARM_UP_TICKS):
            tick(number)
    for start in range(0, ticks, _BLOCK_TICKS):
        for key, tick in here.items():
            block = range(start, min(start + _BLOCK_TICKS, ticks))
            for number in block:
                rings[key].add(tick(_WARM_UP_TICKS + number) * 1e-3)
            tell(len(block), key[0])
    rows = []
    for (engine, precision, device), ring in rings.items():
        figures = ring.summary().as_dict()
        row = {"engine": engine, "precision": precision, "device": device}
        rows.append(row | {name: figures[name] for name in ("p50_us", "p99_us", "p999_us", "max_us")})
    return rows


def _parts(text: str, option: str, known: Sequence[str]) -> list[str]:
    parts = list(dict.fromkeys(part.strip() for part in text.split(",")))
    for part in parts:
        if part not in known:
            raise UserError(f"{option}: {part!r} is none of {', '.join(known)}")
    return parts
