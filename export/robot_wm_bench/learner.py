"""``robot-wm bench learner``: how long one update takes, and one step of the actor that explores for it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import cyclopts
from cyclopts import Parameter

from robot_wm.agents import DEFAULT, agent_kind
from robot_wm.console import emit, progress
from robot_wm.errors import UserError
from robot_wm.learning.config import AgentConfig
from robot_wm_bench.settings import agent_settings

if TYPE_CHECKING:
    import torch

    from robot_wm.learning.learner import Learner, UpdateResult
    from robot_wm.spec import AgentSpec
    from robot_wm_bench.matmul_floor import MatmulFloor

Positive = cyclopts.validators.Number(gt=0)
_WARM_UP = 3  # updates before the timed ones: allocators and kernel choices settle
_OPTIONS = ("batch_size", "batch_length", "horizon", "num_simulations", "reanalyse")  # of one kind of agent or another


def bench_learner(
    *,
    agent: str = DEFAULT,
    size: str | None = None,
    obs: Literal["proprio", "image"] = "proprio",
    device: str = "cpu",
    updates: Annotated[int, Parameter(validator=Positive)] = 30,
    batch_size: Annotated[int | None, Parameter(validator=Positive)] = None,
    batch_length: Annotated[int | None, Parameter(validator=cyclopts.validators.Number(gte=2))] = None,
    horizon: Annotated[int | None, Parameter(validator=Positive)] = None,
    num_simulations: Annotated[int | None, Parameter(validator=Positive)] = None,
    reanalyse: Annotated[float | None, Parameter(validator=cyclopts.validators.Number(gte=0, lte=1))] = None,
    envs: Annotated[int, Parameter(validator=Positive)] = 8,
    threads: Annotated[int | None, Parameter(validator=Positive)] = None,
    compiled: Annotated[bool, Parameter(negative="")] = False,
    matmul_only: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Time full updates on random sequences, 12 continuous actions and a 48-d vector or a 64x64x3 image, and the actor.

    Each update is timed by itself, from a batch already on the device to the moment the device is idle again; each
    step of the actor from raw observations to commands, simulators left out. Beside the times: updates a second,
    steps that all environments together would play a second, and, where the agent searches states anew in its updates,
    how many a second.

    Parameters
    ----------
    agent
        Kind of agent: dreamer or muzero.
    size
        Model size [default: the agent's own, 12m for dreamer and 1m for muzero].
    obs
        Observation: proprio (48 numbers) or image (64x64 pixels, 3 channels).
    device
        Torch device, such as cpu, cuda or cuda:1.
    updates
        Timed updates, and as many steps of the actor, after 3 that are not.
    batch_size
        Sequences an update [default: the agent's own, as the options that follow].
    batch_length
        Trained steps a sequence, control steps.
    horizon
        Imagined steps of dreamer, control steps.
    num_simulations
        Simulations of a search of muzero.
    reanalyse
        Share of muzero's batch whose states are searched again.
    envs
        Environments that the actor acts in together.
    threads
        CPU threads; torch's own choice if not given.
    compiled
        On a CPU: compile the update, as on a GPU it always is; the first step takes minutes then.
    matmul_only
        On a CPU: after each update time its matrix products alone, and give the ratio of the two medians.
    json
        Print one JSON object; times in ms and s, memory in MiB (of the GPU's tensors, or of the process on a CPU).
    """
    import torch

    from robot_wm.training.device import place

    where = place(device)
    if matmul_only and where.type != "cpu":
        raise UserError(f"--matmul-only: measured on a cpu only, not on {device}")
    settings = agent_settings(
        agent, size=size, batch_size=batch_size, batch_length=batch_length, horizon=horizon,
        num_simulations=num_simulations, reanalyse=reanalyse,
    )  # fmt: skip
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        result = _measure(agent, settings, obs, where, updates, envs, compiled, matmul_only)
        emit(result, as_json=json, title=f"One update of {agent}")
    finally:
        torch.set_num_threads(before)


