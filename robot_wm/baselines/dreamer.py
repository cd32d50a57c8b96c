"""A run of our own agent, with the same curve as everybody else's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.baselines.curve import Curve
from robot_wm.baselines.trial import STARTS, TRIAL_SEED, Policy, WalkingTrials
from robot_wm.learning.agent import Agent
from robot_wm.spec import AgentSpec
from robot_wm.training.actor import Actor
from robot_wm.training.config import TrainConfig
from robot_wm.training.experience import Finished
from robot_wm.training.loop import Trainer
from robot_wm.training.transition import Transition


def train(config: TrainConfig, *, curve: Curve, trials: WalkingTrials | None) -> tuple[int, str]:
    """Train as `robot-wm train` does; returns the steps taken and what ended it ("signal" for Ctrl-C)."""
    trainer = Trainer(config)

    def tell(transition: Transition, finished: Sequence[Finished]) -> None:
        step = trainer.state.env_steps + transition.envs  # the trainer counts this transition after it is added
        for n, episode in zip(np.flatnonzero(transition.is_last), finished, strict=True):
            curve.episode(
                step,
                episode_return=episode.episode_return,
                length=episode.length,
                terminated=bool(transition.is_terminal[n]),
                figures=episode.figures,
            )

    def look(trainer: Trainer) -> None:
        if trials is not None and curve.trial_due(trainer.state.env_steps):
            curve.trial(trainer.state.env_steps, trials.run(greedy(trainer.agent, trainer.spec)))

    trainer.experience.listeners.append(tell)
    trainer.train(look)
    return trainer.state.env_steps, trainer.stopped_by


def greedy(agent: Agent, spec: AgentSpec, *, envs: int = STARTS) -> Policy:
    """The agent without noise, for one trial of ``envs`` robots side by side."""
    actor = Actor(agent, spec, envs=envs, seed=TRIAL_SEED, greedy=True)

    def act(obs: dict[str, NDArray[Any]], is_first: NDArray[np.bool_]) -> NDArray[np.float32]:
        return actor.act(obs, is_first).command

    return act
