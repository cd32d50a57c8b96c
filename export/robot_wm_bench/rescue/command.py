"""``robot-wm bench rescue``: an agent that walks, a robot that has changed, and what it takes to walk on that."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from robot_wm.console import emit, messages
from robot_wm.errors import UserError
from robot_wm.options import NotNegative, Positive
from robot_wm_bench.rescue.lessons import Lessons
from robot_wm_bench.rescue.runs import Plan, begin, execute, finished, summarise


def bench_rescue(
    *,
    methods: str = "sac,crossq",
    seeds: str = "0,1,2,3,4",
    agent: str = "zoo:a1_velocity",
    source: dict[str, str] | None = None,
    target: dict[str, str] | None = None,
    lessons: dict[str, str] | None = None,
    settings: Path | None = None,
    episodes: Annotated[int, Positive] = 16,
    goal: Annotated[float, Parameter(validator=Number(gt=0, lte=2))] = 0.9,
    limit_s: Annotated[float, Positive] = 600.0,
    source_only: bool = False,
    out: Path = Path("runs/rescue"),
    jobs: Annotated[int, Positive] = 1,
    processes: Annotated[int, NotNegative] = 0,
    device: Literal["auto", "cpu"] = "auto",
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Fine-tune agents that walk at the source on one changed robot, and count robot time and falls until they walk.

    A look is 16 greedy episodes on the changed robot; rescued is who reaches 90 % of its own source return in two
    looks running. A finished run, and the lessons of an unfinished one, are not done again. The folder gets
    results.json, rescue.csv and, for each run, looks.csv and result.json.

    Parameters
    ----------
    methods
        Separated by commas: names of the settings (sac, crossq).
    seeds
        Separated by commas.
    agent
        Trained Dreamer that teaches the model-free agents: zoo:NAME, a run's folder, or a checkpoint.
    source
        Options of the source's world, beside those that the agent was trained with.
    target
        Options of the changed one [default: --target.backend mujoco --target.randomisation, a file that ships].
    lessons
        Single numbers of the lessons, such as --lessons.rounds 3.
    settings
        YAML file of methods, instead of the shipped settings with their sources.
    episodes
        Of a look.
    goal
        Share of the source's return that is to be reached.
    limit_s
        Of the changed robot's time, s.
    source_only
        Stop when the agents walk at the source, and tell how well.
    out
        Folder of the comparison.
    jobs
        Runs at the same time.
    processes
        Simulator processes of a run.
    device
        Where a model-free agent learns; auto takes what JAX finds.
    json
        Print one JSON object.
    """
    plans = _plans(methods, seeds, agent, source, target, lessons, settings, episodes, goal, limit_s, processes, device)
    console = messages()
    results: dict[str, dict[str, Any]] = {}
    for plan, result in _all(plans, out, jobs=jobs, source_only=source_only):
        results[plan.label] = result
        console.print(f"{plan.label}: {_line(result)}")
    done = [results[plan.label] for plan in plans]
    if source_only:
        shown = ("name", "seed", "source_return", "source_look_falls", "source_steps", "source_falls")
        emit({"rows": [{name: result[name] for name in shown} for result in done]}, as_json=json, title="At the source")
        return
    rows = summarise(done)
    told = {"task": plans[0].task, "source": plans[0].source, "target": plans[0].target, "goal": goal, "rows": rows}
    _write(out, told, done)
    emit(told, as_json=json, title="Rescue")


def _plans(
    methods: str,
    seeds: str,
    agent: str,
    source: dict[str, str] | None,
    target: dict[str, str] | None,
    lessons: dict[str, str] | None,
    settings: Path | None,
    episodes: int,
    goal: float,
    limit_s: float,
    processes: int,
    device: Literal["auto", "cpu"],
) -> list[Plan]:
    from pydantic import ValidationError

    from robot_wm.baselines.settings import DREAMER, choose, load_algorithms
    from robot_wm.tasks import agent_spec, make_env, parse_options
    from robot_wm.training import checkpoint
    from robot_wm.zoo.catalog import PREFIX, Zoo
    from robot_wm_bench.baselines import listed, listed_seeds

    here = Path(str(files("robot_wm_bench.rescue")))
    declared = load_algorithms(settings or here / "settings.yaml")
    names = choose(listed(methods), declared)
    if DREAMER in names:
        raise UserError(f"--methods: {DREAMER} is not among {', '.join(declared)}")
    teacher = Zoo.shipped().require(agent.removeprefix(PREFIX)) if agent.startswith(PREFIX) else Path(agent)
    config = checkpoint.read_state(checkpoint.find(teacher)).config
    changed = parse_options(target or {"backend": "mujoco", "randomisation": str(here / "target.yaml")})
    worlds = {"source": config.task_options | parse_options(source or {}), "target": config.task_options | changed}
    for options in worlds.values():  # what no run could do is refused before any is started
        env = make_env(config.task, **options)
        agent_spec(env)
        env.close()
    try:
        return [
            Plan(
                name=name,
                seed=seed,
                algorithm=declared[name],
                teacher=teacher,
                task=config.task,
                **worlds,
                lessons=Lessons.model_validate(parse_options(lessons or {})),
                episodes=episodes,
                goal=goal,
                limit_s=limit_s,
                processes=processes,
                device=device,
            )
            for seed in listed_seeds(seeds)
            for name in names
        ]
    except ValidationError as error:
        raise UserError.from_validation(error, origin="--lessons") from None


def _all(plans: list[Plan], out: Path, *, jobs: int, source_only: bool) -> Iterator[tuple[Plan, dict[str, Any]]]:
    waiting = []
    for plan in plans:
        found = None if source_only else finished(out / plan.label)
        if found is None:
            waiting.append(plan)
        elif found["plan"] != plan.model_dump(mode="json"):
            raise UserError(f"{out / plan.label}: a run with other settings; name another --out")
        else:
            yield plan, found
    if not waiting:
        return
    spawn = multiprocessing.get_context("spawn")  # what is forked from a process with XLA's threads may hang
    device = plans[0].device
    with ProcessPoolExecutor(jobs, mp_context=spawn, initializer=begin, initargs=(device,)) as pool:
        futures = {pool.submit(execute, plan, out / plan.label, source_only=source_only): plan for plan in waiting}
        failed = []
        for future in as_completed(futures):
            if error := future.exception():
                failed.append(f"{futures[future].label}: {type(error).__name__}: {error}")
            else:
                yield futures[future], future.result()
    if failed:  # after all others have been done
        raise UserError("; ".join(failed))


def _line(result: dict[str, Any]) -> str:
    parts = [f"source return {result['source_return']:.0f}"]
    if "target_s" in result:
        parts.append(f"{result['share_before']:.2f} of it before, {result['share_at_60_s']:.2f} after 60 s")
        if result["rescued_s"] is None:
            parts.append(f"not rescued in {result['target_s']:.0f} s")
        else:
            falls = result["falls_until_rescued"]
            told = "" if falls is None else f" and {falls:g} falls"
            parts.append(f"rescued after {result['rescued_s']:.0f} s{told}")
    return ", ".join(parts)


def _write(out: Path, told: dict[str, Any], results: list[dict[str, Any]]) -> None:
    import csv
    import json

    from robot_wm.atomic import atomic_file
    from robot_wm_bench.rescue.record import Look

    with atomic_file(out / "results.json") as temporary:
        temporary.write_text(json.dumps({**told, "runs": results}, indent=2))
    with atomic_file(out / "rescue.csv") as temporary, temporary.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("method", "seed", *Look._fields))
        for result in results:
            rows.writerows((result["name"], result["seed"], *look.values()) for look in result["looks"])
