"""``robot-wm bench rescue``: an agent that walks, a robot that has changed, and what it takes to walk on that."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeVar

from cyclopts import Parameter
from cyclopts.validators import Number
from pydantic import BaseModel, ValidationError

from robot_wm.console import emit, messages
from robot_wm.errors import UserError
from robot_wm.options import NotNegative, Positive
from robot_wm_bench.baselines import listed, listed_seeds
from robot_wm_bench.rescue.lessons import Lessons
from robot_wm_bench.rescue.runs import Plan, begin, execute, finished, summarise

if TYPE_CHECKING:
    from robot_wm.baselines.settings import Algorithm
    from robot_wm_bench.rescue.adaptation import Adaptation

Settings = TypeVar("Settings", bound=BaseModel)


def bench_rescue(
    *,
    methods: str = "dreamer,sac,crossq",
    seeds: str = "0,1,2,3,4",
    agent: str = "zoo:a1_velocity",
    source: dict[str, str] | None = None,
    target: dict[str, str] | None = None,
    drive: dict[str, str] | None = None,
    lessons: dict[str, str] | None = None,
    adaptation: dict[str, str] | None = None,
    dreamer: dict[str, str] | None = None,
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
    """Let agents that walk at the source learn on one changed robot, and count robot time and falls until they walk.

    A world model acts greedily for some seconds, is adapted as `robot-wm adapt` does it, with the robot standing, and
    acts again; a model-free agent, which the world model has taught to walk, learns while it acts. A look is 16 greedy
    episodes on the changed robot, which nobody learns from; rescued is who reaches 90 % of its own source return in two
    looks running. A finished run, and what was made at the source for an unfinished one, are not done again. The folder
    gets results.json, rescue.csv and, for each run, looks.csv and result.json.

    Parameters
    ----------
    methods
        Separated by commas: names of the settings (dreamer, sac, crossq).
    seeds
        Separated by commas.
    agent
        Trained Dreamer that is adapted, and that teaches the model-free agents: zoo:NAME, a run's folder, or a
        checkpoint.
    source
        Options of the source's world, beside those that the agent was trained with.
    target
        Options of the changed one [default: --target.backend mujoco --target.randomisation, a file that ships].
    drive
        Options of the changed world while the robot is driven there, beside those above; looks are as they are without.
        With --drive.command-period-s 1 an operator asks for more in a minute.
    lessons
        Single numbers of the model-free agents' lessons, such as --lessons.rounds 3.
    adaptation
        Single numbers of the world model's rounds, such as --adaptation.updates 250 or --adaptation.rewards unknown.
    dreamer
        Single settings of the adapting agent, such as --dreamer.anchor 0.001 or --dreamer.pessimism 0.
    settings
        YAML file of methods, instead of the shipped settings with their sources.
    episodes
        Of a look.
    goal
        Share of the source's return that is to be reached.
    limit_s
        Of the changed robot's time, s; a world model's rounds may end before.
    source_only
        Stop when the agents walk at the source, and tell how well.
    out
        Folder of the comparison.
    jobs
        Runs at the same time.
    processes
        Simulator processes of a run.
    device
        Where an agent learns; auto takes a GPU where there is one.
    json
        Print one JSON object.
    """
    told = _Told(source or {}, target or {}, drive or {}, lessons or {}, adaptation or {}, dreamer or {})
    common = {"episodes": episodes, "goal": goal, "limit_s": limit_s, "processes": processes, "device": device}
    plans = _plans(listed(methods), listed_seeds(seeds), agent, told, settings, common)
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
    worlds = {name: getattr(plans[0], name) for name in ("source", "target", "drive")}
    whole = {"task": plans[0].task, **worlds, "goal": goal, "rows": rows}
    _write(out, whole, done)
    emit(whole, as_json=json, title="Rescue")


class _Told(NamedTuple):
    """Single options of the command line."""

    source: dict[str, str]
    target: dict[str, str]
    drive: dict[str, str]
    lessons: dict[str, str]
    adaptation: dict[str, str]
    dreamer: dict[str, str]


def _plans(
    methods: list[str], seeds: list[int], agent: str, told: _Told, settings: Path | None, common: dict[str, Any]
) -> list[Plan]:
    """A plan for each method and seed; what no run could do is refused before any is started."""
    from robot_wm.baselines.settings import choose
    from robot_wm.tasks import agent_spec, make_env, parse_options
    from robot_wm.training import checkpoint
    from robot_wm.training.adapting import adapted
    from robot_wm.zoo.catalog import locate_weights
    from robot_wm_bench.rescue.declared import TARGET, load_methods

    world_models, model_free = load_methods(settings)
    names = choose(methods, model_free, ours=list(world_models), option="--methods")
    folder = locate_weights(agent)
    config = checkpoint.read_state(checkpoint.find(folder)).config
    changed = parse_options(told.target or {"backend": "mujoco", "randomisation": str(TARGET)})
    worlds = {"source": config.task_options | parse_options(told.source), "target": config.task_options | changed}
    driven = parse_options(told.drive)
    for options in (*worlds.values(), worlds["target"] | driven):
        env = make_env(config.task, **options)
        agent_spec(env)
        env.close()
    lessons = _with(Lessons(), told.lessons, option="--lessons")
    hows: dict[str, tuple[Adaptation | Algorithm, Lessons | None]] = {}
    for name in names:
        if name in model_free:
            hows[name] = (model_free[name], lessons)
            continue
        how = _with(world_models[name], told.adaptation, option="--adaptation")
        how = how.model_copy(update={"settings": how.settings | parse_options(told.dreamer)})
        adapted(config, how.settings)
        hows[name] = (how, None)
    common = common | {"agent": folder, "task": config.task, "drive": driven} | worlds
    return [
        Plan(name=name, seed=seed, how=how, lessons=taught, **common)
        for seed in seeds
        for name, (how, taught) in hows.items()
    ]


def _with(settings: Settings, told: dict[str, str], *, option: str) -> Settings:
    """``settings`` with what was ``told`` in their place; UserError, naming ``option``, for what they do not take."""
    from robot_wm.tasks import parse_options

    try:
        return type(settings).model_validate(settings.model_dump() | parse_options(told))
    except ValidationError as error:
        raise UserError.from_validation(error, origin=option) from None


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


def _write(out: Path, whole: dict[str, Any], results: list[dict[str, Any]]) -> None:
    import csv
    import json

    from robot_wm.atomic import atomic_file
    from robot_wm_bench.rescue.record import Look

    with atomic_file(out / "results.json") as temporary:
        temporary.write_text(json.dumps({**whole, "runs": results}, indent=2))
    with atomic_file(out / "rescue.csv") as temporary, temporary.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("method", "seed", *Look._fields))
        for result in results:
            rows.writerows((result["name"], result["seed"], *look.values()) for look in result["looks"])
