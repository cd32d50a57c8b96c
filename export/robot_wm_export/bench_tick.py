"""`robot-wm bench tick`: how long one tick takes in torch, in bare ONNX Runtime and in the runtime's controller.

Every engine computes the same agent with fresh weights, on one thread, recurrent state carried from tick to tick.
They take turns in short blocks within one run, so that whatever else the machine does falls on all of them.
Timed are: torch, ``DreamerAgent.tick`` in inference mode; ONNX Runtime, ``InferenceSession.run`` alone; the
controller, the whole of ``Controller.step``: checks, scaling, history, graph, safety limits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from robot_wm.console import emit, progress
from robot_wm.errors import UserError
from robot_wm.spec import ActionSpec, AgentSpec, FirmwareProfile, JointLimits, ObservationField

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from robot_wm.dreamer.agent import DreamerAgent
    from robot_wm.runtime.bundle import Bundle
    from robot_wm.runtime.latency import LatencyRing
    from robot_wm_export.rollout import Rollout

ENGINES = ("torch_eager", "onnxruntime", "controller")
_OBSERVATION, _ACTIONS, _PIXELS = 48, 12, 64  # the agent of DESIGN's table of sizes
_BLOCK_TICKS = 50
_WARM_UP_TICKS = 50
_FRAMES = 256
_Tick = Callable[[int], int]  # number of the tick -> ns


def bench_tick(
    *,
    sizes: str = "1m,12m",
    obs: Literal["proprio", "image"] = "proprio",
    ticks: Annotated[int, Parameter(validator=Number(gt=0))] = 2000,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Measure one tick of the policy on one CPU thread: torch eager, bare ONNX Runtime, the controller.

    Parameters
    ----------
    sizes
        Model sizes, separated by commas: nano, 1m, 12m, 25m, 50m, 100m, 200m.
    obs
        What the agent sees: 48 numbers, or one image of 64x64x3 pixels; 12 actions.
    ticks
        Timed ticks of each engine and size.
    json
        Print the result as one JSON object; durations are in microseconds.
    """
    import platform

    from robot_wm.dreamer.config import SIZES

    chosen = [size.strip() for size in sizes.split(",")]
    for size in chosen:
        if size not in SIZES:
            raise UserError(f"--sizes: unknown size {size!r}; known sizes: {', '.join(SIZES)}")
    rows: list[dict[str, Any]] = []
    with progress() as bar:
        task = bar.add_task("tick", total=len(chosen) * len(ENGINES) * ticks, note="")
        for size in chosen:
            bar.update(task, note=f"{size}: exporting")

            def advance(count: int, size: str = size) -> None:
                bar.update(task, advance=count, note=size)

            rings = measure(size, obs, ticks, advance)
            for engine, ring in rings.items():
                figures = ring.summary()
                rows.append(
                    {
                        "engine": engine,
                        "size": size,
                        "obs": obs,
                        "p50_us": figures.p50_us,
                        "p99_us": figures.p99_us,
                        "p999_us": figures.p999_us,
                        "max_us": figures.max_us,
                    }
                )
    p50 = {(row["engine"], row["size"]): row["p50_us"] for row in rows}
    emit(
        {
            "machine": platform.machine(),
            "threads": 1,
            "ticks": ticks,
            "controller_over_onnxruntime": {s: p50["controller", s] / p50["onnxruntime", s] for s in chosen},
            "torch_eager_over_controller": {s: p50["torch_eager", s] / p50["controller", s] for s in chosen},
            "rows": rows,
        },
        as_json=json,
        title="One tick, µs",
    )


def measure(size: str, obs: str, ticks: int, on_block: Callable[[int], None]) -> dict[str, LatencyRing]:
    """Durations of ``ticks`` ticks by engine, in turns; ``on_block`` hears the ticks of each block."""
    import tempfile

    import torch

    from robot_wm.dreamer.agent import DreamerAgent
    from robot_wm.dreamer.config import DreamerConfig
    from robot_wm.runtime.bundle import Bundle
    from robot_wm.runtime.latency import LatencyRing
    from robot_wm.runtime.manifest import POLICY_OP17
    from robot_wm_export.export import export_agent

    spec = _spec(obs)
    config = DreamerConfig.model_validate({"size": size})
    generator = torch.Generator().manual_seed(0)
    agent = DreamerAgent(config, spec.model_inputs(), spec.action_dim, False, generator=generator).eval()
    rollout = _random_rollout(agent, spec)
    rings = {engine: LatencyRing(ticks) for engine in ENGINES}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory(prefix="robot_wm_bench_") as folder:
            out = Path(folder) / "bench.rwm"
            export_agent(agent, spec, rollout, {}, out, profiles=(POLICY_OP17,))
            with Bundle.open(out) as bundle, torch.inference_mode():
                engines = dict(zip(ENGINES, _engines(agent, spec, bundle, rollout), strict=True))
                for tick in engines.values():
                    for number in range(_WARM_UP_TICKS):
                        tick(number)
                for start in range(0, ticks, _BLOCK_TICKS):
                    for engine, tick in engines.items():
                        block = range(start, min(start + _BLOCK_TICKS, ticks))
                        for number in block:
                            rings[engine].add(tick(_WARM_UP_TICKS + number) * 1e-3)
                        on_block(len(block))
    finally:
        torch.set_num_threads(threads)
    return rings


