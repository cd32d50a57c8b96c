"""Which collector a run has."""

from __future__ import annotations

import torch

from robot_wm.learning.agent import Agent
from robot_wm.spec import AgentSpec
from robot_wm.training.actor_process import ProcessCollector
from robot_wm.training.collector import Collector, InlineCollector
from robot_wm.training.config import TrainConfig
from robot_wm.training.env_pool import EnvPool
from robot_wm.training.offline import NoCollector
from robot_wm.training.random_actions import RandomActions


def make_collector(
    config: TrainConfig, spec: AgentSpec, agent: Agent, *, seed: int, rng_state: torch.Tensor | None
) -> Collector:
    """Simulators and an actor as ``config`` asks for, seeded by ``seed``; the actor's noise goes on from a state."""
    if config.offline:
        return NoCollector(rng_state)
    if config.actor == "process":
        return ProcessCollector(config, spec, agent, seed=seed, rng_state=rng_state)
    pool = EnvPool(config.task, dict(config.task_options), envs=config.envs, processes=config.processes, seed=seed)
    random_actions = RandomActions.told(config, pool.agent_spec)
    return InlineCollector(pool, agent, seed=seed, rng_state=rng_state, random_actions=random_actions)
