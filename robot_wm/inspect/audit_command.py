"""`robot-wm audit`: does a world model promise what its simulator keeps?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from robot_wm.console import emit, messages, progress
from robot_wm.options import NotNegative, Positive, Seed, Which


def audit_command(
    source: str,
    /,
    *,
    replay: str | None = None,
    out: Path | None = None,
    which: Which = "best",
    weights: str | None = None,
    states: Annotated[int, Positive] = 64,
    horizon: Annotated[int | None, Positive] = None,
    steps: Annotated[int, Positive] = 100,
    draws: Annotated[int, Positive] = 16,
    newest_steps: Annotated[int | None, Positive] = None,
    max_gap: Annotated[float, Positive] = 0.1,
    option: dict[str, str] | None = None,
    backend: str | None = None,
    sampled: Annotated[bool, Parameter(negative="")] = False,
    clips: Annotated[int, NotNegative] = 5,
    seed: Seed = 0,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Compare what a model imagines from real states with what its policy then really gets from them.

    States of the replay are restored in the simulator; from each the policy acts there and in the model. Told are the
    gap of returns by horizon and by reward term, how well reward, value and the chance that the episode goes on are
    calibrated, and where the model is exploited. The folder gets audit.html (with a clip of each exploited state),
    audit.json and the pictures. Exit code 1 where anything is beyond its limit.

    Parameters
    ----------
    source
        Run's folder, checkpoint's folder, zoo:NAME, or a bundle whose checkpoint lies beside it or is named.
    replay
        Store with real states, PATH[@VERSION|TAG], or a run's folder [default: the run's own, as the checkpoint left
        it; an agent without one first plays 4000 control steps of its task].
    out
        Folder of the report [default: audit beside the run's checkpoints].
    which
        Of a run's checkpoints: best by evaluation (the newest where none was evaluated), or latest.
    weights
        Of a bundle: the run, checkpoint or zoo:NAME that it was exported from [default: the one beside it].
    states
        States that are restored; further ones are taken from what is lived after them.
    horizon
        Control steps to imagine [default: as many as the agent learned to look ahead].
    steps
        Control steps that the policy acts from each restored state.
    draws
        Imagined futures of each state, where the model is random.
    newest_steps
        Take states from that many newest steps of the replay only.
    max_gap
        Gap of imagined and real return, as a share, from which on it is a finding.
    option
        Options of the task, such as --option.randomisation mild, that change the world under the model; by default it
        is that of each recorded episode.
    backend
        Physics engine, short for --option.backend: pybullet or mujoco [default: the episode's].
    sampled
        Let the policy act with its noise, as it explores, not greedily, as on a robot.
    clips
        Exploited states to film.
    seed
        Seeds which states are taken, and all noise.
    json
        Print the result as one JSON object.
    """
    from robot_wm.evaluation.task_flags import short_options
    from robot_wm.inspect.agents_replay import locate, report_folder, store_of
    from robot_wm.inspect.audit import AuditPlan, audit
    from robot_wm.inspect.audit_page import PAGE, write_audit
    from robot_wm.inspect.findings import Limits
    from robot_wm.inspect.world import World
    from robot_wm.tasks import parse_options

    loaded = locate(source, which, weights)
    config = loaded.state.config
    given = option or {}
    changed = parse_options(given) | short_options(config.task, loaded.spec, given, backend=backend, command=None)
    folder = out if out is not None else report_folder(loaded, source, "audit")
    plan = AuditPlan(
        states=states,
        horizon=horizon,
        steps=steps,
        draws=draws,
        greedy=not sampled,
        seed=seed,
        newest_steps=newest_steps,
        limits=Limits(gap=max_gap),
    )
    store = store_of(loaded, replay, folder, seed)
    world = World(config.task, config.task_options, changed)
    with progress() as bar:
        row = bar.add_task("audit", total=states, note="")
        found = audit(loaded.agent, store, world, plan, on_lived=lambda count: bar.advance(row, count))
    of: dict[str, Any] = {
        "source": source,
        "checkpoint": loaded.path.name,
        "replay": f"{store.location}@{store.version}",
    }
    if changed:
        of["changed"] = changed
    result = write_audit(folder, found, store.spec, world, of=of, clips=clips)
    emit(result, as_json=json, title=f"audit of {source}")
    messages().print(f"report: {folder / PAGE}")
    if found.findings:
        raise SystemExit(1)
