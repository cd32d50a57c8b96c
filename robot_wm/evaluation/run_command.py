"""`robot-wm run`: a bundle drives its simulated robot in closed loop."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from robot_wm.console import emit, messages, progress
from robot_wm.errors import UserError
from robot_wm.evaluation.task_flags import told_of_world, with_latencies
from robot_wm.options import NotNegative, Positive, Seed
from robot_wm.runtime.engines import EngineKind
from robot_wm.runtime.parity_section import Precision


def run(
    bundle: Path,
    *,
    task: str | None = None,
    option: dict[str, str] | None = None,
    backend: str | None = None,
    observation_latency_s: Annotated[float | None, NotNegative] = None,
    action_latency_s: Annotated[float | None, NotNegative] = None,
    command: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    episodes: Annotated[int, Positive] = 1,
    seconds: Annotated[float | None, Positive] = None,
    realtime: bool | None = None,
    public_key: Path | None = None,
    seed: Seed = 0,
    sample: Annotated[bool, Parameter(negative="")] = False,
    soft_start_s: Annotated[float, NotNegative] = 0.0,
    surprise_limit: Annotated[float | None, Positive] = None,
    engine: EngineKind = "onnx",
    precision: Precision = "fp32",
    gui: Annotated[bool, Parameter(negative="")] = False,
    video: Path | None = None,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Drive a simulated robot with a bundle, through the controller that runs on the real one.

    Parameters
    ----------
    bundle
        Folder agent.rwm, agent.rwm.zip, or zoo:NAME (see `robot-wm zoo list`).
    task
        Task to run, by default the bundle's own; it must have the same AgentSpec.
    option
        Options of the task, such as --option.observation both; by default those that it was trained with.
    backend
        Physics engine, short for --option.backend: pybullet or mujoco.
    observation_latency_s
        How old what the robot's sensors say is when the agent hears it, in seconds; short for a part of
        --option.sensor-model.
    action_latency_s
        From a command until the robot's drives hear it, in seconds; another part.
    command
        What the operator wants for whole episodes, short for --option.command: 0.5,0,0 lets a walking robot walk
        0.5 m/s ahead, 0 m/s to the left, and turn at 0 rad/s. By default the task draws commands.
    episodes
        Episodes to run.
    seconds
        Longest episode, in seconds of simulated time; by default the task's own limit, and without one until Ctrl-C.
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
    surprise_limit
        Hold, then damp, once the surprise stays above this, in the agent's unit (dreamer: nats); by default surprise
        is only reported.
    engine
        What computes the policy: onnx (CPU), or tensorrt (GPU; its engine is built first where it is missing).
    precision
        Of the policy's graph: fp32, fp16 or int8; the bundle must have it.
    gui
        Show the robot in a window of PyBullet's, whichever engine computes it; Escape there ends the run.
    video
        File to write a video of the episodes to (.mp4).
    json
        Print the result as one JSON object.
    """
    from gymnasium.wrappers import RecordEpisodeStatistics

    from robot_wm.evaluation.closed_loop import OnTick, run_closed_loop
    from robot_wm.evaluation.driven import driven
    from robot_wm.evaluation.video import check_video, film
    from robot_wm.runtime.safety import SafetyConfig

    if video is not None:
        if gui:
            raise UserError("--gui and --video: one at a time")
        check_video(video)
    options = with_latencies(option, observation_latency_s, action_latency_s)
    paced = video is None if realtime is None else realtime
    robot = driven(
        bundle,
        public_key,
        config=SafetyConfig(soft_start_s=soft_start_s, surprise_limit=surprise_limit),
        task=task,
        option=options,
        backend=backend,
        command=command,
        seed=seed,
        render="window" if gui else video is not None,
        engine=engine,
        precision=precision,
        noise_seed=seed if sample else None,
    )
    with robot as it:
        env = it.env
        frames: AbstractContextManager[OnTick | None] = nullcontext(None)
        if video is not None:
            env = RecordEpisodeStatistics(env)
            frames = film(video, env, control_rate_hz=it.controller.spec.control_rate_hz)
        with frames as on_tick, progress() as bar:
            row = bar.add_task(f"run {it.task}", total=episodes, note="")
            result = run_closed_loop(
                it.controller,
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
    figures = result.as_dict() | {
        "surprise_unit": it.controller.manifest.surprise_unit,
        "backend": it.backend,
        "bundle": str(bundle),
        **told_of_world(options),
    }
    if not json:
        figures.pop("latency_histogram")
    emit(figures, as_json=json, title=f"{it.task} driven by {bundle.name}")
    if video is not None:
        messages().print(f"video: {video}")
