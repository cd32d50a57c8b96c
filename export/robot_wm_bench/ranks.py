"""``robot-wm bench ranks``: what an update costs where several ranks share it, and whether it is the same update."""

from __future__ import annotations

import os
import statistics
import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

import cyclopts
from cyclopts import Parameter

from robot_wm.console import emit, messages
from robot_wm.dreamer.config import DreamerConfig, Size
from robot_wm.errors import UserError
from robot_wm.options import NotNegative, Positive

if TYPE_CHECKING:
    import torch

    from robot_wm.dreamer.learner import DreamerLearner
    from robot_wm.learning.batch import TensorBatch
    from robot_wm.learning.ranks import Ranks
    from robot_wm.spec import AgentSpec

Collectives = Literal["captured", "between"]
_WARM_UP = 3  # updates before the timed ones


def bench_ranks(
    *,
    size: tuple[Size, ...] = ("12m",),
    obs: tuple[Literal["proprio", "image"], ...] = ("proprio",),
    batch_size: tuple[int, ...] = (16,),
    batch_length: Annotated[int, Parameter(validator=cyclopts.validators.Number(gte=2))] = 64,
    horizon: Annotated[int, Positive] = 15,
    compute: Literal["auto", "float32", "bfloat16"] = "auto",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    collectives: tuple[Collectives, ...] = ("captured", "between"),
    updates: Annotated[int, Positive] = 30,
    equality_updates: Annotated[int, NotNegative] = 20,
    time_limit_s: Annotated[float, Positive] = 220.0,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Time Dreamer updates of several ranks against those of one: torchrun --nproc-per-node N -m robot_wm bench ranks.

    Every rank has a batch of its own, so that the work grows with the ranks (weak scaling). At first each updates by
    itself, all at once; then together, with the exchange of gradients beside the backward pass and after it. Options
    of which there can be several are given once each: --size 12m --size 50m. Under a minute goes into compiling for
    every size and batch on a GPU; what does not fit the time limit is left out and named.

    Parameters
    ----------
    size
        Model sizes.
    obs
        Observations: proprio (48 numbers), image (64x64 pixels, 3 channels).
    batch_size
        Sequences an update, on each rank.
    batch_length
        Trained steps a sequence, control steps.
    horizon
        Imagined steps, control steps.
    compute
        Precision of the products; auto: bfloat16 on CUDA, else float32.
    device
        Where to learn; auto takes CUDA if there is any.
    collectives
        On GPUs: exchanges captured in the update's graph, or between two graphs; both are measured if not given.
    updates
        Timed updates of each kind, after 3 that are not.
    equality_updates
        Updates by all ranks that are compared with one rank's on the whole batch, for the first case; 0 for none.
    time_limit_s
        Begin no further case after so long, or where it would last longer, s.
    json
        Print one JSON object; times are medians of the slowest rank in ms.
    """
    from robot_wm.learning.process_group import process_group
    from robot_wm.training.device import place
    from robot_wm_bench.agent import bench_spec
    from robot_wm_bench.ranks_equality import equality

    if any(count < 1 for count in batch_size):
        raise UserError(f"--batch-size {min(batch_size)}: must be positive")
    begun, where = time.monotonic(), place(device)
    with process_group(where) as ranks:
        rows: list[dict[str, Any]] = []
        skipped: list[str] = []
        same: dict[str, Any] = {}
        longest_s = 0.0
        for width, seen, count in [(w, s, c) for w in size for s in obs for c in batch_size]:
            left_s = ranks.told(lambda: time_limit_s - (time.monotonic() - begun))
            if rows and left_s < longest_s:
                skipped.append(f"{width} {seen} {count}")
                continue
            case_begun = time.monotonic()
            config = DreamerConfig(
                size=width, batch_size=count, batch_length=batch_length, horizon=horizon, compute=compute
            )
            spec = bench_spec(seen)
            learner = _learner(config, spec, where)
            ways = collectives if where.type == "cuda" else ("captured",)
            rows.append({"size": width, "obs": seen, "batch_size": count} | _case(learner, spec, ranks, ways, updates))
            longest_s = max(longest_s, float(ranks.rows([time.monotonic() - case_begun]).max()))
            _tell(ranks, f"{width} {seen} {count}: {rows[-1]}")
            if equality_updates and not same:
                same = {"case": f"{width} {seen} {count}"} | equality(learner, spec, ranks, equality_updates)
        if not ranks.rank:
            result = {"ranks": ranks.size, **_machine(where), "equality": same, "skipped": skipped, "rows": rows}
            emit(result, as_json=json, title="Updates of several ranks")


def _learner(config: DreamerConfig, spec: AgentSpec, device: torch.device) -> DreamerLearner:
    import torch

    from robot_wm.dreamer.agent import DreamerAgent
    from robot_wm.dreamer.learner import DreamerLearner

    generator = torch.Generator().manual_seed(0)
    agent = DreamerAgent(config, spec.model_inputs(), spec.action_dim, False, generator=generator)
    return DreamerLearner(agent, config, device)


def _case(
    learner: DreamerLearner, spec: AgentSpec, ranks: Ranks, ways: tuple[Collectives, ...], updates: int
) -> dict[str, Any]:
    """One size and batch: milliseconds, shares and what is exchanged. On a CPU nothing is captured."""
    from robot_wm.learning.process_group import ProcessGroup
    from robot_wm.learning.ranks import RankLostError
    from robot_wm_bench.random_sequences import random_batch

    batch = random_batch(learner, learner.config, spec, seed=ranks.rank)
    start = time.perf_counter()
    learner.update(batch)
    first_s = time.perf_counter() - start
    alone_ms = _median_ms(learner, batch, ranks, updates)
    _tell(ranks, f"alone {alone_ms:.2f} ms, first update {first_s:.1f} s")
    found, together, failed = {"alone_ms": alone_ms}, {}, {}
    if isinstance(ranks, ProcessGroup):
        before = ranks.captured, ranks.overlap
        for way in ways:
            for overlap in (True, False):
                ranks.captured, ranks.overlap = way == "captured", overlap
                learner.join(ranks)
                name = f"{way}_{'overlap' if overlap else 'after'}"
                try:
                    together[f"{name}_ms"] = _median_ms(learner, batch, ranks, updates)
                    _tell(ranks, f"{name} {together[f'{name}_ms']:.2f} ms")
                except RankLostError:
                    raise
                except RuntimeError as error:  # of a capture, which is every rank's
                    failed[f"{name}_error"] = str(error).splitlines()[0]
        ranks.captured, ranks.overlap = before
        if not together:
            raise UserError(f"no way of exchanging gradients works here: {failed}")
        best_ms = min(together.values())
        found |= together | {"weak_scaling": alone_ms / best_ms, "collective_share": 1.0 - alone_ms / best_ms}
        found |= _exchange(learner, ranks, updates)
    return (
        failed
        | {name: round(value, 4) for name, value in found.items()}
        | {
            "params": learner.agent.parameter_count(),
            "first_update_s": round(first_s, 1),
        }
    )


def _tell(ranks: Ranks, line: str) -> None:
    """Say on stderr how far it is: who waits for a GPU wants to know for what."""
    if not ranks.rank:
        messages().print(line)


def _median_ms(learner: DreamerLearner, batch: TensorBatch, ranks: Ranks, updates: int) -> float:
    """Of the slowest rank; all begin together."""
    from robot_wm_bench.learner import timed_ms

    def update_ms() -> float:
        return timed_ms(lambda: learner.update(batch), learner.device)

    for _ in range(_WARM_UP):
        update_ms()
    ranks.wait()
    own = statistics.median([update_ms() for _ in range(updates)])
    return float(ranks.rows([own]).max())


def _exchange(learner: DreamerLearner, ranks: Ranks, updates: int) -> dict[str, float]:
    """The exchanges of an update by themselves, with nothing beside them."""
    import torch

    gradients = [torch.zeros_like(tensor) for tensor in learner.optimiser.parameters.tensors]
    config = learner.config
    returns = torch.zeros((config.horizon, config.batch_size * config.batch_length), device=learner.device)
    times_ms = []
    for _ in range(_WARM_UP + updates):
        ranks.wait()
        start = time.perf_counter()
        ranks.gather(returns)
        ranks.mean(gradients)()
        if learner.device.type == "cuda":
            torch.cuda.synchronize(learner.device)
        times_ms.append(1e3 * (time.perf_counter() - start))
    own = statistics.median(times_ms[_WARM_UP:])
    megabytes = 4e-6 * sum(tensor.numel() for tensor in gradients)
    return {"exchange_alone_ms": float(ranks.rows([own]).max()), "gradients_mb": megabytes}


def _machine(device: torch.device) -> dict[str, Any]:
    import torch

    found: dict[str, Any] = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    if device.type != "cuda":
        return {"device": "cpu", "backend": "gloo", **found}
    nccl = ".".join(map(str, torch.cuda.nccl.version()))
    multicast = os.environ.get("NCCL_NVLS_ENABLE", "unset")
    name = torch.cuda.get_device_name(device)
    return {"device": name, "backend": "nccl", "nccl": nccl, "NCCL_NVLS_ENABLE": multicast, **found}
