"""``robot-wm bench scale``: what more collectors bring here, and where the wall is with more hosts."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter

from robot_wm.console import emit, messages, progress
from robot_wm.errors import UserError
from robot_wm.options import NotNegative, Positive
from robot_wm.training.config import TrainConfig
from robot_wm_bench.scale.law import Parts, Site, estimate
from robot_wm_bench.settings import agent_settings

_ENDLESS = 10**12  # policy steps: the clock ends the run
# What to turn where a run is as fast as this lets it be.
KNOBS = {
    "collectors": "more hosts or collectors (--collectors), or --envs where acting takes more than simulating",
    "weights": "a smaller --size or a faster network: collectors wait for weights longer than they work",
    "replay": "more ranks, each of which takes its own collectors' steps; larger --envs, --episodes-per-commit",
    "learner": "more ranks (torchrun --nproc-per-node), a lower --train-ratio, a smaller --size",
    "network": "a faster network, or more learner's hosts: steps fill the one there is",
    "cores": "another host: collectors and learner take each other's cores",
}


def bench_scale(
    *,
    task: str = "cartpole_balance",
    size: str = "nano",
    batch_size: Annotated[int, Positive] = 4,
    batch_length: Annotated[int, Parameter(validator=cyclopts.validators.Number(gte=2))] = 8,
    envs: Annotated[int, Positive] = 8,
    train_ratio: Annotated[float, Positive] = 0.25,
    collectors: tuple[int, ...] = (1, 2, 4, 8, 16),
    seconds: Annotated[float, Positive] = 10.0,
    parts_seconds: Annotated[float, Positive] = 20.0,
    cores: Annotated[float, Positive] | None = None,
    cluster_task: str = "a1_velocity",
    cluster_size: str = "12m",
    cluster_envs: Annotated[int, Positive] = 16,
    cluster_train_ratio: tuple[float, ...] = (32.0, 1.0),
    hosts: tuple[int, ...] = (1, 8, 64, 1000),
    cores_per_host: Annotated[int, Positive] = 32,
    ranks: tuple[int, ...] = (1, 8),
    update_ms: Annotated[float, Positive] = 9.15,
    weak_scaling: Annotated[float, Positive] = 0.97,
    bandwidth_gbit_s: Annotated[float, Positive] = 10.0,
    latency_ms: Annotated[float, NotNegative] = 0.1,
    plot: Path | None = None,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Run with 1 to 16 collectors here, beside what is calculated from the parts of the run; then calculate for hosts.

    Parts (simulating, acting, the wire, replay, update, weights) are measured one by one, in processor time. The least
    of the bounds that operational laws give from them is the estimate, and names the wall. Beside it stands what the
    run did, and the estimate for as many cores as the run got on a machine that others use, too.

    Parameters
    ----------
    task
        Task of the runs here, see `robot-wm tasks`.
    size
        Model size of the runs here.
    batch_size
        Sequences an update of the runs here.
    batch_length
        Trained steps a sequence, control steps.
    envs
        Environments of a collector.
    train_ratio
        Replayed steps per policy step of the runs here.
    collectors
        Collectors to run with; none to calculate only.
    seconds
        How long to measure each run, s, once all collectors are there; longer where it takes that for 20 updates.
    parts_seconds
        How long to measure the parts of a run, s.
    cores
        Cores that all share here [default: this machine's].
    cluster_task
        Task of the runs that are calculated.
    cluster_size
        Model size of those.
    cluster_envs
        Environments of a collector of those.
    cluster_train_ratio
        Replayed steps per policy step of those.
    hosts
        Hosts that collect, each with a collector for each of its cores.
    cores_per_host
        Cores of each host.
    ranks
        Ranks of the learner, each with a GPU, collectors and a replay of its own.
    update_ms
        What an update of the cluster's size takes on one GPU, ms (`robot-wm bench learner --device cuda`).
    weak_scaling
        What a rank of several does of what one does alone (`robot-wm bench ranks`).
    bandwidth_gbit_s
        Network of the learner's host, each way, Gbit/s.
    latency_ms
        Of the network, ms.
    plot
        Write a picture of the curves here (.png).
    json
        Print one JSON object; rates are per second, times in s, sizes in bytes.
    """
    shared = float(cores or os.cpu_count() or 1)
    here, there = (
        agent_settings("dreamer", size=width, batch_size=batch, batch_length=length)
        for width, batch, length in ((size, batch_size, batch_length), (cluster_size, None, None))
    )
    with TemporaryDirectory(prefix="robot-wm-bench-") as folder:

        def config(name: str, settings: Any, count: int, ratio: float) -> TrainConfig:
            return TrainConfig(
                task=name,
                run_dir=Path(folder) / name,
                steps=_ENDLESS,
                train_ratio=ratio,
                envs=count,
                device="cpu",
                compile_on_cpu="never",
                threads=1,
                prefill_steps=count * (settings.batch_length + 2),
                checkpoint_every_steps=_ENDLESS,
                settings=settings,
            )

        run = config(task, here, envs, train_ratio)
        parts = _measured(run, parts_seconds)
        rows = _beside(run, parts, collectors, seconds, shared)
        far = _measured(
            config(cluster_task, there, cluster_envs, cluster_train_ratio[0]), parts_seconds, update_s=update_ms / 1e3
        )
    site = Site(
        hosts=1,
        collectors=cores_per_host,
        cores=cores_per_host,
        bandwidth_bytes_s=bandwidth_gbit_s / 8 * 1e9,
        latency_s=latency_ms / 1e3,
        weak_scaling=weak_scaling,
        overlapped=True,
    )
    trained = there.batch_size * there.batch_length
    projected = [
        _projected(replace(far, steps_per_update=trained / ratio), replace(site, hosts=count, ranks=width), ratio)
        for ratio in cluster_train_ratio
        for width in ranks
        for count in hosts
    ]
    if plot is not None:
        from robot_wm_bench.scale.pictures import write_picture

        write_picture(plot, [row for row in rows if "failed" not in row], projected)
    result = {
        "cores": shared,
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "parts": _rounded(asdict(parts)),
        "cluster_parts": _rounded(asdict(far)),
        "site": {name: value for name, value in asdict(site).items() if name not in ("hosts", "ranks", "shared")},
        "rows": rows,
        "projected": projected,
    }
    emit(result, as_json=json, title="A run by its collectors and hosts")


