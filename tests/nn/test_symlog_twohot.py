"""symlog and the two-hot scalar distribution against closed forms."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from robot_wm.nn.symlog import symexp, symlog
from robot_wm.nn.twohot import TwoHot

LARGEST = math.expm1(20.0)


def table(twohot, target):
    """The whole two-hot row [bins] of one target, in ascending bin order."""
    index, weight = twohot.weights(torch.tensor([target]))
    row = torch.zeros(twohot.bins.shape[0]).scatter_add(0, index[0], weight[0])
    return row[twohot.bins.argsort()]


@given(st.floats(-1e6, 1e6))
def test_symexp_undoes_symlog(x):
    value = torch.tensor(x, dtype=torch.float64)
    assert symexp(symlog(value)).item() == pytest.approx(x, rel=1e-9, abs=1e-9)


def test_symlog_closed_form():
    x = torch.tensor([-(math.e - 1), -1.0, 0.0, 1.0, math.e**3 - 1])
    torch.testing.assert_close(symlog(x), torch.tensor([-1.0, -math.log(2), 0.0, math.log(2), 3.0]))


def test_bins_are_symmetric_symexp_spaced():
    twohot = TwoHot(255)
    bins = twohot.bins.sort().values
    torch.testing.assert_close(symlog(bins.double()).float(), torch.linspace(-20, 20, 255), rtol=0, atol=1e-5)
    assert torch.equal(bins, -bins.flip(0))
    assert bins[127] == 0.0


def test_target_on_a_bin_is_one_hot():
    twohot = TwoHot(11)
    bins = twohot.bins.sort().values
    for k in range(11):
        torch.testing.assert_close(table(twohot, bins[k].item()), torch.eye(11)[k])


def test_weights_are_linear_in_raw_space():
    twohot = TwoHot(5)  # bins at symexp(-20, -10, 0, 10, 20)
    row = table(twohot, 0.25 * math.expm1(10.0))
    torch.testing.assert_close(row, torch.tensor([0.0, 0.0, 0.75, 0.25, 0.0]))


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("beyond", [1.0001, 1e3, 1e20])
def test_targets_beyond_the_bins_sit_on_the_last_one(sign, beyond):
    expected = torch.eye(255)[254 if sign > 0 else 0]
    torch.testing.assert_close(table(TwoHot(255), sign * LARGEST * beyond), expected)


@given(st.floats(-4e8, 4e8, width=32))
def test_round_trip_through_the_mean(x):
    twohot = TwoHot(255)
    index, weight = twohot.weights(torch.tensor([x]))
    probs = torch.zeros(1, 255).scatter_add(1, index, weight)
    assert twohot.mean(probs.log()).item() == pytest.approx(x, rel=1e-5, abs=1e-5)


@given(st.floats(-1e8, 1e8, width=32))
def test_mirrored_targets_mirror_their_rows(x):
    twohot = TwoHot(255)
    torch.testing.assert_close(table(twohot, x), table(twohot, -x).flip(0))


def test_uniform_logits_predict_exactly_zero():
    assert TwoHot(255).mean(torch.full((3, 255), 1.7)).tolist() == [0.0, 0.0, 0.0]


def test_loss_is_the_cross_entropy_with_the_whole_row():
    twohot = TwoHot(31)
    logits = torch.randn(4, 31, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    targets = torch.tensor([-1e12, -3.3, 0.0, 777.0])
    order = twohot.bins.argsort()
    rows = torch.stack([table(twohot, t.item()) for t in targets])
    log_probs = F.log_softmax(logits, -1)[:, order]
    torch.testing.assert_close(twohot.loss(logits, targets), -(rows * log_probs).sum(-1))
    others = targets.flip(0)
    both = twohot.loss(logits, targets, others, scales=(1.0, 0.5))
    torch.testing.assert_close(both, -((rows + 0.5 * rows.flip(0)) * log_probs).sum(-1))


def test_loss_has_the_gradient_of_the_written_out_form():
    twohot = TwoHot(31)
    logits = (30 * torch.randn(4, 31, generator=torch.Generator().manual_seed(0))).requires_grad_()
    targets, others = torch.tensor([-1e12, -3.3, 0.0, 777.0]), torch.tensor([0.1, 0.0, 3.0, 800.0])
    pull = torch.tensor([1.0, -2.0, 0.5, 3.0])
    (got,) = torch.autograd.grad(twohot.loss(logits, targets, others, scales=(1.0, 0.25)), logits, pull)
    log_probs = F.log_softmax(logits, -1)
    total = 0.0
    for target, scale in ((targets, 1.0), (others, 0.25)):
        index, weight = twohot.weights(target)
        total = total - scale * (log_probs.gather(-1, index) * weight).sum(-1)
    torch.testing.assert_close(got, torch.autograd.grad(total, logits, pull)[0])


@pytest.mark.parametrize("bins", [1, 2, 254])
def test_even_or_too_few_bins_are_refused(bins):
    with pytest.raises(ValueError, match="odd number of bins"):
        TwoHot(bins)
