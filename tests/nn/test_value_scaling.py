"""MuZero's scaling of values and the two-hot over it, against closed forms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from robot_wm.nn.heads import ScalarHead
from robot_wm.nn.layers import initialise
from robot_wm.nn.value_scaling import ScaledTwoHot, scale_slope, scale_value, unscale_value


def published(x):
    """h as it is printed, in float64."""
    return np.sign(x) * (np.sqrt(np.abs(x) + 1) - 1) + 0.001 * x


def test_values_that_are_known_by_hand():
    x = torch.tensor([0.0, 3.0, -3.0, 8.0, 99.0, -9999.0])
    torch.testing.assert_close(scale_value(x), torch.tensor([0.0, 1.003, -1.003, 2.008, 9.099, -108.999]))
    torch.testing.assert_close(unscale_value(torch.tensor([1.003, -9.099])), torch.tensor([3.0, -99.0]))


@given(st.floats(-1e7, 1e7))
def test_it_is_the_published_formula_and_its_inverse(x):
    value = torch.tensor(x, dtype=torch.float64)
    assert scale_value(value).item() == pytest.approx(published(x), rel=1e-9, abs=1e-12)
    assert unscale_value(scale_value(value)).item() == pytest.approx(x, rel=1e-12, abs=1e-12)


@given(st.floats(-1e5, 1e5, width=32))
def test_float32_keeps_its_digits_also_near_zero(x):
    value = torch.tensor(x, dtype=torch.float32)
    assert unscale_value(scale_value(value)).item() == pytest.approx(x, rel=1e-6, abs=1e-30)


@given(st.floats(-1e4, 1e4))
def test_the_slope_is_the_derivative(x):
    value = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(torch.sign(value) * (torch.sqrt(value.abs() + 1) - 1) + 0.001 * value, value)
    assert scale_slope(value).item() == pytest.approx(expected.item() if x else 0.501, rel=1e-9)


def test_bins_are_even_in_the_scaled_space_and_end_where_they_should():
    twohot = ScaledTwoHot(101, 300.0)
    end = published(300.0)
    torch.testing.assert_close(twohot.bins, torch.linspace(-end, end, 101), rtol=0, atol=2e-6)
    assert twohot.bins[50] == 0.0
    assert torch.equal(twohot.bins, -twohot.bins.flip(0))


def row(twohot, target):
    index, weight = twohot.weights(torch.tensor([target]))
    return torch.zeros(twohot.bins.shape[0]).scatter_add(0, index[0], weight[0])


def test_a_target_on_a_bin_is_one_hot_and_one_between_two_is_theirs():
    twohot = ScaledTwoHot(11, 99.0)  # 9.099 apart by 1.8198
    for k in range(11):
        at = math.copysign(unscale_value(torch.tensor((k - 5) * 1.8198).double().abs()).item(), k - 5)
        torch.testing.assert_close(row(twohot, at), torch.eye(11)[k], atol=1e-5, rtol=0)
    between = unscale_value(torch.tensor(2.25 * 1.8198)).item()
    torch.testing.assert_close(row(twohot, between)[7:9], torch.tensor([0.75, 0.25]), atol=1e-5, rtol=0)
    for beyond in (99.1, 1e6):
        assert torch.equal(row(twohot, beyond), torch.eye(11)[10])
        assert torch.equal(row(twohot, -beyond), torch.eye(11)[0])


@given(st.floats(-999, 999, width=32))
def test_a_target_comes_back_as_the_mean(x):
    twohot = ScaledTwoHot(101, 1000.0)
    assert twohot.mean(row(twohot, x).log()).item() == pytest.approx(x, rel=2e-5, abs=2e-5)


def test_uniform_logits_are_worth_exactly_nothing():
    assert ScaledTwoHot(101, 300.0).mean(torch.full((3, 101), 1.7)).tolist() == [0.0, 0.0, 0.0]
    head = ScalarHead(6, units=6, layers=0, twohot=ScaledTwoHot(101, 300.0))
    initialise(head, torch.Generator().manual_seed(0))
    assert head.mean(torch.randn(4, 6)).tolist() == [0.0] * 4


def test_the_loss_is_a_cross_entropy_with_its_gradient():
    twohot = ScaledTwoHot(31, 50.0)
    logits = torch.randn(4, 31, generator=torch.Generator().manual_seed(0)).requires_grad_()
    targets = torch.tensor([-1e3, -3.3, 0.0, 17.0])
    rows = torch.stack([row(twohot, target.item()) for target in targets])
    wanted = -(rows * F.log_softmax(logits, -1)).sum(-1)
    torch.testing.assert_close(twohot.loss(logits, targets), wanted)
    (got,) = torch.autograd.grad(twohot.loss(logits, targets).sum(), logits)
    torch.testing.assert_close(got, torch.softmax(logits, -1).detach() - rows)


@pytest.mark.parametrize("bins", [1, 2, 100])
def test_even_or_too_few_bins_are_refused(bins):
    with pytest.raises(ValueError, match="odd number of bins"):
        ScaledTwoHot(bins, 10.0)
