"""Heads on the latent feature."""

import torch


def test_even_logits_add_a_bin_of_no_probability(workshop):
    head = workshop.awake().agent.critic
    feature = torch.randn(5, 16 + 12)
    even = head.even_logits(feature)
    torch.testing.assert_close(even[:, :-1], head(feature))
    assert even[:, -1].tolist() == [-torch.inf] * 5
    torch.testing.assert_close(head.mean(feature), head.twohot.mean(head(feature)))
    (grad,) = torch.autograd.grad(head.twohot.loss(even, torch.ones(5)).sum(), head.out.weight, retain_graph=True)
    (want,) = torch.autograd.grad(head.twohot.loss(head(feature), torch.ones(5)).sum(), head.out.weight)
    torch.testing.assert_close(grad, want)
