"""Layers against written-out formulas, and their initial weights."""

import math

import pytest
import torch
from torch.nn import functional as F

from robot_wm.nn.block_gru import BlockGRU
from robot_wm.nn.layers import BlockLinear, Conv, Dense, Linear, initialise


def seeded(module):
    initialise(module, torch.Generator().manual_seed(0))
    return module


@pytest.mark.parametrize(
    ("module", "fan_in"),
    [(Linear(400, 300), 400), (Dense(400, 300), 400), (BlockLinear(400, 1600, 8), 400), (Conv(20, 100, 5), 500)],
)
def test_weights_are_truncated_normal_by_fan_in(module, fan_in):
    weight = seeded(module).weight
    unit = 1.1368 / math.sqrt(fan_in)  # untruncated deviation; what is left after the cut is 1 / sqrt(fan_in)
    assert weight.std().item() == pytest.approx(1 / math.sqrt(fan_in), rel=0.02)
    assert 1.9 * unit < weight.abs().max().item() <= 2 * unit
    assert not module.bias.any()


def test_zero_scale_gives_zero_weights():
    assert not seeded(Linear(4, 5, scale=0.0)).weight.any()


def test_block_linear_is_a_block_diagonal_matrix():
    layer = seeded(BlockLinear(6, 9, 3))
    with torch.no_grad():
        layer.bias.uniform_()
    x = torch.randn(5, 6)
    torch.testing.assert_close(layer(x), x @ torch.block_diag(*layer.weight) + layer.bias)


def test_dense_is_linear_rms_norm_silu():
    layer = seeded(Dense(6, 4))
    with torch.no_grad():
        layer.norm_scale.uniform_()
        layer.bias.uniform_()
    x, target = torch.randn(5, 6, requires_grad=True), torch.randn(5, 4)
    y = x @ layer.weight.T + layer.bias
    y = y / torch.sqrt((y * y).mean(-1, keepdim=True) + 1e-4) * layer.norm_scale
    expected = y / (1 + torch.exp(-y))
    out = layer(x)
    torch.testing.assert_close(out, expected)
    leaves = [x, *layer.parameters()]
    for got, wanted in zip(
        torch.autograd.grad(out, leaves, target), torch.autograd.grad(expected, leaves, target), strict=True
    ):
        torch.testing.assert_close(got, wanted)


def test_block_gru_step_written_out():
    deter, stoch, action, hidden, blocks, size = 8, 6, 3, 5, 2, 4
    gru = seeded(BlockGRU(deter=deter, stoch=stoch, action=action, hidden=hidden, blocks=blocks))
    with torch.no_grad():
        for parameter in gru.parameters():
            parameter.uniform_(-1, 1)
    d, z, a = torch.randn(size, deter), torch.randn(size, stoch), 3 * torch.randn(size, action)

    def dense(layer, x):
        y = x @ layer.weight.T + layer.bias
        return F.silu(y / torch.sqrt((y * y).mean(-1, keepdim=True) + 1e-4) * layer.norm_scale)

    inputs = torch.cat([dense(gru.deter_in, d), dense(gru.stoch_in, z), dense(gru.action_in, a.clamp(-1, 1))], -1)
    out = []
    hid = [
        torch.cat([d[:, 4 * g : 4 * g + 4], inputs], -1) @ gru.hidden.weight[g] + gru.hidden.bias[4 * g : 4 * g + 4]
        for g in range(blocks)
    ]
    y = torch.cat(hid, -1)
    y = F.silu(y / torch.sqrt((y * y).mean(-1, keepdim=True) + 1e-4) * gru.norm_scale)
    for g in range(blocks):
        gates = y[:, 4 * g : 4 * g + 4] @ gru.gates.weight[g] + gru.gates.bias[12 * g : 12 * g + 12]
        reset, candidate, update = gates.chunk(3, -1)
        update = torch.sigmoid(update - 1)
        own = d[:, 4 * g : 4 * g + 4]
        out.append(update * torch.tanh(torch.sigmoid(reset) * candidate) + (1 - update) * own)
    torch.testing.assert_close(gru(d, z, a), torch.cat(out, -1))
