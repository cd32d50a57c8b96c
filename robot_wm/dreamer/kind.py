"""Dreamer as a kind of agent. No torch is imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robot_wm.agents import AgentKind
from robot_wm.dreamer.config import DreamerConfig
from robot_wm.spec import AgentSpec

if TYPE_CHECKING:
    import torch

    from robot_wm.dreamer.agent import DreamerAgent
    from robot_wm.dreamer.learner import DreamerLearner

_SHAPES = frozenset(
    (
        *("size", "deter", "hidden", "stoch", "classes", "depth", "units", "blocks"),
        *("prior_layers", "encoder_layers", "decoder_layers", "reward_layers", "continue_layers"),
        *("actor_layers", "critic_layers", "image_multipliers", "image_kernel", "bins"),
        *("unimix", "actor_scale", "min_std", "max_std"),  # of what the weights mean, and began as
    )
)


def _make_agent(config: DreamerConfig, spec: AgentSpec) -> DreamerAgent:
    from robot_wm.dreamer.agent import DreamerAgent

    return DreamerAgent(config, spec.model_inputs(), spec.action_dim, spec.action.is_discrete)


def _make_learner(agent: DreamerAgent, config: DreamerConfig, device: torch.device, seed: int) -> DreamerLearner:
    from robot_wm.dreamer.learner import DreamerLearner

    return DreamerLearner(agent, config, device, seed=seed)


DREAMER = AgentKind(
    name="dreamer", config=DreamerConfig, shapes=_SHAPES, make_agent=_make_agent, make_learner=_make_learner
)
