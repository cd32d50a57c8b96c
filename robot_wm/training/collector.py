"""Where transitions come from, and the source of them that shares the learner's process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from robot_wm.learning.agent import Agent
from robot_wm.spec import AgentSpec
from robot_wm.training.actor import Actor
from robot_wm.training.env_pool import EnvPool
from robot_wm.training.random_actions import RandomActions
from robot_wm.training.transition import Transition


class Collector(Protocol):
    """A source of experience. The learner polls it, tells it of new weights and closes it."""

    def poll(self) -> list[Transition]:
        """Steps that have been finished since the last call, oldest first; may wait a little for the first one."""

    def publish(self, agent: Agent, *, policy: str, random: bool, steps_permitted: int) -> None:
        """Act with these weights from now on (``random``: uniformly); ``policy`` is the update that they are from.

        ``steps_permitted`` is how many policy steps the train ratio allows since this collector was started.
        """

    def rng_states(self) -> Sequence[torch.Tensor]:
        """States of the actors' noise, for a checkpoint, one an actor; none where nobody has acted."""

    def drain(self) -> list[Transition]:
        """Begin nothing more, and return what was under way and would be lost with `close`; waits a few seconds."""

    def close(self) -> None:
        """Stop the simulators; idempotent."""


class InlineCollector:
    """Steps the environments between two updates; simulators in other processes work while the learner does."""

    def __init__(
        self,
        pool: EnvPool,
        agent: Agent,
        *,
        seed: int,
        rng_states: Sequence[torch.Tensor] = (),
        random_actions: RandomActions | None = None,
    ) -> None:
        self._pool = pool
        self._actor = Actor(agent, pool.agent_spec, envs=pool.envs, seed=seed, random_actions=random_actions)
        for state in rng_states:
            self._actor.set_rng_state(state)
        self._stepper = Stepper(pool, self._actor)
        self._policy, self._random = "random", True

    def poll(self) -> list[Transition]:
        """Exactly one step of all environments."""
        return [self._stepper.step(policy=self._policy, random=self._random)]

    def publish(self, agent: Agent, *, policy: str, random: bool, steps_permitted: int) -> None:
        """The actor shares the learner's weights, so only the names change."""
        self._policy, self._random = policy, random

    def rng_states(self) -> list[torch.Tensor]:
        """State of the actor's noise."""
        return [self._actor.rng_state()]

    def drain(self) -> list[Transition]:
        """None: the step that the simulators are in is seen at the next call only."""
        return []

    def close(self) -> None:
        """Stop the simulators."""
        self._pool.close()


class Stepper:
    """Drives a pool with an actor, one transition a call.

    The action is sent before the transition is returned and its result is received at the next call, so simulator
    processes step while the caller learns. Its environments are streams from ``first_stream`` on.
    """

    def __init__(self, pool: EnvPool, actor: Actor, *, first_stream: int = 0) -> None:
        self._pool, self._actor, self._first_stream = pool, actor, first_stream
        self._spec: AgentSpec = pool.agent_spec
        self._pending = False

    def step(self, *, policy: str, random: bool) -> Transition:
        """One transition of all environments; rows whose episode has ended carry a zero action."""
        now = self._pool.recv() if self._pending else self._pool.reset()
        acted = self._actor.act(now.obs, now.is_first, random=random)
        if not np.isfinite(acted.command).all():
            raise RuntimeError(f"the actor's action is not finite: {acted.command[~np.isfinite(acted.command)][0]}")
        action = np.where(now.is_last[:, None], np.float32(0), acted.command)  # [N, A]
        transition = Transition(
            **vars(now),
            action=action,
            stored=acted.stored,
            policy="random" if random else policy,
            first_stream=self._first_stream,
        )
        self._pool.send(acted.command)
        self._pending = True
        return transition
