"""The folded convolution against upsampling and convolving."""

import pytest
import torch
from torch.nn import functional as F

from robot_wm.nn.upsampled_conv import upsampled_conv


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("size", [(3, 4), (1, 1), (8, 8)])
def test_it_is_the_convolution_of_the_upsampled_image(kernel, size):
    generator = torch.Generator().manual_seed(kernel)
    x = torch.randn(2, 3, *size, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 3, kernel, kernel, generator=generator, dtype=torch.float32, requires_grad=True)
    bias = torch.randn(5, generator=generator, requires_grad=True)
    out = torch.randn(2, 5, 2 * size[0], 2 * size[1], generator=generator)
    wanted = F.conv2d(F.interpolate(x.float(), scale_factor=2.0), weight, bias, padding=kernel // 2)
    got = upsampled_conv(x.float().permute(0, 2, 3, 1), weight, bias).permute(0, 3, 1, 2)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
    parameters = (x, weight, bias)
    for mine, true in zip(
        torch.autograd.grad(got, parameters, out), torch.autograd.grad(wanted, parameters, out), strict=True
    ):
        torch.testing.assert_close(mine, true, rtol=1e-4, atol=1e-3)
