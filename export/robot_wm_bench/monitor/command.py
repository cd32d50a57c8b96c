"""``robot-wm bench monitor``: limits of one engine, tried in another, and what a reaction to an alarm is worth."""

from __future__ import annotations

import json as json_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from robot_wm.atomic import atomic_file, require_writable
from robot_wm.console import emit, messages
from robot_wm.errors import UserError
from robot_wm.options import Positive, Seed
from robot_wm_bench.monitor.settings import SETTINGS

if TYPE_CHECKING:
    from robot_wm.training.checkpoint import LoadedAgent


def bench_monitor(
    *,
    out: Path,
    source: str = "zoo:a1_velocity",
    calibrate_in: str = "pybullet",
    try_in: str = "mujoco",
    episodes: Annotated[int, Positive] = 400,
    rate: Annotated[float, Parameter(validator=Number(gt=0, lt=1))] = 0.005,
    settings: Path = SETTINGS,
    share: Annotated[float, Parameter(validator=Number(gt=0, lte=1))] = 1.0,
    reaction: Annotated[int, Parameter(validator=Number(gte=0))] = 0,
    seed: Seed = 4_000_000,
    threads: Annotated[int, Positive] = 1,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Calibrate a monitor as `robot-wm export --monitor` does, then count what it tells in another engine's worlds.

    Counted are falls told 200 and 100 ms ahead, by the first alarm in the last 1.5 s, and alarms in episodes without a
    fall: of the monitor, and of simpler scores whose limits are calibrated alike. With ``--reaction`` pushed robots
    fall four times from the same alarm on. The folder gets monitor.json and monitor.png.

    Parameters
    ----------
    out
        Folder of the measurement.
    source
        Trained agent: a run's folder, a checkpoint's, or zoo:NAME.
    calibrate_in
        Physics engine whose episodes set the limits.
    try_in
        Physics engine of the worlds.
    episodes
        As --monitor of `robot-wm export`: episodes without a fall that each limit is set by, and as many pushed ones.
    rate
        As --monitor-rate there: 0.005 needs 399 episodes.
    settings
        YAML file of the worlds and the reaction, in place of the shipped one for the A1.
    share
        Of the worlds' episodes, for a quick look.
    reaction
        Pushes after which the policy goes on, holds, is damped, or crouches and is damped; 0: none.
    seed
        Of the first episode in each world.
    threads
        CPU threads.
    json
        Print the result as one JSON object.
    """
    import torch

    from robot_wm.training.initial import load_source

    require_writable(out / "monitor.json")
    torch.set_num_threads(threads)
    loaded = load_source(source)
    told: dict[str, Any] = {"source": source, "calibrated_in": calibrate_in, "tried_in": try_in, "seed": seed}
    found = measure(
        loaded,
        out / "monitor.png",
        calibrate_in=calibrate_in,
        try_in=try_in,
        episodes=episodes,
        rate=rate,
        settings=settings,
        share=share,
        pushes=reaction,
        seed=seed,
    )
    with atomic_file(out / "monitor.json") as temporary:
        temporary.write_text(json_.dumps(told | found, indent=2))
    if json:
        emit(told | found, as_json=True)
        return
    rows = found.pop("rows")
    after = found.pop("reaction", None)
    emit(
        told | found | {"rows": [short_row(rows, name) for name in dict.fromkeys(row["told_by"] for row in rows)]},
        as_json=False,
        title="Monitor",
    )
    if after is not None:
        emit(after, as_json=False, title="Reaction")


def measure(
    loaded: LoadedAgent,
    picture: Path,
    *,
    calibrate_in: str,
    try_in: str,
    episodes: int,
    rate: float,
    settings: Path,
    share: float,
    pushes: int,
    seed: int,
) -> dict[str, Any]:
    """Calibrate, try and draw; the result in plain values. UserError for a task that has no engine of ours."""
    from robot_wm.tasks import GYM_PREFIX
    from robot_wm_bench.monitor.pictures import monitor_figure
    from robot_wm_bench.monitor.reaction import alarms, reaction_table
    from robot_wm_bench.monitor.settings import load_settings
    from robot_wm_bench.monitor.trials import calibrated, table, tried
    from robot_wm_export.monitor.calibrate import Plan

    agent, spec = loaded.agent, loaded.spec
    if spec.task.startswith(GYM_PREFIX):
        raise UserError(f"--source: its task {spec.task} is not ours: it brings its own physics")
    given = load_settings(settings)
    options = {name: value for name, value in loaded.state.config.task_options.items() if value is not None}
    plan = Plan(episodes=episodes, false_alarm_rate=rate, options=options | {"backend": calibrate_in})
    worlds = {name: world.scaled(share) for name, world in given.worlds.named().items()}
    elsewhere = options | {"backend": try_in}
    with messages().status("calibrating") as status:
        limits = calibrated(agent, spec, plan, tell=status.update)
        traces = tried(agent, spec, limits.section, worlds, elsewhere, seed=seed, tell=status.update)
        raised = []
        if pushes:
            status.update(f"{pushes} pushes")
            raised = list(alarms(agent, spec, limits.section, given.reaction, elsewhere, pushes=pushes, seed=seed))
    fall = limits.section.fall
    result: dict[str, Any] = {
        "familiar_episodes": limits.episodes,
        "false_alarm_rate": rate,
        "fitted_falls": None if fall is None else fall.falls,  # None: too few to tell falls by
        "rows": table(limits.limits, traces, spec.control_rate_hz),
    }
    if pushes:
        result["reaction"] = reaction_table(raised, pushes, spec.physics_rate_hz)
    title = f"calibrated in {calibrate_in}, tried in {try_in}"
    figure = monitor_figure(limits.limits, traces, raised, spec.control_rate_hz, title=title)
    with atomic_file(picture) as temporary:
        figure.savefig(temporary, format="png", dpi=90)
    return result


def short_row(rows: list[dict[str, Any]], told_by: str) -> dict[str, Any]:
    """What of one score fits a terminal's line: falls of the pushed told ahead, and alarms by world."""
    from robot_wm_bench.monitor.lead import AHEAD_MS

    of = {row["world"]: row for row in rows if row["told_by"] == told_by}
    pushed = of["pushed"]
    ahead = {f"{ahead} ms ahead": pushed[f"falls_{ahead}_ms_ahead"] for ahead in AHEAD_MS}
    flagged = {name: f"{row['standing_flagged']}/{row['standing']}" for name, row in of.items()}
    return {
        "told by": told_by,
        "falls": pushed["falls"],
        **ahead,
        "median ms": "-" if pushed["median_lead_ms"] is None else f"{pushed['median_lead_ms']:.0f}",
        **flagged,
    }
