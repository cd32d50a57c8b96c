"""`robot-wm export`: a checkpoint to a bundle, and the keys that bundles are signed with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import cyclopts
from cyclopts import Parameter
from cyclopts.validators import Number

from robot_wm.console import emit, messages
from robot_wm.errors import UserError
from robot_wm.options import Seed, Which
from robot_wm_export.leapp.command import export_leapp

if TYPE_CHECKING:
    from robot_wm.runtime.planner_section import PlannerKind
    from robot_wm.training.checkpoint import LoadedAgent
    from robot_wm_export.calibration import Calibration
    from robot_wm_export.monitor.calibrate import Plan
    from robot_wm_export.planner.export import PlannerSettings

app = cyclopts.App(name="export", help="Write a checkpoint's agent as a bundle that a robot can run and verify.")
app.command(export_leapp, name="leapp")


@app.default
def export(
    *,
    checkpoint: Path,
    out: Path,
    which: Which = "best",
    sign: Path | None = None,
    make_zip: Annotated[bool, Parameter(name="--zip", negative="")] = False,
    bundle_version: Annotated[int, Parameter(validator=Number(gte=0, lt=2**31))] = 0,
    precision: str | None = None,
    calibration: str | None = None,
    monitor: Annotated[int, Parameter(validator=Number(gte=0))] = 0,
    monitor_rate: Annotated[float, Parameter(validator=Number(gt=0, lt=1))] = 0.01,
    monitor_confidence: Annotated[float, Parameter(validator=Number(gte=0, lt=1))] = 0.0,
    planner: Literal["flat", "halving"] | None = None,
    planner_candidates: Annotated[int | None, Parameter(validator=Number(gte=2, lte=1024))] = None,
    planner_depth: Annotated[int | None, Parameter(validator=Number(gte=1, lte=64))] = None,
    planner_budget_ms: Annotated[float | None, Parameter(validator=Number(gt=0))] = None,
    planner_starts: Annotated[int | None, Parameter(validator=Number(gte=20))] = None,
    rollout_ticks: Annotated[int, Parameter(validator=Number(gte=256, lte=65536))] = 256,
    max_gap: Annotated[float, Parameter(validator=Number(gt=0))] = 0.1,
    allow: Annotated[bool, Parameter(negative="")] = False,
    license: str | None = None,
    seed: Seed = 0,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Write a checkpoint's agent as a bundle, after comparing it with torch on observations of its task.

    Parameters
    ----------
    checkpoint
        Folder of a run or of one checkpoint.
    out
        Folder to write, such as agent.rwm; it must not exist.
    which
        Of a run's checkpoints: best by evaluation (the newest where none was evaluated), or latest. A resume may leave
        the best one behind for long; the result names the one that was taken.
    sign
        PEM private key (Ed25519) to sign with: from `robot-wm export generate-key`, or
        `openssl genpkey -algorithm ed25519 -out robot.pem`.
    make_zip
        Also write the transport form, agent.rwm.zip.
    bundle_version
        Number that grows with each bundle for a robot; one with a higher min_bundle_version refuses this bundle.
    precision
        Graphs of lower precision to write beside float32, separated by commas: fp16, int8.
    calibration
        Replay store, a folder or s3://bucket/prefix, whose newest episodes scale int8 [default: the run's, else the
        recorded ticks of the task].
    monitor
        Episodes without a fall that each limit of the monitor is set by, and as many pushed ones; 0: no monitor.
    monitor_rate
        Share of such episodes that raise an alarm, of a changed world or of a fall, at most: 0.01 needs 199 episodes.
    monitor_confidence
        That this very monitor's share is no larger; 0: that of all such monitors in the mean. 0.95 needs 817 episodes
        at a rate of 0.01.
    planner
        Planner to write beside, over what the agent's model imagines: flat (sequences side by side, weighted) or
        halving (first actions, of which the better half is tried again). By default there is none.
    planner_candidates
        Action sequences that it tries [default: 16].
    planner_depth
        Control steps of each [default: 5].
    planner_budget_ms
        What it may take of a control period [default: half of it].
    planner_starts
        Episodes of the task that tell whether it pays, each played with it and by the actor alone [default: 20].
    rollout_ticks
        Control steps of the task that are recorded and compared.
    max_gap
        Refuse an agent whose audit (`robot-wm audit`, or training's own) found imagined and real return further apart,
        as a share, or anything else that is not as the model says. One that was never audited is not refused.
    allow
        Write it all the same; its manifest says what was found.
    license
        Identifier of the license that the agent is given away under, such as apache-2.0, for its card [none].
    seed
        Seeds the task and the noise of the recordings, and where the episodes start that a planner's worth is told by.
    json
        Print the result as one JSON object.
    """
    from robot_wm.inspect.verdict import known_audit, require_real
    from robot_wm.model_card import require_license
    from robot_wm.runtime.bundle_writer import check_target
    from robot_wm.runtime.signature import load_private_key
    from robot_wm.training.checkpoint import load_agent
    from robot_wm_export.export import export_agent, summary
    from robot_wm_export.precision import parse_precisions
    from robot_wm_export.rollout import record_task

    check_target(out)
    if sign is not None:
        load_private_key(sign)  # a bad key is told before the work, not after
    licensed = {} if license is None else {"license": require_license(license)}
    precisions = parse_precisions(precision) if precision is not None else ()
    if calibration is not None and "int8" not in precisions:
        raise UserError("--calibration: only int8 is calibrated; add --precision int8")
    settings = _planner_settings(
        planner, planner_candidates, planner_depth, planner_budget_ms, planner_starts, seed=seed
    )
    console = messages()
    with console.status("loading the checkpoint") as status:
        loaded = load_agent(checkpoint, which)
        config = loaded.state.config
        audited = known_audit(loaded.path, loaded.state.reality)
        if not allow:
            require_real(audited, max_gap, origin=str(loaded.path))
        status.update(f"recording {rollout_ticks} ticks of {config.task}")
        spec, rollout = record_task(loaded, rollout_ticks, seed)
        ticks = None
        if "int8" in precisions:
            status.update("reading episodes to calibrate by")
            ticks = _calibration(loaded, calibration, seed)
        report = export_agent(
            loaded.agent,
            spec,
            rollout,
            loaded.lineage | {"bundle_version": bundle_version, "reality": audited} | licensed,
            out,
            sign,
            make_zip=make_zip,
            precisions=precisions,
            calibration=ticks,
            monitor=_plan(monitor, monitor_rate, monitor_confidence, config.task_options),
            planner=settings,
            on_stage=status.update,
        )
    for name, resolution in report.manifest.parity.thresholds.resolution.items():
        console.print(f"warning: float32 resolves {name} to {resolution:.3g}: a hardly trained critic, or large values")
    if report.manifest.monitor is not None and report.manifest.monitor.fall is None:
        console.print("warning: the monitor finds changes only: too few episodes ended on the ground to tell falls by")
    section = report.manifest.planner
    if section is not None and not section.gate.pays:
        console.print(
            f"warning: the planner does not pay: mean return {section.gate.planned:.6g} with it,"
            f" {section.gate.reactive:.6g} without; a robot refuses it unless it is forced"
        )
    taken = {"checkpoint": str(loaded.path), "steps": loaded.state.env_steps}
    loaded.tell_newer()
    emit(taken | summary(report), as_json=json, title="Bundle")


