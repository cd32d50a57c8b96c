"""An agent whose reward and critic say something, and its tick's recording."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.muzero.agent import MuZeroAgent
from robot_wm.runtime.parity_recording import Recording
from robot_wm.runtime.parity_section import ParityThresholds
from robot_wm_export.torch_parity import run_torch

Agent = DreamerAgent | MuZeroAgent


def taught(agent: Agent) -> Agent:
    """Rewards and values of the order of one, as after training."""
    generator = torch.Generator().manual_seed(3)
    bins = agent.config.bins
    far = (torch.arange(bins) - bins // 2).abs() / (bins // 2)
    is_muzero = isinstance(agent, MuZeroAgent)
    heads = (agent.model.dynamics.reward, agent.model.critic) if is_muzero else (agent.reward, agent.critic)
    with torch.no_grad():
        for head in heads:
            head.out.weight.normal_(std=0.2, generator=generator)
            head.out.bias.copy_(-40.0 * far)
    return agent


@pytest.fixture(scope="session")
def teach() -> Callable[[Agent], Agent]:
    """Make a new agent's reward and critic say something."""
    return taught


@pytest.fixture(scope="session")
def make_planned(make_case) -> Callable[[str], tuple[Agent, Recording]]:
    """An agent of a kind, anew at every call, and 256 of its ticks."""

    def make(kind: str) -> tuple[Agent, Recording]:
        case = make_case(kind)
        taught(case.agent)
        return case.agent, run_torch(case.graph, case.rollout, ParityThresholds())

    return make
