"""``robot-wm robustness``: how an agent does in worlds that it was not made for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from robot_wm.console import emit, messages, progress
from robot_wm.errors import UserError
from robot_wm.options import Positive, Seed

if TYPE_CHECKING:
    from robot_wm_export.robustness.grid import Cell
    from robot_wm_export.robustness.measure import Outcome

_LATENCIES = ("observation_latency_s", "action_latency_s")


def robustness(
    bundle: Path,
    *,
    out: Path,
    ranges: str = "sim2real",
    quantity: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    pair: Annotated[tuple[str, ...] | None, Parameter(negative="")] = None,
    points: Annotated[int, Positive] = 5,
    episodes: Annotated[int, Positive] = 5,
    joint_episodes: Annotated[int, Positive] = 20,
    backend: str = "pybullet,mujoco",
    processes: Annotated[int, Positive] = 2,
    seed: Seed = 0,
    public_key: Path | None = None,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Move one quantity of the world at a time, two at once and all together; write heat maps, JSON and a page.

    The folder gets robustness.json, robustness.html, and singles.png, overview.png and pair_*.png that are in the page.
    A world that an engine does not have (PyBullet moves no centre of mass) is left blank.

    Parameters
    ----------
    bundle
        Bundle folder or zip, or zoo:NAME.
    out
        Folder of the report.
    ranges
        Randomisation whose ranges are gone through: a preset or a YAML file.
    quantity
        Quantities to move, by default all that have a range, such as --quantity friction.
    pair
        Two quantities to move at once, such as --pair friction:kp_scale; by default the two latencies, where both are
        moved.
    points
        Values of each quantity, from the low end of its range to its high end.
    episodes
        Episodes in each world.
    joint_episodes
        Episodes in worlds drawn from mild, sim2real and harsh.
    backend
        Physics engines, separated by commas.
    processes
        Worlds that are tried at the same time.
    seed
        Of the first episode in each world.
    public_key
        Ed25519 public key (PEM) of a bundle that is not of the zoo.
    json
        Print the summary as one JSON object.
    """
    from robot_wm_export.robustness.page import write_robustness
    from robot_wm_export.robustness.summary import summary

    found = _grid(bundle, public_key, ranges, quantity, pair, points, tuple(backend.split(",")))
    outcomes = _measured(bundle, public_key, found, processes, episodes, joint_episodes, seed)
    result = {"bundle": str(bundle), "ranges": ranges, "seed": seed, **summary(outcomes)}
    write_robustness(out, result, outcomes)
    emit(result, as_json=json, title=f"robustness of {bundle}")
    messages().print(f"report: {out / 'robustness.html'}")


def _grid(
    bundle: Path,
    public_key: Path | None,
    ranges: str,
    quantities: tuple[str, ...],
    pairs: tuple[str, ...] | None,
    points: int,
    backends: tuple[str, ...],
) -> list[Cell]:
    from robot_wm.randomisation import randomisation_names
    from robot_wm.runtime.bundle import Bundle
    from robot_wm.tasks import GYM_PREFIX, make_env
    from robot_wm.zoo.catalog import locate_bundle
    from robot_wm_export.robustness.grid import cells
    from robot_wm_sim.randomisation.ranges import load_randomisation

    with Bundle.open(*locate_bundle(bundle, public_key)) as opened:
        task = opened.spec.task
    if task.startswith(GYM_PREFIX):
        raise UserError(f"{bundle}: its task {task} is not ours: its worlds cannot be randomised")
    with make_env(task, backend=backends[0], randomisation=ranges) as env:
        names = [name for name in randomisation_names(env) if not quantities or name.split("/")[0] in quantities]
    for name in quantities:
        if not any(known.split("/")[0] == name for known in names):
            raise UserError(f"--quantity {name}: {ranges} has no range of it")
    if "push_speed_m_s" in quantities:
        names += ["push_interval_s", "push_seed"]
    told = (text.partition(":") for text in pairs or ())
    chosen = [(first, second) for first, _, second in told]
    if pairs is None and set(_LATENCIES) <= set(names):
        chosen = [_LATENCIES]
    return cells(load_randomisation(ranges), names, backends=backends, points=points, pairs=chosen)


def _measured(
    bundle: Path, public_key: Path | None, cells: list[Cell], processes: int, episodes: int, joint: int, seed: int
) -> list[Outcome]:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    from robot_wm_export.robustness.measure import measure

    spawn = multiprocessing.get_context("spawn")  # what is forked from a process with ONNX Runtime's threads may hang
    with ProcessPoolExecutor(processes, mp_context=spawn) as pool, progress() as bar:
        row = bar.add_task("robustness", total=len(cells), note="")
        tried = []
        for cell in cells:
            count = joint if cell.kind == "joint" else episodes
            tried.append(pool.submit(measure, bundle, public_key, cell, episodes=count, seed=seed))
        found = []
        try:
            for future in tried:
                found.append(future.result())
                bar.advance(row)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return found