def _plan(episodes: int, rate: float, confidence: float, options: dict[str, Any]) -> Plan | None:
    from robot_wm_export.monitor.calibrate import Plan

    if not episodes:
        return None
    return Plan(episodes=episodes, false_alarm_rate=rate, confidence=confidence, options=dict(options))


def _planner_settings(
    kind: PlannerKind | None,
    candidates: int | None,
    depth: int | None,
    budget_ms: float | None,
    starts: int | None,
    *,
    seed: int,
) -> PlannerSettings | None:
    from robot_wm_export.planner.export import PlannerSettings
    from robot_wm_export.planner.gate import GATE_SEED

    given = {
        "candidates": candidates,
        "depth": depth,
        "budget_s": None if budget_ms is None else 1e-3 * budget_ms,
        "starts": starts,
    }
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if kind is not None:
        return PlannerSettings(kind=kind, seed=GATE_SEED + seed, **chosen)
    if chosen:
        name = next(iter(chosen)).replace("budget_s", "budget-ms")
        raise UserError(f"--planner-{name}: of a planner; add --planner flat or halving")
    return None


def _calibration(loaded: LoadedAgent, store: str | None, seed: int) -> Calibration | None:
    """Of the given store, else of the run's as it was when the checkpoint was written; None where it made no steps."""
    from robot_wm.training.config import run_store
    from robot_wm_export.calibration import from_store

    if store is not None:
        return from_store(store, loaded.agent, loaded.spec, seed=seed)
    of_run = run_store(loaded.path.parent.parent, loaded.state.config)
    if not of_run.exists() or not loaded.state.env_steps:  # learned offline
        return None
    return from_store(of_run, loaded.agent, loaded.spec, version=loaded.state.replay_version or None, seed=seed)


@app.command(name="generate-key")
def generate_key(
    *,
    out: Path,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Make an Ed25519 key pair: a private key to sign with and a public key for the robots.

    Parameters
    ----------
    out
        Private key to write (PEM, mode 0600), such as robot.pem; the public key becomes robot.pub.pem.
    json
        Print the result as one JSON object.
    """
    from robot_wm.runtime.signature import generate_key as generate

    public = generate(out)
    emit({"private_key": str(out), "public_key": str(public)}, as_json=json, title="Key pair")
