"""`robot-wm eval`: the return of a checkpoint, or of a bundle through the controller that runs on the robot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from robot_wm.console import emit, messages, progress
from robot_wm.errors import UserError
from robot_wm.evaluation.bounds import LONGEST_EPISODE_STEPS
from robot_wm.evaluation.seeds import EVALUATION_SEED
from robot_wm.evaluation.task_flags import short_options, told_of_world, with_latencies
from robot_wm.options import NotNegative, Positive, Seed, Which
from robot_wm.runtime.engines import EngineKind
from robot_wm.runtime.parity_section import Precision

if TYPE_CHECKING:
    from robot_wm.training.checkpoint import LoadedAgent


def evaluate_command(
    bundle: Path | None = None,
    *,
    checkpoint: Path | None = None,
    which: Which | None = None,
    task: str | None = None,
    option: dict[str, str] | None = None,
    backend: str | None = None,
    observation_latency_s: Annotated[float | None, NotNegative] = None,
    action_latency_s: Annotated[float | None, NotNegative] = None,
    episodes: Annotated[int, Positive] = 10,
    episode_steps: Annotated[int, Positive] = LONGEST_EPISODE_STEPS,
    seed: Seed | None = None,
    public_key: Path | None = None,
    engine: EngineKind = "onnx",
    precision: Precision = "fp32",
    planner: Annotated[bool, Parameter(negative="")] = False,
    force_planner: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Measure the return of greedy episodes with seeds that training does not use, and what the task tells of them.

    Figures are means weighted by the episodes' lengths in control steps; falls, where the task knows them, are counted
    by episode and by minute that a robot moved.

    Parameters
    ----------
    bundle
        Folder agent.rwm, agent.rwm.zip, or zoo:NAME (see `robot-wm zoo list`); computed by the runtime controller,
        safety filter included.
    checkpoint
        Folder of a run or of one checkpoint; computed by torch.
    which
        Of a run's checkpoints: best by evaluation (the newest where none was evaluated), or latest [default: best].
    task
        Task to run, by default the agent's own; it must have the same AgentSpec.
    option
        Options of the task, such as --option.observation both; by default those that it was trained with.
    backend
        Physics engine, short for --option.backend: pybullet or mujoco.
    observation_latency_s
        How old what the robot's sensors say is when the agent hears it, in seconds; short for a part of
        --option.sensor-model.
    action_latency_s
        From a command until the robot's drives hear it, in seconds; another part.
    episodes
        Episodes to run.
    episode_steps
        Control steps after which an episode is cut off, and counts as it stands then.
    seed
        Seeds the episodes [default: a fixed one that training does not use].
    public_key
        Ed25519 public key (PEM); a bundle that is not signed with its private half is refused.
    engine
        What computes a bundle's policy: onnx (CPU), or tensorrt (GPU; its engine is built first where it is missing).
    precision
        Of a bundle's graph: fp32, fp16 or int8; the bundle must have it.
    planner
        Let the bundle's planner choose every action, however long it thinks; the engine computes it, too.
    force_planner
        Also one that does not pay: with which the agent returned less at export than by its actor alone.
    json
        Print the result as one JSON object.
    """
    if (checkpoint is None) == (bundle is None):
        raise UserError("eval takes either a bundle or --checkpoint")
    if bundle is None and (engine, precision) != ("onnx", "fp32"):
        raise UserError("--engine and --precision: for --bundle only; torch computes a checkpoint")
    if (planner or force_planner) and bundle is None:
        raise UserError("--planner: of a bundle; a checkpoint has none")
    if which is not None and checkpoint is None:
        raise UserError(f"--which {which}: of a run's checkpoints; it goes with --checkpoint")
    options = with_latencies(option, observation_latency_s, action_latency_s)
    chosen = EVALUATION_SEED if seed is None else seed
    with progress() as bar:
        # Shown once something runs, so that a refusal stays one line.
        row = bar.add_task("evaluate", total=episodes, note="", visible=False)

        def done(count: int) -> None:
            bar.update(row, completed=count, visible=True)

        if checkpoint is not None:
            from robot_wm.training.checkpoint import load_agent

            loaded = load_agent(checkpoint, which or "best")
            loaded.tell_newer()
            result = _of_checkpoint(loaded, task, options, backend, episodes, episode_steps, chosen, done)
        else:
            assert bundle is not None
            result = evaluate_bundle(
                bundle,
                task=task,
                option=options,
                backend=backend,
                episodes=episodes,
                longest=episode_steps,
                seed=chosen,
                public_key=public_key,
                engine=engine,
                precision=precision,
                planner=planner or force_planner,
                force_planner=force_planner,
                done=done,
            )
    emit(result | told_of_world(options), as_json=json, title=str(checkpoint or bundle))
    if result["cut_off"]:
        told = f"{result['cut_off']} of {episodes} episodes had not ended after {episode_steps} steps and count as they"
        messages().print(f"{told} stood then; --episode-steps sets this limit, and the task's time_limit ends them")


