"""The scan's written-out gradient against autograd through the modules."""

import pytest
import torch
from torch.nn import functional as F

from robot_wm.dreamer.world_model import observe
from robot_wm.nn.categorical import sample


def by_autograd(learner, batch, exp_gumbel):
    """The same filter, one module call a step, with straight-through samples."""
    agent, config = learner.agent, learner.config
    embedding = agent.encoder({n: v[:, 1:].flatten(0, 1) for n, v in batch.obs.items()}, torch.float32)
    embedding = embedding.unflatten(0, batch.reward[:, 1:].shape)
    deter = batch.stored["deter"]
    stoch = F.one_hot(batch.stored["stoch"].long(), config.classes).float().flatten(1)
    features, probs = [], []
    for t in range(1, batch.reward.shape[1]):
        keep = 1.0 - batch.is_first[:, t, None].float()
        deter = agent.rssm.gru(deter * keep, stoch * keep, batch.action[:, t - 1] * keep)
        p = agent.rssm.posterior_probs(deter, embedding[:, t - 1])
        stoch = (sample(p.detach(), exp_gumbel[t - 1]) + p - p.detach()).flatten(1)
        features.append(torch.cat([deter, stoch], -1))
        probs.append(p)
    return torch.stack(features), torch.stack(probs)


@pytest.mark.parametrize("shape", [{"deter": 16}, {"deter": 520, "hidden": 4}], ids=["dense", "blocks"])
def test_values_and_gradients_are_autograds(workshop, shape):
    learner = workshop.learner(**shape)
    g = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in learner.agent.rssm.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=g) * 0.2)
    batch = workshop.batch(learner, size=4, length=9, first=0.2)
    exp_gumbel = learner.draw_noise(batch).posterior
    parameters = [p for m in (learner.agent.encoder, learner.agent.rssm) for p in m.parameters()]
    names = [n for m in (learner.agent.encoder, learner.agent.rssm) for n, _ in m.named_parameters()]
    scan = observe(learner.agent, batch, exp_gumbel)
    wanted = by_autograd(learner, batch, exp_gumbel)
    weights = [torch.randn(w.shape, generator=g) for w in wanted]
    grads = []
    for outputs in ((scan.feature, scan.probs), wanted):
        for got, want in zip(outputs, wanted, strict=True):
            torch.testing.assert_close(got, want)
        grads.append(torch.autograd.grad(outputs, parameters, weights, allow_unused=True))
    for name, got, want in zip(names, *grads, strict=True):
        if name.startswith("prior"):
            assert got is None
        else:
            torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4, msg=lambda m, name=name: f"{name}: {m}")
            assert want.abs().max() > 1e-3
    picked = scan.feature[..., learner.config.deter :].detach().unflatten(-1, (4, 3)).argmax(-1)
    assert torch.equal(scan.classes.long(), picked)
