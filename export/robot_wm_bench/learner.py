"""``robot-wm bench learner``: how long one update takes."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

import cyclopts
from cyclopts import Parameter

from robot_wm.console import emit, progress
from robot_wm.dreamer.config import DreamerConfig, Size
from robot_wm.errors import UserError
from robot_wm.spec import InputShape

if TYPE_CHECKING:
    import torch

    from robot_wm.dreamer.learner import DreamerLearner
    from robot_wm.learning.batch import TensorBatch
    from robot_wm_bench.matmul_floor import MatmulFloor

Positive = cyclopts.validators.Number(gt=0)
ACTION_DIM = 12
INPUTS = {
    "proprio": {"state": InputShape(shape=(48,), dtype="float32")},
    "image": {"camera": InputShape(shape=(64, 64, 3), dtype="uint8")},
}
_WARM_UP = 3  # updates before the timed ones: allocators and kernel choices settle


def bench_learner(
    *,
    size: Size = "12m",
    obs: Literal["proprio", "image"] = "proprio",
    device: str = "cpu",
    updates: Annotated[int, Parameter(validator=Positive)] = 30,
    batch_size: Annotated[int, Parameter(validator=Positive)] = 16,
    batch_length: Annotated[int, Parameter(validator=cyclopts.validators.Number(gte=2))] = 64,
    horizon: Annotated[int, Parameter(validator=Positive)] = 15,
    threads: Annotated[int | None, Parameter(validator=Positive)] = None,
    matmul_only: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Time full Dreamer updates on random sequences: 12 continuous actions, a 48-d vector or a 64x64x3 image.

    Each update is timed by itself, from a batch already on the device to the moment the device is idle again.

    Parameters
    ----------
    size
        Model size.
    obs
        Observation: proprio (48 numbers) or image (64x64 pixels, 3 channels).
    device
        Torch device, such as cpu, cuda or cuda:1.
    updates
        Timed updates, after 3 that are not.
    batch_size
        Sequences an update.
    batch_length
        Trained steps a sequence, control steps.
    horizon
        Imagined steps, control steps.
    threads
        CPU threads; torch's own choice if not given.
    matmul_only
        On a CPU: after each update time its matrix products alone, and give the ratio of the two medians.
    json
        Print one JSON object; times in ms and s, memory in MiB (of the GPU's tensors, or of the process on a CPU).
    """
    import torch

    place = _device(device)
    if matmul_only and place.type != "cpu":
        raise UserError(f"--matmul-only: measured on a cpu only, not on {device}")
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        config = DreamerConfig(size=size, batch_size=batch_size, batch_length=batch_length, horizon=horizon)
        emit(_measure(config, obs, place, updates, matmul_only), as_json=json, title="One Dreamer update")
    finally:
        torch.set_num_threads(before)


def _device(name: str) -> torch.device:
    import torch

    try:
        place = torch.device(name)
        torch.zeros(1, device=place)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"--device {name}: not usable here: {str(error).splitlines()[0]}") from None
    if place.type not in ("cpu", "cuda"):
        raise UserError(f"--device {name}: the learner runs on cpu or cuda")
    return place


def _measure(config: DreamerConfig, obs: str, device: torch.device, updates: int, matmul_only: bool) -> dict[str, Any]:
    import torch

    from robot_wm.dreamer.agent import DreamerAgent
    from robot_wm.dreamer.learner import DreamerLearner
    from robot_wm_bench.matmul_floor import MatmulFloor, record_products

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    start = time.perf_counter()
    agent = DreamerAgent(config, INPUTS[obs], ACTION_DIM, False, generator=torch.Generator().manual_seed(0))
    learner = DreamerLearner(agent, config, device)
    batch = _batch(learner)
    _update_ms(learner, batch)
    first_step_s = time.perf_counter() - start
    floor = MatmulFloor(record_products(lambda: learner.update(batch))) if matmul_only else None
    times_ms, floor_ms = [], []
    with progress() as bar:
        task = bar.add_task("bench learner", total=_WARM_UP + updates, note="")
        for _ in range(_WARM_UP + updates):
            times_ms.append(_update_ms(learner, batch))
            if floor is not None:
                floor_ms.append(_floor_ms(floor))
            bar.advance(task)
    times_ms = sorted(times_ms[_WARM_UP:])
    return {
        "params": agent.parameter_count(),
        "median_ms": round(statistics.median(times_ms), 3),
        "p10_ms": round(times_ms[round(0.1 * (updates - 1))], 3),
        "p90_ms": round(times_ms[round(0.9 * (updates - 1))], 3),
        **_matmul_only(floor, floor_ms[_WARM_UP:], statistics.median(times_ms)),
        "first_step_s": round(first_step_s, 3),
        "peak_mib": round(_peak_mib(device), 1),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "size": config.size,
        "obs": obs,
        "batch_size": config.batch_size,
        "batch_length": config.batch_length,
        "horizon": config.horizon,
        "updates": updates,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def _batch(learner: DreamerLearner) -> TensorBatch:
    """Random sequences that start with a reset, on the learner's device."""
    import torch

    from robot_wm.learning.batch import TensorBatch

    config, inputs = learner.config, learner.agent.inputs
    generator = torch.Generator().manual_seed(1)
    steps = (config.batch_size, config.batch_length + 1)
    obs = {name: torch.randn((*steps, width), generator=generator) for name, width in inputs.vectors.items()}
    for name, shape in inputs.images.items():
        obs[name] = torch.randint(0, 256, (*steps, *shape), generator=generator, dtype=torch.uint8)
    never = torch.zeros(steps, dtype=torch.bool)
    first = never.clone()
    first[:, 1] = True
    place = learner.device
    return TensorBatch(
        obs={name: value.to(place) for name, value in obs.items()},
        action=torch.rand((*steps, ACTION_DIM), generator=generator).mul_(2).sub_(1).to(place),
        reward=torch.rand(steps, generator=generator).to(place),
        reward_known=~never.to(place),
        is_first=first.to(place),
        is_last=never.to(place),
        is_terminal=never.to(place),
        stored={
            "deter": torch.zeros((config.batch_size, config.deter), device=place),
            "stoch": torch.zeros((config.batch_size, config.stoch), dtype=torch.uint8, device=place),
        },
    )


def _update_ms(learner: DreamerLearner, batch: TensorBatch) -> float:
    import torch

    start = time.perf_counter()
    learner.update(batch)
    if learner.device.type == "cuda":
        torch.cuda.synchronize(learner.device)
    return 1e3 * (time.perf_counter() - start)


def _floor_ms(floor: MatmulFloor) -> float:
    start = time.perf_counter()
    floor.run()
    return 1e3 * (time.perf_counter() - start)


def _matmul_only(floor: MatmulFloor | None, times_ms: list[float], update_ms: float) -> dict[str, Any]:
    if floor is None:
        return {}
    median_ms = statistics.median(times_ms)
    return {
        "matmul_only_ms": round(median_ms, 3),
        "ratio": round(update_ms / median_ms, 3),
        "products": len(floor.products),
        "gflop": round(1e-9 * sum(product.flops for product in floor.products), 3),
    }


def _peak_mib(device: torch.device) -> float:
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device) / 2**20
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10  # Linux counts KiB