def _measure(
    name: str,
    settings: AgentConfig,
    obs: str,
    device: torch.device,
    updates: int,
    envs: int,
    compiled: bool,
    matmul_only: bool,
) -> dict[str, Any]:
    import torch

    from robot_wm.training.device import device_name
    from robot_wm_bench.agent import bench_spec
    from robot_wm_bench.matmul_floor import MatmulFloor, record_products
    from robot_wm_bench.random_sequences import random_batch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    spec, kind = bench_spec(obs), agent_kind(name)
    start = time.perf_counter()
    torch.manual_seed(0)
    learner = kind.make_learner(kind.make_agent(settings, spec), settings, device, 0)
    learner.compiles = compiled
    batch = random_batch(learner, settings, spec)
    first = learner.update(batch)
    _wait(device)
    first_step_s = time.perf_counter() - start
    reanalysed = _reanalysed(settings, first)
    floor = MatmulFloor(record_products(lambda: learner.update(batch))) if matmul_only else None
    act = _actor(learner, spec, envs)
    update_ms, floor_ms, act_ms = [], [], []
    with progress() as bar:
        task = bar.add_task("bench learner", total=_WARM_UP + updates, note="")
        for _ in range(_WARM_UP + updates):
            update_ms.append(timed_ms(lambda: learner.update(batch), device))
            act_ms.append(timed_ms(act, device))
            if floor is not None:
                floor_ms.append(timed_ms(floor.run, device))
            bar.advance(task)
    times_ms = sorted(update_ms[_WARM_UP:])
    median_ms, acting_ms = statistics.median(times_ms), statistics.median(act_ms[_WARM_UP:])
    return {
        "params": learner.agent.parameter_count(),
        "median_ms": round(median_ms, 3),
        "p10_ms": round(times_ms[round(0.1 * (updates - 1))], 3),
        "p90_ms": round(times_ms[round(0.9 * (updates - 1))], 3),
        "updates_per_s": round(1e3 / median_ms, 3),
        **({} if reanalysed is None else {"reanalysed_states_per_s": round(1e3 * reanalysed / median_ms, 1)}),
        "acting_ms": round(acting_ms, 3),
        "self_play_steps_per_s": round(1e3 * envs / acting_ms, 1),
        **_matmul_only(floor, floor_ms[_WARM_UP:], median_ms),
        "first_step_s": round(first_step_s, 3),
        "peak_mib": round(_peak_mib(device), 1),
        "device": device_name(device),
        "agent": name,
        "size": settings.size,
        "obs": obs,
        **{option: getattr(settings, option) for option in _OPTIONS if hasattr(settings, option)},
        "envs": envs,
        "compiled": compiled or device.type == "cuda",
        "updates": updates,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def _actor(learner: Learner, spec: AgentSpec, envs: int) -> Callable[[], object]:
    """A step in ``envs`` environments by the actor that explores, on the learner's device."""
    import numpy as np

    from robot_wm.training.actor import Actor

    rng = np.random.default_rng(2)
    actor = Actor(learner.agent, spec, envs=envs, seed=0)
    obs = {
        field.name: rng.integers(0, 256, (envs, *field.shape), dtype=np.uint8)
        if field.dtype == "uint8"
        else rng.standard_normal((envs, *field.shape), dtype=np.float32)
        for field in spec.observations
    }
    never = np.zeros(envs, dtype=np.bool_)
    return lambda: actor.act(obs, never)


def _reanalysed(settings: AgentConfig, result: UpdateResult) -> int | None:
    """States that an update searches again; None of an agent that searches none."""
    if not hasattr(settings, "reanalyse"):
        return None
    return max((value.shape[0] * value.shape[1] for value in result.write_back.values()), default=0)


def timed_ms(run: Callable[[], object], device: torch.device) -> float:
    """How long ``run`` takes until the device has done all of it, ms."""
    start = time.perf_counter()
    run()
    _wait(device)
    return 1e3 * (time.perf_counter() - start)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


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
