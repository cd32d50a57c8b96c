"""`robot-wm sim`: what a robot's joints are, for a simulator that does what the robot does."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts
from cyclopts import Parameter

from robot_wm.atomic import require_writable
from robot_wm.console import emit, messages, progress
from robot_wm.errors import UserError
from robot_wm.options import Positive, Seed
from robot_wm.tasks import DEFAULT_BACKEND

if TYPE_CHECKING:
    from robot_wm.spec import AgentSpec
    from robot_wm_sim.env import RobotEnv
    from robot_wm_sim.identification.identify import Estimate, Identified
    from robot_wm_sim.robot import Robot

app = cyclopts.App(name="sim", help="A simulator that does what your robot does: identify its joints from a log.")


@app.command
def identify(
    log: Path | None = None,
    /,
    *,
    out: Path | None = None,
    plan: Path | None = None,
    task: str | None = None,
    bundle: Path | None = None,
    public_key: Path | None = None,
    option: dict[str, str] | None = None,
    backend: str = DEFAULT_BACKEND,
    over: str = "none",
    walking: Annotated[bool, Parameter(negative="")] = False,
    generations: Annotated[int, Positive] = 25,
    plan_s: Annotated[float, Positive] = 60.0,
    processes: Annotated[int, Positive] = 2,
    seed: Seed = 0,
    skip_damaged: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Find armature, friction, damping and zero error of each joint, the delay and the torque scale, from a log.

    The robot hangs in the air, its base held, and its joints move: up to a minute of what the node records. OUT gets
    identified.yaml (ranges for --option.randomisation, as wide as the log leaves them open), identified.json, and a
    page with fits over data, identified.html. Where the simulator still does not do what the robot did, it says "do
    not deploy", and the command ends with 1.

    With --plan, and no log, it writes commands that tell these things apart, within half of the joints' limits.

    Parameters
    ----------
    log
        Recording (.mcap) of a robot in the air.
    out
        Folder of the result.
    plan
        What to write commands to, for a robot in the air: plan.rwm, a bundle that the robot's node plays and records
        as any other, or a table (.csv: time_s, and a column for each joint).
    task
        Whose robot it is; by default that of the log or bundle.
    bundle
        Bundle that shall run on the robot: a log of another AgentSpec is refused.
    public_key
        Ed25519 public key (PEM) of that bundle.
    option
        Options of the task, such as --option.actuator torque_speed; by default those that the bundle was trained with.
    backend
        Physics engine to identify in: pybullet (whose joints have no armature) or mujoco.
    over
        Randomisation, a preset or a file, whose other quantities the written ranges take over.
    walking
        The log is of the bundle's agent at work on the ground: no replay follows that, so worlds are sought in which
        the agent moves alike, under the same wishes of the operator. It tells less: the same for all joints.
    generations
        Of that search, ten worlds each.
    plan_s
        How long the plan is, in seconds: what a log leaves open goes by one over the root of that. Zeros of encoders
        need all of it.
    processes
        Replays at the same time.
    seed
        Of the plan.
    skip_damaged
        Read a damaged recording as far as it goes.
    json
        Print the result as one JSON object.
    """
    if (log is None) == (plan is None):
        raise UserError("identify: give a log to identify from, or --plan FILE to write a plan")
    spec, options = _of_bundle(bundle, public_key)
    options |= option or {}
    if plan is not None:
        _write_plan(plan, task or (spec.task if spec else None), options, backend, plan_s, seed, json)
        return
    if out is None:
        raise UserError("identify: --out says where the result goes")
    require_writable(out)
    assert log is not None
    _require_parts("jinja2", "lz4", "matplotlib", "zstandard", *(["cma"] if walking else []))
    if walking:
        if bundle is None:
            raise UserError("identify --walking: --bundle says whose agent walked")
        result = _matched(log, spec, out, bundle, public_key, options, backend, over, generations, processes, seed)
        emit(result, as_json=json, title=f"walk of {log.name}")
        _end(result["reasons"])
        return
    found, robot = _identified(log, spec, task, options, backend, processes, skip_damaged)
    from robot_wm_sim.identification.page import PAGE, told, write_folder
    from robot_wm_sim.identification.parameters import UNKNOWN_TO
    from robot_wm_sim.randomisation.ranges import load_randomisation

    write_folder(out, found, robot, load_randomisation(over), log=log)
    result = told(found, log)
    if not json:
        result = {
            **{key: value for key, value in result.items() if key not in ("parameters", "held_out", "reasons")},
            **{one.parameter.name: _line(one) for one in found.estimates},
        }
    emit(result, as_json=json, title=f"{robot.name}, from {log.name}")
    messages().print(f"report: {out / PAGE}", markup=False)
    if found.reasons and (unknown := UNKNOWN_TO.get(backend)):
        messages().print(f"{backend} knows of no {', '.join(unknown)}: another --backend may do better", markup=False)
    _end(found.reasons)


