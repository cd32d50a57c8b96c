"""An agent whose reward and critic say something, and its tick's recording."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.runtime.parity_recording import Recording
from robot_wm.runtime.parity_section import ParityThresholds
from robot_wm_export.torch_parity import run_torch


def taught(agent: DreamerAgent) -> DreamerAgent:
    """Rewards and values of the order of one, as after training."""
    generator = torch.Generator().manual_seed(3)
    bins = agent.config.bins
    far = (torch.arange(bins) - bins // 2).abs() / (bins // 2)
    with torch.no_grad():
        for head in (agent.reward, agent.critic):
            head.out.weight.normal_(std=0.2, generator=generator)
            head.out.bias.copy_(-40.0 * far)
    return agent


@pytest.fixture(scope="session")
def teach() -> Callable[[DreamerAgent], DreamerAgent]:
    """Make a new agent's reward and critic say something."""
    return taught


@pytest.fixture(scope="session")
def make_planned(make_case) -> Callable[[str], tuple[DreamerAgent, Recording]]:
    """An agent of a kind, anew at every call, and 256 of its ticks."""

    def make(kind: str) -> tuple[DreamerAgent, Recording]:
        case = make_case(kind)
        taught(case.agent)
        return case.agent, run_torch(case.graph, case.rollout, ParityThresholds())

    return make
