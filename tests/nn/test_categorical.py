"""Unimix, sampling and KL of categorical groups against torch.distributions and written-out sums."""

import math

import torch
from torch.distributions import Categorical, kl_divergence

from robot_wm.nn.categorical import kl, one_hot, sample, unimix_probs


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_unimix_is_one_percent_uniform():
    probs = unimix_probs(torch.tensor([[100.0, 0.0, 0.0, 0.0]]), 0.01)
    torch.testing.assert_close(probs, torch.tensor([[0.9925, 0.0025, 0.0025, 0.0025]]))


def test_kl_written_out_by_hand():
    left, right = torch.tensor([[0.5, 0.5], [0.9, 0.1]]), torch.tensor([[0.25, 0.75], [0.5, 0.5]])  # [S=2, C=2]
    expected = 0.5 * math.log(2) + 0.5 * math.log(2 / 3) + 0.9 * math.log(1.8) + 0.1 * math.log(0.2)
    assert math.isclose(kl(left.log(), right.log()).item(), expected, rel_tol=1e-6)


def test_kl_of_unimixed_logits_is_that_of_torch():
    a, b = 5 * torch.randn(2, 3, 6, 4, generator=generator()).double()
    left, right = unimix_probs(a, 0.01), unimix_probs(b, 0.01)
    mixed = [Categorical(probs=0.99 * torch.softmax(x.float(), -1) + 0.01 / 4) for x in (a, b)]
    torch.testing.assert_close(kl(left.log(), right.log()), kl_divergence(*mixed).sum(-1))
    unmixed = kl_divergence(Categorical(logits=a), Categorical(logits=b)).sum(-1)
    assert (kl(left.log(), right.log()) < unmixed.float()).all()  # without unimix it would be larger: not the same


def test_zero_gumbel_is_the_mode_and_ties_go_first():
    probs = torch.tensor([[0.2, 0.5, 0.3], [0.25, 0.375, 0.375], [1 / 3, 1 / 3, 1 / 3]])
    assert sample(probs, torch.ones_like(probs)).argmax(-1).tolist() == [1, 1, 0]


def test_samples_follow_the_probabilities():
    probs = torch.tensor([0.6, 0.3, 0.09, 0.01]).expand(40_000, 4)
    gumbel = -torch.log(-torch.log(torch.rand(probs.shape, generator=generator()).clamp(min=1e-12)))
    drawn = sample(probs, gumbel.exp())
    assert torch.equal(drawn.sum(-1), torch.ones(40_000))
    torch.testing.assert_close(drawn.mean(0), probs[0], atol=0.01, rtol=0)


def test_one_hot():
    assert one_hot(torch.tensor([2, 0]), 3, torch.float32).tolist() == [[0, 0, 1], [1, 0, 0]]
