"""``robot-wm bench baselines``: our agent and other people's on one task, by falls and robot-minutes until it walks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from robot_wm.console import emit, messages
from robot_wm.errors import UserError

if TYPE_CHECKING:
    from robot_wm.baselines.runs import RunPlan

Positive = Number(gt=0)


def bench_baselines(
    *,
    algorithms: str = "dreamer,sac,ppo,crossq,droq",
    task: str = "a1_velocity",
    option: dict[str, str] | None = None,
    steps: Annotated[int, Parameter(validator=Positive)] = 200_000,
    seeds: str = "0,1,2",
    history: Annotated[int, Parameter(validator=Number(gte=1, lte=64))] = 6,
    settings: Path | None = None,
    preset: str | None = None,
    dreamer: dict[str, str] | None = None,
    trial_every_steps: Annotated[int, Parameter(validator=Positive)] = 2500,
    out: Path = Path("runs/baselines"),
    jobs: Annotated[int, Parameter(validator=Positive)] = 1,
    processes: Annotated[int, Parameter(validator=Number(gte=0))] = 0,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    threads: Annotated[int, Parameter(validator=Number(gte=0))] = 1,
    time_limit_s: Annotated[float | None, Parameter(validator=Positive)] = None,
    checkpoint: Path | None = None,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Learn one task with several algorithms and seeds, and count falls and robot-minutes until the robot walks.

    A robot walks once a greedy trial goes straight on for 5 s at 0.45 m/s or more under a command of 0.5 m/s. Every run
    is a process of its own; a finished one is not done again when the command is given once more. The folder gets
    results.json, curves.png and, for each run, episodes.csv, walking.csv, result.json and log.txt.

    Parameters
    ----------
    algorithms
        Separated by commas: dreamer, and names of the settings (sac, ppo, crossq, crossq_16,
        crossq_gait8, droq).
    task
        Task to learn, see `robot-wm tasks`; without a velocity command, returns are compared only.
    option
        Options of the task, such as --option.backend mujoco or --option.randomisation sim2real; the walking trials
        are held in the same world, and every row of the results names it.
    steps
        Control steps of a run, all its environments together.
    seeds
        Separated by commas.
    history
        Frames of observations that a baseline sees at once.
    settings
        YAML file of algorithms, instead of the shipped settings with their sources.
    preset
        Dreamer's settings [default: the preset of the task's name, if there is one].
    dreamer
        Single settings of Dreamer's run, such as --dreamer.envs 1; they win over the preset.
    trial_every_steps
        Control steps between two walking trials.
    out
        Folder of the comparison.
    jobs
        Runs at the same time.
    processes
        Simulator processes of a run that has several environments; a baseline takes one an environment unless it is 0.
    device
        Where to learn; auto takes CUDA if there is any.
    threads
        CPU threads of a run; 0 leaves it to the libraries.
    time_limit_s
        Stop a run after this long, s.
    checkpoint
        Hold the walking trials with the checkpoints of this Dreamer run, or with this one, and learn nothing.
    json
        Print one JSON object.
    """
    if checkpoint is not None:
        from robot_wm.baselines.checkpoints import try_checkpoints

        emit({"rows": try_checkpoints(checkpoint)}, as_json=json, title=f"{checkpoint}: walking trials")
        return
    from robot_wm.baselines.report import UNFAIR, draw, summarise
    from robot_wm.baselines.runs import RunPlan, run_all
    from robot_wm.baselines.settings import DREAMER, choose, load_algorithms
    from robot_wm.tasks import parse_options

    declared = load_algorithms(settings)
    names = choose(listed(algorithms), declared)
    plans = [
        RunPlan(
            name=name,
            seed=seed,
            task=task,
            task_options=parse_options(option or {}),
            steps=steps,
            trial_every_steps=trial_every_steps,
            history=history,
            algorithm=declared.get(name),
            train_settings=_train_settings(task, preset, dreamer or {}) if name == DREAMER else {},
            processes=processes,
            device=device,
            threads=threads,
            time_limit_s=time_limit_s,
        )
        for seed in listed_seeds(seeds)
        for name in names
    ]
    _check(plans)
    console = messages()

    def tell(plan: RunPlan, result: dict[str, Any]) -> None:
        console.print(f"{plan.label}: {_line(result)}")

    results = run_all(plans, out, jobs=jobs, on_result=tell)
    rows = summarise(results)
    world = "".join(f", {name} {value}" for name, value in plans[0].task_options.items())
    picture = draw(results, out, title=f"{task}{world}, {steps} steps")
    whole = {
        "task": task,
        "task_options": plans[0].task_options,
        "steps": steps,
        "history": history,
        "picture": str(picture),
    }
    _write(out / "results.json", {**whole, "rows": rows, "unfair": UNFAIR, "runs": results})
    emit({**whole, "rows": rows if json else [_short(row) for row in rows]}, as_json=json, title="Baselines")


