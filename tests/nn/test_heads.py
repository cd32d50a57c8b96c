"""Heads on the latent feature."""

import pytest
import torch
from torch import distributions

from robot_wm.nn.heads import Policy, ScalarHead
from robot_wm.nn.layers import initialise
from robot_wm.nn.twohot import TwoHot


def test_even_logits_add_a_bin_of_no_probability():
    generator = torch.Generator().manual_seed(0)
    head = ScalarHead(16 + 12, units=8, layers=3, twohot=TwoHot(31))
    initialise(head, generator)
    with torch.no_grad():
        head.out.weight.normal_(0, 0.3, generator=generator)
    feature = torch.randn(5, 16 + 12)
    even = head.even_logits(feature)
    torch.testing.assert_close(even[:, :-1], head(feature))
    assert even[:, -1].tolist() == [-torch.inf] * 5
    torch.testing.assert_close(head.mean(feature), head.twohot.mean(head(feature)))
    (grad,) = torch.autograd.grad(head.twohot.loss(even, torch.ones(5)).sum(), head.out.weight, retain_graph=True)
    (want,) = torch.autograd.grad(head.twohot.loss(head(feature), torch.ones(5)).sum(), head.out.weight)
    torch.testing.assert_close(grad, want)


def policies(discrete):
    generator = torch.Generator().manual_seed(1)
    first, other = (torch.randn(2, 5, 3, generator=generator) for _ in range(2))
    std = [None if discrete else torch.rand(5, 3, generator=generator) + 0.1 for _ in range(2)]
    return Policy(first[0], std[0]), Policy(other[0], std[1])


@pytest.mark.parametrize("discrete", [False, True])
def test_the_distance_of_two_policies_is_torchs(discrete):
    def distribution(policy):
        if discrete:
            return distributions.Categorical(logits=policy.first)
        return distributions.Independent(distributions.Normal(policy.first, policy.std), 1)

    one, two = policies(discrete)
    torch.testing.assert_close(one.kl(two), distributions.kl_divergence(distribution(one), distribution(two)))
    assert not torch.allclose(one.kl(two), two.kl(one))
    assert one.kl(one).abs().max() < 1e-6