@app.command
def play(
    played: Path,
    /,
    *,
    record: Path,
    task: str | None = None,
    public_key: Path | None = None,
    option: dict[str, str] | None = None,
    backend: str = DEFAULT_BACKEND,
    seconds: Annotated[float, Positive] = 20.0,
    seed: Seed = 0,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Record a simulated robot as a robot's node does: in the air under a plan, or under its agent.

    Parameters
    ----------
    played
        What `sim identify --plan` wrote (.csv), or a bundle: its folder or zip, or zoo:NAME.
    record
        Folder of the recording.
    task
        Whose robot follows the plan.
    public_key
        Ed25519 public key (PEM) of the bundle.
    option
        Options of the task, such as --option.sensor-model '{action_latency_s: 0.02}'.
    backend
        Physics engine: pybullet or mujoco.
    seconds
        How long the agent drives its robot.
    seed
        Of the episode.
    json
        Print the result as one JSON object.
    """
    from robot_wm.evaluation.driven import driven
    from robot_wm.runtime.safety import SafetyConfig
    from robot_wm_sim.identification.plan import Plan
    from robot_wm_sim.identification.play import play as play_plan
    from robot_wm_sim.identification.play import walk

    if played.suffix == ".csv":
        if task is None:
            raise UserError(f"play {played}: --task says whose robot follows the plan")
        with _hung(task, option or {}, backend) as env:
            path, world = play_plan(env, Plan.read(played, env.agent_spec), record, seed=seed)
    else:
        config = SafetyConfig(soft_start_s=0.0)
        with driven(played, public_key, config=config, task=task, option=option, backend=backend, seed=seed) as it:
            path, world = walk(it, record, duration_s=seconds, seed=seed)
    result = {"recording": str(path)} | ({"randomisation": world} if world else {})
    emit(result, as_json=json, title=f"{played.name} played")


def _require_parts(*names: str) -> None:
    """Raise UserError for a part that the installation lacks: before the search, and not when its page is due."""
    for name in names:
        if find_spec(name) is None:
            raise UserError(f"identify needs {name}: pip install 'robot-wm[all]'")


def _of_bundle(bundle: Path | None, public_key: Path | None) -> tuple[AgentSpec | None, dict[str, Any]]:
    """A bundle's spec, and the options of the task that it was trained with."""
    if bundle is None:
        return None, {}
    from robot_wm.evaluation.task_flags import task_options
    from robot_wm.runtime.bundle import Bundle
    from robot_wm.zoo.catalog import locate_bundle

    with Bundle.open(*locate_bundle(bundle, public_key)) as opened:
        return opened.spec, dict(task_options(opened.manifest.lineage.config, opened.spec.task))


def _identified(
    log: Path,
    spec: AgentSpec | None,
    task: str | None,
    options: dict[str, Any],
    backend: str,
    processes: int,
    skip_damaged: bool,
) -> tuple[Identified, Robot]:
    from robot_wm.spec import require_same
    from robot_wm_sim.identification.identify import identify as identify_log
    from robot_wm_sim.identification.joint_log import read_joint_log

    read = read_joint_log(log, expected=spec, skip_damaged=skip_damaged)
    with _hung(task or read.spec.task, options, backend) as env:
        require_same(env.agent_spec, read.spec, origin=str(log))
        scene = env.task.scene
    with progress() as bar:
        row = bar.add_task(f"identify {read.spec.robot}", total=None, note="")

        def on_step(step: int, cost: float) -> None:
            bar.update(row, advance=1, note=f"misfit {cost:.3g}")

        found = identify_log(read, scene, backend=backend, processes=processes, on_step=on_step)
    return found, scene.robot


def _matched(
    log: Path,
    spec: AgentSpec | None,
    out: Path,
    bundle: Path,
    public_key: Path | None,
    options: dict[str, Any],
    backend: str,
    over: str,
    generations: int,
    processes: int,
    seed: int,
) -> dict[str, Any]:
    from robot_wm.tasks import parse_options
    from robot_wm_sim.identification.joint_log import read_joint_log
    from robot_wm_sim.identification.matching import BOUNDS, match
    from robot_wm_sim.identification.parameters import UNKNOWN_TO
    from robot_wm_sim.identification.processes import working
    from robot_wm_sim.identification.walking import walk_of, walker
    from robot_wm_sim.identification.walking_page import write_walk
    from robot_wm_sim.randomisation.ranges import load_randomisation

    read = read_joint_log(log, expected=spec)
    walk, fit, held_out = walk_of(read, bundle, public_key, parse_options(options), backend)
    unknown = {f"{kind}_s2" for kind in UNKNOWN_TO.get(backend, ())}
    with progress() as bar, working(walker, walk, processes) as rollouts:
        row = bar.add_task(f"match {read.spec.robot}", total=generations, note="")

        def on_step(step: int, cost: float) -> None:
            bar.update(row, completed=step, note=f"distance {cost:.3g}")

        names = [name for name in BOUNDS if name not in unknown]
        found = match(fit, held_out, rollouts, names=names, generations=generations, seed=seed, on_step=on_step)
    return write_walk(out, found, fit, read.joints, load_randomisation(over), log)


def _end(reasons: Sequence[str]) -> None:
    """Tell why nothing should be deployed, and end with 1, where there is a reason."""
    if reasons:
        messages().print(f"do not deploy: {'; '.join(reasons)}", markup=False)
        raise SystemExit(1)


def _write_plan(
    path: Path, task: str | None, options: dict[str, Any], backend: str, duration_s: float, seed: int, as_json: bool
) -> None:
    from robot_wm_sim.identification.plan import make_plan

    if task is None:
        raise UserError("identify --plan: --task or --bundle says for which robot")
    with _hung(task, options, backend) as env:
        made = make_plan(env.task.scene.robot, env.agent_spec, duration_s=duration_s, seed=seed)
        if path.suffix == ".rwm":
            _require_parts("onnx")
            from robot_wm_sim.identification.plan_bundle import write_plan_bundle

            write_plan_bundle(path, made, env.agent_spec)
        else:
            made.write(path)
    result = {"plan": str(path), "duration_s": made.duration_s, "joints": list(made.joints)}
    emit(result, as_json=as_json, title=str(path))


def _hung(task: str, options: dict[str, Any], backend: str) -> RobotEnv:
    """The environment of a task's robot in the air; UserError for one that is not ours."""
    from robot_wm.tasks import make_env, parse_options
    from robot_wm_sim.env import RobotEnv
    from robot_wm_sim.identification.rig import hung_env

    if task.startswith("gym:"):
        raise UserError(f"task {task}: is not ours: its robot cannot be hung up")
    env = make_env(task, **{**parse_options(options), "backend": backend})
    assert isinstance(env.unwrapped, RobotEnv)
    try:
        return hung_env(env.unwrapped, backend=backend)
    finally:
        env.close()


def _line(one: Estimate) -> str:
    if not one.is_informed:
        return "not told by this log"
    return f"{one.value:.4g} ± {one.deviation:.2g} {one.parameter.unit}"