def listed(text: str) -> list[str]:
    """The parts of an option that are separated by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def listed_seeds(text: str) -> list[int]:
    """The seeds that ``--seeds`` names, without repeats; UserError for anything else."""
    try:
        seeds = [int(part) for part in listed(text)]
    except ValueError:
        raise UserError(f"--seeds: {text!r} is not whole numbers separated by commas") from None
    if not seeds or min(seeds) < 0:
        raise UserError(f"--seeds: {text!r} names no seed, or one below 0")
    return list(dict.fromkeys(seeds))


def _train_settings(task: str, preset: str | None, given: dict[str, str]) -> dict[str, Any]:
    """Dreamer's settings: the preset's, then those that were given one by one."""
    from robot_wm.tasks import parse_options
    from robot_wm.training.config import preset_path
    from robot_wm.yaml_file import read_mapping

    try:
        path = preset_path(preset or task)
    except UserError:
        if preset is not None:
            raise
        return parse_options(given)
    return read_mapping(path) | parse_options(given)


def _check(plans: list[RunPlan]) -> None:
    """Refuse what no run could do, before any is started."""
    from pydantic import ValidationError

    from robot_wm.baselines.view import ModelView
    from robot_wm.tasks import agent_spec, make_env

    first = plans[0]
    env = make_env(first.task, seed=first.seed, render=False, **first.task_options)
    spec = agent_spec(env)
    env.close()
    for plan in plans:
        if plan.algorithm is not None:
            ModelView(spec, history=plan.history)
            continue
        try:
            plan.train_config(Path())
        except ValidationError as error:
            raise UserError.from_validation(error, origin="--dreamer") from None


def _line(result: dict[str, Any]) -> str:
    walk = result["first_walk"]
    parts = [f"{result['steps']} steps"]
    if result["falls"] is not None:
        parts.append(f"{result['falls']:g} falls")
    if walk is not None:
        parts.append(f"first walked after {walk['robot_minutes']:.1f} robot-minutes and {walk['falls']:g} falls")
    elif result["trials"]:
        parts.append(f"walked in none of {result['trials']} trials")
    if result["return_last"] is not None:
        parts.append(f"last return {result['return_last']:.1f}")
    return ", ".join([*parts, f"{result['wall_s']:.0f} s, ended by {result['stopped_by']}"])


def _short(row: dict[str, Any]) -> dict[str, Any]:
    """What of an algorithm's row fits a terminal's line."""

    def told(key: str) -> Any:
        return "-" if row[key] is None else row[key]

    return {
        "algorithm": row["algorithm"],
        "envs": row["envs"],
        "walked": f"{row['walk_seeds']}/{row['seeds']}",
        "min to walk": told("walk_robot_minutes"),
        "falls to walk": told("walk_falls"),
        "falls": told("falls"),
        "return": told("return_last"),
        "steps/s": told("steps_per_s"),
    }


def _write(path: Path, body: dict[str, Any]) -> None:
    import json

    from robot_wm.atomic import atomic_file

    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(body, indent=2))
