"""``robot-wm bench checkpoint``: what a checkpoint of a long run writes, and how long that and a restart take."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from cyclopts import Parameter

from robot_wm.agents import DEFAULT, agent_kind
from robot_wm.console import emit, progress
from robot_wm.options import Positive


def bench_checkpoint(
    *,
    task: str = "a1_velocity",
    size: str = "12m",
    steps: Annotated[int, Positive] = 50_000,
    train_ratio: Annotated[float, Positive] = 64.0,
    every_steps: Annotated[int, Positive] = 10_000,
    envs: Annotated[int, Positive] = 16,
    episode_steps: Annotated[int, Positive] = 1000,
    checkpoints: Annotated[int, Positive] = 4,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Time the replay's part of a run's checkpoints, written below the working directory: synthetic steps and latents,
    no simulator, no learner, a full ring.

    Between two checkpoints new steps replace the oldest, and as many windows as the train ratio asks for are rewritten,
    drawn uniformly. The first checkpoint has every latent to write; of the later ones these are means. ``whole`` is all
    in one file, as older versions wrote it each time.

    Parameters
    ----------
    task
        Task whose observations and actions the steps have, see `robot-wm tasks`.
    size
        Model size, which says how wide the latents are.
    steps
        Steps that the replay in memory holds, all environments together.
    train_ratio
        Replayed steps per policy step: how many latents are rewritten between two checkpoints.
    every_steps
        Policy steps between two checkpoints.
    envs
        Environments, each with its own stream of steps.
    episode_steps
        Steps of an episode, the reset included.
    checkpoints
        Checkpoints after the first.
    json
        Print one JSON object.
    """
    from robot_wm.training.config import TrainConfig
    from robot_wm_bench.checkpointed_run import CheckpointedRun

    with TemporaryDirectory(prefix="robot-wm-bench-", dir=Path.cwd()) as folder, progress() as bar:
        settings = agent_kind(DEFAULT).config(size=size)
        config = TrainConfig(task=task, run_dir=Path(folder) / "run", envs=envs, settings=settings)
        run = CheckpointedRun(config, capacity_steps=steps, episode_steps=episode_steps)
        result = run.measure(bar, every_steps, round(every_steps * train_ratio / settings.batch_length), checkpoints)
        asked = {"task": task, "size": size, "steps": steps, "train_ratio": train_ratio, "every_steps": every_steps}
        result |= asked | {"envs": envs, "episode_steps": episode_steps, "checkpoints": checkpoints}
    emit(result, as_json=json, title="The replay of a checkpoint")
