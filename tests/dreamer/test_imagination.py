"""The packed, block-wise recurrent steps against the modules, one step and twenty updates at a time."""

import pytest
import torch

from robot_wm.dreamer.behavior import imagine
from robot_wm.nn import packed_gru

SHAPES = [{"deter": 16}, {"deter": 520, "hidden": 4}]


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=["narrow", "wide"])
@torch.no_grad()
def test_imagined_steps_are_the_modules(workshop, shape, discrete):
    learner = workshop.awake(discrete=discrete, **shape)
    agent, deter = learner.agent, shape["deter"]
    g = torch.Generator().manual_seed(3)
    for parameter in agent.rssm.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=g) * 0.2)
    noise = learner.draw_noise(workshop.batch(learner))
    feature = torch.rand(noise.action.shape[1], deter + 12, generator=g) - 0.5
    seen = imagine(agent, feature, noise)
    for t in range(learner.config.horizon):
        torch.testing.assert_close(seen.feature[t], feature)
        action = agent.actor(feature).sample(noise.action[t])
        torch.testing.assert_close(seen.action[t], action)
        feature = torch.cat(agent.advance(feature[:, :deter], feature[:, deter:], action, noise.prior[t]), -1)
    torch.testing.assert_close(seen.feature[-1], feature)


def test_blocks_learn_as_a_dense_matrix_does(workshop, monkeypatch):
    def learnt(dense_up_to):
        monkeypatch.setattr(packed_gru, "_DENSE_DETER_CPU", dense_up_to)
        learner = workshop.learner(learning_rate=1e-3)
        for seed in range(20):
            learner.update(workshop.batch(learner, seed=seed, first=0.1))
        return {name: p.detach().clone() for name, p in learner.agent.named_parameters()}

    dense, blocks = learnt(dense_up_to=16), learnt(dense_up_to=0)
    assert any(not torch.equal(dense[name], blocks[name]) for name in dense)  # two ways, or nothing is compared
    for name in dense:
        torch.testing.assert_close(
            blocks[name], dense[name], rtol=1e-3, atol=2e-5, msg=lambda m, name=name: f"{name}: {m}"
        )
