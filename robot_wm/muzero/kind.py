"""MuZero as a kind of agent. No torch is imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robot_wm.agents import AgentKind
from robot_wm.muzero.config import MuZeroConfig
from robot_wm.spec import AgentSpec

if TYPE_CHECKING:
    import torch

    from robot_wm.learning.learner import Learner
    from robot_wm.muzero.agent import MuZeroAgent

_SHAPES = frozenset(
    (
        *("size", "latent", "units", "depth", "projection_units", "projection"),
        *("layers", "reward_layers", "simplex", "image_multipliers", "image_kernel"),
        *("bins", "reward_support", "value_support", "policy_scale", "min_std", "max_std"),  # what weights mean
        *("num_simulations", "root_actions"),  # what is stored beside a step
    )
)


def _make_agent(config: MuZeroConfig, spec: AgentSpec) -> MuZeroAgent:
    from robot_wm.muzero.agent import MuZeroAgent

    return MuZeroAgent(config, spec.model_inputs(), spec.action_dim, spec.action.is_discrete)


def _make_learner(agent: MuZeroAgent, config: MuZeroConfig, device: torch.device, seed: int) -> Learner:
    from robot_wm.muzero.learner import MuZeroLearner

    return MuZeroLearner(agent, config, device, seed=seed)


MUZERO = AgentKind(
    name="muzero",
    config=MuZeroConfig,
    shapes=_SHAPES,
    make_agent=_make_agent,
    make_learner=_make_learner,
    adapting={"warmup": 100},  # the optimiser's moments, which are not kept with weights, settle meanwhile
)
