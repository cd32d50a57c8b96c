"""Which collector a run has."""

from __future__ import annotations

from collections.abc import Sequence

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
    config: TrainConfig, spec: AgentSpec, agent: Agent, *, seed: int, rng_states: Sequence[torch.Tensor]
) -> Collector:
    """Simulators and actors as ``config`` asks for, seeded by ``seed``; the actors' noise goes on from its states."""
    if config.offline:
        return NoCollector(rng_states)
    if config.actor == "process":
        return ProcessCollector(config, spec, agent, seed=seed, rng_states=rng_states)
    if config.actor == "ray":
        from robot_wm.training.cluster.collector import RayCollector

        return RayCollector(config, spec, agent, seed=seed, rng_states=rng_states)
    pool = EnvPool(config.task, dict(config.task_options), envs=config.envs, processes=config.processes, seed=seed)
    random_actions = RandomActions.told(config, pool.agent_spec)
    return InlineCollector(pool, agent, seed=seed, rng_states=rng_states, random_actions=random_actions)
