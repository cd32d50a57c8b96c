"""The convolution that pools as it goes against convolving and pooling."""

import pytest
import torch
from torch.nn import functional as F

from robot_wm.nn.pooled_conv import PooledConv, blocks_to_channels, pooled_conv


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("size", [(6, 8), (2, 2), (16, 16)])
def test_it_is_the_maximum_of_the_convolution(kernel, size):
    generator = torch.Generator().manual_seed(kernel)
    x = torch.randn(2, 3, *size, generator=generator, requires_grad=True)
    weight = torch.randn(5, 3, kernel, kernel, generator=generator, requires_grad=True)
    bias = torch.randn(5, generator=generator, requires_grad=True)
    out = torch.randn(2, 5, size[0] // 2, size[1] // 2, generator=generator)
    wanted = F.max_pool2d(F.conv2d(x, weight, bias, padding=kernel // 2), 2)
    got = pooled_conv(x.permute(0, 2, 3, 1), weight, bias).permute(0, 3, 1, 2)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
    parameters = (x, weight, bias)
    for mine, true in zip(
        torch.autograd.grad(got, parameters, out), torch.autograd.grad(wanted, parameters, out), strict=True
    ):
        torch.testing.assert_close(mine, true, rtol=1e-4, atol=1e-3)


def test_a_block_is_four_channels_in_rows():
    x = torch.arange(16.0).reshape(1, 4, 4, 1)
    torch.testing.assert_close(blocks_to_channels(x)[0, 0], torch.tensor([[0.0, 1, 4, 5], [2, 3, 6, 7]]))
    torch.testing.assert_close(blocks_to_channels(x)[0, 1, 1], torch.tensor([10.0, 11, 14, 15]))


def test_a_layer_is_the_same_function_where_it_does_not_pool_as_it_goes():
    layer = PooledConv(3, 5, 5)
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 8, 6, 3)
    torch.testing.assert_close(layer(x), pooled_conv(x, layer.weight, layer.bias), rtol=1e-4, atol=1e-4)
