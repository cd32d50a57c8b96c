"""Looks at a learner that change nothing of it: greedy episodes, audits, and pictures of what it predicts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from robot_wm.errors import StoppedError, UserError
from robot_wm.inspect.store_map import store_map
from robot_wm.learning.agent import Agent
from robot_wm.learning.batch import TensorBatch
from robot_wm.learning.learner import Learner
from robot_wm.raster import raster
from robot_wm.replay.mixture import Mixture
from robot_wm.replay.store import EpisodeStore
from robot_wm.spec import AgentSpec
from robot_wm.training.batched_evaluation import evaluate
from robot_wm.training.checkpoint import RunState
from robot_wm.training.config import TrainConfig
from robot_wm.training.film import write_film
from robot_wm.training.reality import look_at_reality
from robot_wm.training.scalars import Log
from robot_wm.training.stopping import StopRequest


def evaluated(agent: Agent, config: TrainConfig, stop: StopRequest, go_on: Callable[[], bool]) -> dict[str, Any] | None:
    """What `evaluate` finds; None where it was told to stop before it had a result."""
    try:
        with stop.bounded():
            return evaluate(
                agent,
                config.task,
                config.task_options,
                episodes=config.eval_episodes,
                longest=config.eval_episode_steps,
                go_on=go_on,
            )
    except StoppedError:
        return None


def log_audit(
    agent: Agent, store: EpisodeStore, state: RunState, log: Log, stop: StopRequest, go_on: Callable[[], bool]
) -> None:
    """Write what `look_at_reality` finds; no numbers where it was told to stop before it had any.

    Beside them comes the map of what the agent believed along the store's episodes, once there are some.
    """
    with suppress(UserError):
        figure = store_map(agent, state.agent_spec, store)
        if figure is not None:
            log.image(state.progress, "latents", raster(figure))
    with suppress(StoppedError), stop.bounded():
        log.scalars(state.progress, look_at_reality(agent, store, state, go_on=go_on))


def show_predictions(
    learner: Learner, drawn_from: Mixture, step: int, config: TrainConfig, spec: AgentSpec, log: Log
) -> None:
    """Write pictures and films of what the learner predicts of replayed windows, at policy step ``step``.

    Nothing where ``log`` is written by another rank.
    """
    if log.silent:
        return
    drawn = drawn_from.look(config.settings.batch_size, np.random.default_rng([config.seed, step]))
    pictures = learner.report(TensorBatch.from_numpy(drawn, learner.device), spec)
    for name, picture in pictures.stills.items():
        log.image(step, name, picture)
    for name, frames in pictures.films.items():
        path = config.folder / "open_loop" / f"{name}_{step:09d}.gif"
        write_film(path, frames, rate_hz=spec.control_rate_hz)