def _measured(config: TrainConfig, seconds: float, *, update_s: float | None = None) -> Parts:
    from robot_wm_bench.scale.parts import measure_parts

    messages().print(f"parts of {config.task}, {config.settings.size}: {seconds:g} s")
    return measure_parts(config, seconds, update_s=update_s)


def _beside(
    config: TrainConfig, parts: Parts, collectors: tuple[int, ...], seconds: float, cores: float
) -> list[dict[str, Any]]:
    """Runs with so many collectors, each beside its estimates."""
    from robot_wm_bench.scale.real import run_with

    rows = []
    with progress() as bar:
        for count in collectors:
            try:
                row = run_with(config, count, seconds=seconds, bar=bar)
            except UserError as error:  # a machine that is too busy to start so many; the other rows are not lost
                rows.append({"collectors": count, "failed": str(error)})
                messages().print(f"{count} collectors: {error}")
                continue
            told = estimate(parts, Site(1, count, cores, shared=True))
            got = estimate(parts, Site(1, count, row["cores_got"], shared=True))
            row |= {
                "estimate": round(told.steps_per_s, 1),
                "wall": told.wall,
                "error": round(told.steps_per_s / row["env_steps_per_s"] - 1.0, 3),
                "estimate_of_cores_got": round(got.steps_per_s, 1),
                "error_of_cores_got": round(got.steps_per_s / row["env_steps_per_s"] - 1.0, 3),
            }
            rows.append(row)
            messages().print(f"{count} collectors: {row}")
    return rows


def _projected(parts: Parts, site: Site, train_ratio: float) -> dict[str, Any]:
    told = estimate(parts, site)
    return {
        "hosts": site.hosts,
        "ranks": site.ranks,
        "train_ratio": train_ratio,
        "env_steps_per_s": round(told.steps_per_s, 1),
        "updates_per_s": round(told.updates_per_s, 2),
        "wall": told.wall,
        "weights_age_s": round(told.weights_age_s, 2),
        "walls": {name: round(value) for name, value in told.walls.items()},
        "knob": KNOBS[told.wall],
    }


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.4g}") for name, value in figures.items()}
