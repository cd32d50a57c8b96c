"""A convolution and the 2x2 maximum of its output, without the large output.

The four pixels of a block become channels of one small pixel, on both sides: of a 5x5 kernel each of the four output
phases is then a 3x3 convolution of the small image, and the maximum is one over channels. That is the same function.
It is more arithmetic (36 products where 25 were), but with wide channels, as matrix units need them: a first layer of
3 channels has 12 here, and what is pooled was never written one pixel at a time.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from robot_wm.nn.layers import LANES, Conv


def blocks_to_channels(x: Tensor) -> Tensor:
    """[N, 2h, 2w, c] -> [N, h, w, 4*c]: the four pixels of each block side by side, in rows."""
    batch, height, width, channels = x.shape
    parts = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
    return parts.permute(0, 1, 3, 2, 4, 5).reshape(batch, height // 2, width // 2, 4 * channels)


def _spread(kernel: int, like: Tensor) -> Tensor:
    """Which block and which pixel in it each tap of a phase falls on: [2, taps, 2, kernel], ones and zeros.

    Output 2i + p reads pixel 2i + p + t for t from -r to r: pixel (p + t) mod 2 of block i + floor((p + t) / 2).
    """
    radius = kernel // 2
    reach = (radius + 1) // 2
    pixel = torch.arange(2, device=like.device)[:, None] + torch.arange(-radius, radius + 1, device=like.device)
    taps = torch.arange(-reach, reach + 1, device=like.device)
    block = pixel.div(2, rounding_mode="floor")[:, None, None, :] == taps[:, None, None]  # [2, taps, 1, kernel]
    return (block & (pixel.remainder(2)[:, None, None, :] == torch.arange(2, device=like.device)[:, None])).float()


def pooled_conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``max_pool2d(conv2d(x, weight, bias), 2)`` of a convolution that keeps the size.

    x [N, 2h, 2w, in] -> [N, h, w, out], channels last; weight [out, in, kernel, kernel] with an odd kernel.
    """
    outputs, inputs = weight.shape[:2]
    spread = _spread(weight.shape[-1], weight)  # [2, taps, 2, kernel]
    phases = torch.einsum("pauk,qbvl,oikl->pqouviab", spread, spread, weight.float()).to(weight.dtype)
    taps = spread.shape[1]
    wide = phases.reshape(4 * outputs, 4 * inputs, taps, taps)
    x = blocks_to_channels(x)  # [N, h, w, 4*in]
    if missing := -x.shape[-1] % LANES:
        x, wide = F.pad(x, (0, missing)), F.pad(wide, (0, 0, 0, 0, 0, missing))
    every = F.conv2d(x.permute(0, 3, 1, 2), wide, padding=taps // 2).permute(0, 2, 3, 1)  # [N, h, w, 4*out]
    return every.unflatten(-1, (4, outputs)).amax(-2) + bias


class PooledConv(Conv):
    """A ``Conv`` and the 2x2 maximum of its output, channels last."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, 2h, 2w, in] -> [N, h, w, out]."""
        if x.is_cuda:
            return pooled_conv(x, self.weight, self.bias)
        # Without matrix units the larger number of products costs more than the large output.
        return F.max_pool2d(super().forward(x.permute(0, 3, 1, 2)), 2).permute(0, 2, 3, 1)
