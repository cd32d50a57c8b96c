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

# The optimiser's moments, and the running scale of returns, are not kept with weights and begin at zero: an actor that
# moved at once would take steps as large as its advantages were undivided. They settle within this many updates.
SETTLING_UPDATES = 300
# Reward units a nat. Of zoo:a1_velocity, 80 updates on, members disagree by 0.33 nats about the actions that were
# taken, by 0.48 about such with noise of 0.3, by 1.57 about uniform ones, and a step earns some 1.1.
PESSIMISM = 0.5


def _make_agent(config: DreamerConfig, spec: AgentSpec) -> DreamerAgent:
    from robot_wm.dreamer.agent import DreamerAgent

    return DreamerAgent(config, spec.model_inputs(), spec.action_dim, spec.action.is_discrete)


def _make_learner(agent: DreamerAgent, config: DreamerConfig, device: torch.device, seed: int) -> DreamerLearner:
    from robot_wm.dreamer.learner import DreamerLearner

    return DreamerLearner(agent, config, device, seed=seed)


DREAMER = AgentKind(
    name="dreamer",
    config=DreamerConfig,
    shapes=_SHAPES,
    make_agent=_make_agent,
    make_learner=_make_learner,
    adapting={
        "warmup": SETTLING_UPDATES // 3,
        "actor_start": SETTLING_UPDATES,
        "actor_warmup": SETTLING_UPDATES,
        "pessimism": PESSIMISM,
    },
)
