"""Which weights follow which, and at what rate."""

import torch
from torch import nn

from robot_wm.learning.compute_copy import FlatAgent
from robot_wm.nn.layers import MLP


def test_averages_follow_what_the_caller_names_and_nothing_else_moves():
    agent = nn.ModuleDict({name: MLP(3, 4, 2) for name in ("slow", "source", "other", "still")})
    generator = torch.Generator().manual_seed(0)
    for name, part in agent.items():
        part.requires_grad_(name in ("source", "other"))
        for parameter in part.parameters():
            parameter.data.normal_(generator=generator)
    before = {name: p.detach().clone() for name, p in agent.named_parameters()}
    FlatAgent(agent, averages={"slow.": "source."}).average_slow(0.25)
    for name, after in agent.named_parameters():
        part, _, rest = name.partition(".")
        wanted = 0.75 * before[name] + 0.25 * before[f"source.{rest}"] if part == "slow" else before[name]
        torch.testing.assert_close(after, wanted)
