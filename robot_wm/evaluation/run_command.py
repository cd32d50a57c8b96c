"""`robot-wm run`: a bundle drives its simulated robot in closed loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from robot_wm.console import emit, messages, progress
from robot_wm.errors import UserError
from robot_wm.runtime.engines import EngineKind
from robot_wm.runtime.manifest import Precision

if TYPE_CHECKING:
    from robot_wm.evaluation.closed_loop import Env, OnTick
    from robot_wm.runtime.controller import Command

Positive = Parameter(validator=Number(gt=0))
NotNegative = Parameter(validator=Number(gte=0))

_VIDEO_FPS = 25.0


def run(
    *,
    bundle: Path,
    task: str | None = None,
    option: dict[str, str] | None = None,
    episodes: Annotated[int, Positive] = 1,
    seconds: Annotated[float | None, Positive] = None,
    realtime: bool | None = None,
    public_key: Path | None = None,
    seed: Annotated[int, NotNegative] = 0,
    sample: Annotated[bool, Parameter(negative="")] = False,
    soft_start_s: Annotated[float, NotNegative] = 0.0,
    surprise_limit_nats: Annotated[float | None, Positive] = None,
    engine: EngineKind = "onnx",
    precision: Precision = "fp32",
    video: Path | None = None,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Drive a simulated robot with a bundle, through the controller that runs on the real one.

    Parameters
    ----------
    bundle
        Folder agent.rwm, or agent.rwm.zip.
    task
        Task to run, by default the bundle's own; it must have the same AgentSpec.
    option
        Options of the task, such as --option.backend mujoco; by default those that it was trained with.
    episodes
        Episodes to run.
    seconds
        Longest episode, in seconds of simulated time; by default the task's own limit.
    realtime
        Pace the ticks at the control rate. Default: yes, unless a video is made, which takes longer than real time.
    public_key
        Ed25519 public key (PEM); a bundle that is not signed with its private half is refused.
    seed
        Episode i is seeded with seed + i.
    sample
        Draw latents and actions as in training, instead of the most likely ones.
    soft_start_s
        Time in which commands blend from the robot's position to the policy's, in seconds.
    surprise_limit_nats
        Hold, then damp, once the surprise stays above this, in nats; by default surprise is only reported.
    engine
        What computes the policy: onnx (CPU), or tensorrt (GPU; its engine is built first where it is missing).
    precision
        Of the policy's graph: fp32, fp16 or int8; the bundle must have it.
    video
        File to write a video of the episodes to (.mp4).
    json
        Print the result as one JSON object.
    """
    from robot_wm.evaluation.closed_loop import run_closed_loop
    from robot_wm.runtime.bundle import Bundle
    from robot_wm.runtime.engines import make_engine
    from robot_wm.runtime.safety import SafetyConfig
    from robot_wm.runtime.start import start_controller
    from robot_wm.spec import require_same
    from robot_wm.tasks import agent_spec, backend_name, make_env, parse_options

    if video is not None and video.suffix != ".mp4":
        raise UserError(f"--video: {video}: a file name ending in .mp4 is needed")
    paced = video is None if realtime is None else realtime
    config = SafetyConfig(soft_start_s=soft_start_s, surprise_limit_nats=surprise_limit_nats)
    with Bundle.open(bundle, public_key) as opened:
        task = task or opened.spec.task
        options = task_options(opened.manifest.lineage.config, task) | parse_options(option or {})
        env = make_env(task, seed=seed, render=video is not None, **options)
        try:
            require_same(opened.spec, agent_spec(env), origin=f"{bundle}: task {task}")
            controller = start_controller(
                opened,
                engine=make_engine(engine, opened, precision=precision),
                precision=precision,
                config=config,
                noise_seed=seed if sample else None,
            )
            frames = _video(video, opened.spec.control_rate_hz) if video is not None else nullcontext(None)
            with controller, frames as on_tick, progress() as bar:
                row = bar.add_task(f"run {task}", total=episodes, note="")
                result = run_closed_loop(
                    controller,
                    env,
                    episodes=episodes,
                    realtime=paced,
                    max_episode_s=seconds,
                    seed=seed,
                    on_tick=on_tick,
                    on_episode=lambda episode: bar.update(
                        row, advance=1, note=f"return {episode.episode_return:.1f}, {episode.ticks} ticks"
                    ),
                )
        finally:
            env.close()
    figures = result.as_dict() | {"backend": backend_name(task, options), "bundle": str(bundle)}
    if not json:
        figures.pop("latency_histogram")
    emit(figures, as_json=json, title=f"{task} driven by {bundle.name}")
    if video is not None:
        messages().print(f"video: {video}")


def task_options(config: object, task: str) -> dict[str, str | int | float | bool]:
    """Options of the task that a bundle's lineage says it was trained with; none for another task."""
    if not isinstance(config, dict) or config.get("task") != task:
        return {}
    options = config.get("task_options")
    return dict(options) if isinstance(options, dict) else {}


@contextmanager
def _video(path: Path, control_rate_hz: float) -> Iterator[OnTick]:
    """Append the environment's picture every few ticks; the file appears when all is written."""
    try:
        import imageio
    except ImportError:
        raise UserError("--video needs imageio: pip install 'robot-wm[train]'") from None

    from robot_wm.atomic import atomic_file

    every = max(1, round(control_rate_hz / _VIDEO_FPS))
    with atomic_file(path) as temporary:
        named = temporary.with_suffix(".mp4")  # imageio knows a format by its suffix alone
        writer: Any = imageio.get_writer(named, fps=control_rate_hz / every)
        try:
            with writer:

                def on_tick(command: Command, env: Env) -> None:
                    if command.tick % every == 0:
                        writer.append_data(env.render())

                yield on_tick
            named.replace(temporary)
        finally:
            named.unlink(missing_ok=True)
