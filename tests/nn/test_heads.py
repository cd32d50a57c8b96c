"""Heads on the latent feature."""

import torch

from robot_wm.nn.heads import ScalarHead
from robot_wm.nn.layers import initialise


def test_even_logits_add_a_bin_of_no_probability():
    generator = torch.Generator().manual_seed(0)
    head = ScalarHead(16 + 12, units=8, layers=3, bins=31)
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
