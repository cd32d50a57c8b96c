"""Searches in torch neither wait for a device nor mix devices: they run on meta tensors, which have no values.

A CUDA graph needs that, and so it can be seen without a GPU.
"""

import pytest
import torch
from tiny_model import TinyModel

from robot_wm.search.gumbel import gumbel_muzero_policy
from robot_wm.search.nodes import RecurrentOutput
from robot_wm.search.puct import muzero_policy
from robot_wm.search.sampled import SearchConfig, SearchNoise, noise_shapes, search
from robot_wm.search.tree import RootOutput

META = torch.device("meta")


def empty(*shape, dtype=torch.float32):
    return torch.empty(shape, dtype=dtype, device=META)


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("discrete", [False, True])
def test_a_sampled_search_needs_no_values(discrete, depth):
    model = TinyModel(0, discrete=discrete).to(META)
    config = SearchConfig(num_simulations=23, max_depth=depth)
    shapes = noise_shapes(config, batch=4, action_dim=3, discrete=discrete)
    noise = SearchNoise(**{"root": None, "interior": None} | {name: empty(*shape) for name, shape in shapes.items()})
    out = search(model, empty(4, 6), noise, config, invalid_actions=empty(*noise.gumbel.shape, dtype=torch.bool))
    assert out.action.device == out.visits.device == META


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("policy", [gumbel_muzero_policy, muzero_policy])
def test_a_tree_search_needs_no_values(policy, masked):
    def recurrent_fn(action, embedding):
        return RecurrentOutput(empty(4), empty(4), empty(4, 5), empty(4)), embedding + 1

    noise = {"gumbel": empty(4, 5)} | ({"dirichlet": empty(4, 5)} if policy is muzero_policy else {})
    root = RootOutput(empty(4, 5), empty(4), empty(4, 6))
    out = policy(root, recurrent_fn, 12, empty(4, 5, dtype=torch.bool) if masked else None, 3, **noise)
    assert out.action.device == out.search_tree.children_visits.device == META
