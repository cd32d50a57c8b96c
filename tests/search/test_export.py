"""A whole search is one graph without Loop or If, and says in ONNX Runtime what it says here."""

import dataclasses
from functools import partial

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tiny_model import TinyModel

from robot_wm.search.gumbel import gumbel_muzero_policy
from robot_wm.search.nodes import RecurrentOutput
from robot_wm.search.puct import muzero_policy
from robot_wm.search.sampled import SearchConfig, SearchNoise, SearchOutput, draw_noise, search
from robot_wm.search.tree import RootOutput


class Sampled(torch.nn.Module):
    def __init__(self, discrete, root_policy):
        super().__init__()
        self.config = SearchConfig(num_simulations=8, max_depth=3, root_actions=4, root_policy=root_policy)
        self.model = TinyModel(3, discrete=discrete)

    def forward(self, latent, *noise):
        out = search(self.model, latent, SearchNoise(*noise, *(None,) * (3 - len(noise))), self.config)
        return tuple(getattr(out, field.name) for field in dataclasses.fields(SearchOutput))


class Tree(torch.nn.Module):
    """Either of mctx's, over discrete actions."""

    def __init__(self, policy):
        super().__init__()
        self.model, self.policy = TinyModel(3, action_dim=4, discrete=True), policy

    def forward(self, latent, gumbel):
        def recurrent_fn(action, embedding):
            step = self.model.step(embedding, torch.eye(4).index_select(0, action))
            prior, value = step.prediction.policy.first, step.prediction.value
            return RecurrentOutput(step.reward, step.discount, prior, value), step.latent

        prior, value = self.model.predict(latent)
        root = RootOutput(prior.first, value, latent)
        out = self.policy(root, recurrent_fn, 8, max_depth=3, gumbel=gumbel)
        tree = out.search_tree
        return out.action, out.action_weights, tree.children_visits, tree.children_index, tree.node_values, tree.parents


def graph(module, inputs, folder):
    """(nodes by type, session) of an export."""
    path = folder / "search.onnx"
    names = [f"in{place}" for place in range(len(inputs))]
    torch.onnx.export(module.eval(), inputs, path, opset_version=17, dynamo=False, input_names=names)
    return {node.op_type for node in onnx.load(path).graph.node}, onnxruntime.InferenceSession(path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("kind", ["continuous", "policy_only", "discrete", "gumbel", "muzero"])
def test_a_search_is_one_graph(kind, tmp_path):
    draw = torch.Generator().manual_seed(0)
    latents = torch.randn(5, 1, 6, generator=draw)
    if kind not in ("gumbel", "muzero"):
        module = Sampled(kind == "discrete", 4 if kind == "policy_only" else 2)
        noises = [
            draw_noise(module.config, batch=1, action_dim=3, discrete=kind == "discrete", generator=draw)
            for _ in latents
        ]
        noises = [tuple(part for part in noise if part is not None) for noise in noises]
    else:
        module = Tree(gumbel_muzero_policy if kind == "gumbel" else partial(muzero_policy, dirichlet_fraction=0.0))
        noises = [(torch.randn(1, 4, generator=draw),) for _ in latents]
    nodes, session = graph(module, (latents[0], *noises[0]), tmp_path)
    assert not nodes & {"Loop", "If", "Scan", "SequenceConstruct"}
    for latent, noise in zip(latents, noises, strict=True):
        want = module(latent, *noise)
        inputs = (latent, *noise)
        got = session.run(None, {f"in{place}": part.numpy() for place, part in enumerate(inputs)})
        for one, other in zip(want, got, strict=True):
            np.testing.assert_allclose(one.numpy(), other, atol=1e-5)