def _of_checkpoint(
    loaded: LoadedAgent,
    task: str | None,
    option: Mapping[str, Any],
    backend: str | None,
    episodes: int,
    longest: int,
    seed: int,
    done: Callable[[int], None],
) -> dict[str, Any]:
    from robot_wm.spec import require_same
    from robot_wm.tasks import agent_spec, make_env, parse_options
    from robot_wm.training.batched_evaluation import evaluate

    config = loaded.state.config
    name = task or config.task
    options = (config.task_options if name == config.task else {}) | parse_options(option)
    options |= short_options(name, loaded.spec, option, backend=backend, command=None)
    env = make_env(name, render=False, **options)
    try:
        require_same(loaded.spec, agent_spec(env), origin=f"{loaded.path}: task {name}")
    finally:
        env.close()
    result = evaluate(loaded.agent, name, options, episodes=episodes, seed=seed, longest=longest, on_episode=done)
    trained = {"env_steps": loaded.state.env_steps, "updates": loaded.state.updates}
    return {"task": name, **result, **trained, "checkpoint": str(loaded.path)}


def evaluate_bundle(
    path: Path,
    *,
    task: str | None = None,
    option: Mapping[str, Any],
    backend: str | None = None,
    episodes: int,
    seed: int,
    longest: int = LONGEST_EPISODE_STEPS,
    public_key: Path | None = None,
    engine: EngineKind = "onnx",
    precision: Precision = "fp32",
    planner: bool = False,
    force_planner: bool = False,
    done: Callable[[int], None] = lambda count: None,
) -> dict[str, Any]:
    """Run a bundle's episodes as fast as they go; keys of `training.batched_evaluation.evaluate`, and latency in µs.

    ``env_steps`` are those that the agent had learned from, None where its bundle does not say.
    An episode of more than ``longest`` control steps counts as it stands then, and among those ``cut_off``.
    """
    from robot_wm.evaluation.playing import play

    finished: list[Any] = []

    def on_episode(result: Any) -> None:
        finished.append(result)
        done(len(finished))

    played = play(
        path,
        public_key,
        episodes=episodes,
        seed=seed,
        longest=longest,
        on_start=lambda: done(0),
        on_episode=on_episode,
        task=task,
        option=option,
        backend=backend,
        engine=engine,
        precision=precision,
        planner=planner,
        force_planner=force_planner,
    )
    result, it = played.result, played.by
    return {
        "task": it.task,
        "env_steps": it.env_steps,
        "return_mean": float(result.returns.mean()),
        "return_std": float(result.returns.std()),
        "success_rate": result.success_rate,
        "episodes": episodes,
        "cut_off": sum(episode.cut_off for episode in result.episodes),
        "backend": it.backend,
        "length_mean": sum(episode.ticks for episode in result.episodes) / episodes,
        "returns": [round(float(value), 3) for value in result.returns],
        **result.summary(),
        "p50_us": result.latency.p50_us,
        "p99_us": result.latency.p99_us,
        "engine": engine,
        "precision": precision,
        "planner": planner,
        "bundle": str(path),
    }