def _engines(agent: DreamerAgent, spec: AgentSpec, bundle: Bundle, rollout: Rollout) -> Iterator[_Tick]:
    yield _torch_tick(agent, rollout)
    yield _onnxruntime_tick(bundle, rollout)
    yield _controller_tick(spec, bundle, rollout)


def _torch_tick(agent: DreamerAgent, rollout: Rollout) -> _Tick:
    import torch

    frames = [
        {name: torch.from_numpy(values[frame]) for name, values in rollout.observations.items()}
        for frame in range(_FRAMES)
    ]
    is_first, latent = torch.zeros(1), torch.zeros(1, agent.config.stoch, agent.config.classes)
    action = torch.zeros(1, agent.action_dim)
    state = agent.initial(1)

    def tick(number: int) -> int:
        nonlocal state
        frame = frames[number % _FRAMES]
        begin_ns = perf_counter_ns()
        state = agent.tick(frame, is_first, state, latent, action).state
        return perf_counter_ns() - begin_ns

    return tick


def _onnxruntime_tick(bundle: Bundle, rollout: Rollout) -> _Tick:
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(bundle.read(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    back = [(state.input, names.index(state.output)) for state in bundle.manifest.state]
    feed: dict[str, NDArray[Any]] = {t.name: np.zeros(t.shape, dtype=t.dtype) for t in bundle.manifest.inputs()}

    def tick(number: int) -> int:
        for name, values in rollout.observations.items():
            feed[f"obs/{name}"] = values[number % _FRAMES]
        begin_ns = perf_counter_ns()
        made = session.run(None, feed)
        end_ns = perf_counter_ns()
        for name, index in back:
            feed[name] = made[index]
        return end_ns - begin_ns

    return tick


def _controller_tick(spec: AgentSpec, bundle: Bundle, rollout: Rollout) -> _Tick:
    from robot_wm.runtime.controller import Controller

    controller = Controller(bundle)
    controller.activate()
    controller.enable()
    # One frame of raw values: the agent of this benchmark takes them unscaled and without history.
    frames = [{name: values[frame, 0] for name, values in rollout.observations.items()} for frame in range(_FRAMES)]

    def tick(number: int) -> int:
        frame = frames[number % _FRAMES]
        begin_ns = perf_counter_ns()
        command = controller.step(frame, number * spec.control_period_s)
        end_ns = perf_counter_ns()
        if command.faults:  # a controller that refuses to drive does not ask the graph: nothing to measure
            raise RuntimeError(f"the controller stopped: {command.detail}")
        return end_ns - begin_ns

    return tick


def _spec(obs: str) -> AgentSpec:
    field = (
        ObservationField(name="image", shape=(_PIXELS, _PIXELS, 3), dtype="uint8", unit="1")
        if obs == "image"
        else ObservationField(name="proprio", shape=(_OBSERVATION,), unit="1", clip=100.0)
    )
    limits = JointLimits(position=(-2.0, 2.0), velocity=20.0, effort=30.0, rate=50.0)
    return AgentSpec(
        task="bench_tick",
        robot="bench",
        control_rate_hz=50.0,
        physics_rate_hz=500.0,
        observations=(field,),
        action=ActionSpec(
            mode="position",
            joints=tuple(f"joint_{index}" for index in range(_ACTIONS)),
            unit="rad",
            scale=(0.25,),
            clip=4.0,
            limits=(limits,) * _ACTIONS,
        ),
        firmware=FirmwareProfile(name="bench"),
    )


def _random_rollout(agent: DreamerAgent, spec: AgentSpec) -> Rollout:
    import numpy as np

    from robot_wm_export.rollout import Rollout

    rng = np.random.default_rng(0)

    def draw(shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, Any]:
        shape = (_FRAMES, 1, *shape)
        if dtype == "uint8":
            return rng.integers(0, 256, shape, dtype=np.uint8)
        return rng.standard_normal(shape).astype(np.float32)

    is_first = np.zeros((_FRAMES, 1), dtype=np.float32)
    is_first[:: _FRAMES // 4] = 1.0
    return Rollout(
        observations={name: draw(field.shape, field.dtype) for name, field in spec.model_inputs().items()},
        is_first=is_first,
        noise_latent=np.zeros((_FRAMES, 1, agent.config.stoch, agent.config.classes), dtype=np.float32),
        noise_action=np.zeros((_FRAMES, 1, agent.action_dim), dtype=np.float32),
    )
