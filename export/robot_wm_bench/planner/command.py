"""``robot-wm bench planner``: the actor alone against planners over its model, from the same starts."""

from __future__ import annotations

import json as json_
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from robot_wm.atomic import atomic_file, require_writable
from robot_wm.console import emit, progress
from robot_wm.errors import UserError
from robot_wm.options import Positive
from robot_wm_bench.baselines import listed, listed_seeds
from robot_wm_bench.search.command import candidate_counts, known_parts

_JSON, _CSV, _PICTURE = "planner.json", "planner.csv", "planner.png"


def bench_planner(
    *,
    out: Path = Path("runs/bench_planner"),
    agents: str = "zoo:cartpole_swingup,zoo:panda_reach,zoo:a1_velocity",
    planners: str = "flat,halving",
    candidates: str = "8,16,32,64",
    depth: Annotated[int, Positive] = 5,
    worlds: str = "none,mass,latency,both",
    thinking: str = "always,gated",
    starts: Annotated[int, Parameter(validator=Number(gt=0, lte=1000))] = 20,
    seeds: str = "0,1,2",
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Play agents' tasks by the robot's own controller, with a planner and by the actor alone, from the same starts.

    A planner's simulations are its candidates: each is one sequence that the model plays through. The actor is greedy
    and every plan is waited for, as in the gate of `robot-wm export --planner`, whose starts are those of seed 0. A row
    has mean returns, their difference with its 95 % interval (bootstrap, paired by start), searches as a share of the
    ticks that could search, the share of ticks with a surprise above its limit, at which the actor acts, and of a gated
    planner the return as a share of that of searching always (none where that is not above 0). The folder gets
    planner.json and planner.csv, both renewed with every row, and planner.png.

    Parameters
    ----------
    out
        Folder of the measurement.
    agents
        Separated by commas: zoo:NAME, folders of runs (their best checkpoint), or checkpoints.
    planners
        Separated by commas: flat, halving.
    candidates
        Of each planner, separated by commas.
    depth
        Control steps that are looked ahead.
    worlds
        Separated by commas: none (the task's, of which nothing is drawn), mass (+20 % of all links), latency (what the
        agent is told comes 20 ms later), both.
    thinking
        Separated by commas: always (a search at every tick), gated (as on a robot by default: at most a fifth of the
        ticks search, others go on with a plan) and unwaited (gated, and no tick waits for its search: the plan serves
        the ticks after).
    starts
        Of each seed; 20 or more tell something.
    seeds
        Of the starts and of the planners' noise, separated by commas.
    json
        Print the result as one JSON object.
    """
    from tempfile import TemporaryDirectory

    from robot_wm_bench.planner.contest import THINKING, Plan, contender, contest
    from robot_wm_bench.planner.worlds import WORLDS
    from robot_wm_export.planner.graph import PLANNERS

    chosen = known_parts(planners, "--planners", list(PLANNERS))
    thoughts = known_parts(thinking, "--thinking", list(THINKING))
    plan = Plan(
        planners=[kind for kind in PLANNERS if kind in chosen],
        candidates=candidate_counts(candidates),
        depth=depth,
        worlds=known_parts(worlds, "--worlds", list(WORLDS)),
        thinking=[name for name in THINKING if name in thoughts],  # always first: the others are compared with it
        starts=starts,
        seeds=listed_seeds(seeds),
    )
    names = list(dict.fromkeys(listed(agents)))
    if not names:
        raise UserError("--agents: names no agent")
    require_writable(out / _JSON)
    told = {"depth": depth, "starts_of_a_seed": starts, "seeds": list(plan.seeds)}
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory(prefix="robot_wm_bench_planner_") as folder, progress() as bar:
        task = bar.add_task("planner", total=plan.rows * len(names), note="loading")
        made = []
        for number, name in enumerate(names):  # all before the first is played: what cannot be is told at once
            bar.update(task, note=f"{name}: exporting")
            made.append(contender(name, plan, Path(folder) / str(number)))
        for one in made:
            for row in contest(one, plan, tell=lambda stage: bar.update(task, note=stage)):
                rows.append(row)
                _write(out, told | {"rows": rows}, rows)
                bar.advance(task)
    _draw(out / _PICTURE, rows)
    emit(told | {"rows": rows if json else [_short(row) for row in rows]}, as_json=json, title="Planner")


def _write(out: Path, whole: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    import csv

    with atomic_file(out / _JSON) as temporary:
        temporary.write_text(json_.dumps(whole, indent=2))
    flat = [_flat(row) for row in rows]
    with atomic_file(out / _CSV) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(flat[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(flat)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """With a column for each end of the interval."""
    low, high = row["interval"]
    ends = {"interval_low": low, "interval_high": high}
    return {name: value for name, value in row.items() if name != "interval"} | ends


def _draw(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    from robot_wm_bench.planner.pictures import planner_figure

    figure = planner_figure(rows)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=90)


def _short(row: Mapping[str, Any]) -> dict[str, Any]:
    """What of a row fits a terminal's line."""
    low, high = row["interval"]
    kept = row["return_kept"]
    return {
        "agent": row["agent"],
        "planner": f"{row['planner']} {row['candidates']}",
        "world": row["world"],
        "thinking": row["thinking"],
        "planned": f"{row['planned']:.4g}",
        "alone": f"{row['reactive']:.4g}",
        "difference": f"{row['difference']:+.3g} [{low:+.3g}, {high:+.3g}]",
        "searches": f"{row['searches_share']:.0%}",
        "kept": "-" if kept is None else f"{kept:.1%}",
    }
