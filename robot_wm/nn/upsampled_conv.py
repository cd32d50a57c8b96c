"""A convolution of an image that was made twice as large, without making it so.

Nearest upsampling repeats each pixel four times, so that of a 5x5 kernel's taps several fall on one small pixel. Their
weights add up: each of the four output phases is a 3x3 convolution of the small image. That is the same function at
36 % of the arithmetic and without the large input.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from robot_wm.nn.layers import LANES, Conv


def _fold(kernel: int, like: Tensor) -> Tensor:
    """Which small pixel each tap of a phase falls on: [2, taps, kernel], ones and zeros.

    Output 2i + p reads upsampled pixel 2i + p + t for t from -r to r, which is small pixel i + floor((p + t) / 2).
    """
    radius = kernel // 2
    reach = (radius + 1) // 2
    small = torch.arange(2, device=like.device)[:, None] + torch.arange(-radius, radius + 1, device=like.device)
    taps = torch.arange(-reach, reach + 1, device=like.device)
    return (small.div(2, rounding_mode="floor")[:, None, :] == taps[:, None]).float()


def upsampled_conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``conv2d(upsample(x), weight, bias)`` that keeps the doubled size: [N, h, w, in] -> [N, 2h, 2w, out].

    weight [out, in, kernel, kernel] with an odd kernel; channels are last, as matrix units like them.
    """
    fold = _fold(weight.shape[-1], weight)  # [2, taps, kernel]
    folded = torch.einsum("pak,qbl,oikl->pqoiab", fold, fold, weight.float()).to(weight.dtype)
    taps, (batch, height, width, _) = fold.shape[1], x.shape
    outputs, folded = 4 * weight.shape[0], folded.flatten(0, 2)  # [4*out, in, taps, taps]
    if x.is_cuda:  # or cuDNN pads the images themselves, every time it reads them
        folded = F.pad(folded, (0, 0, 0, 0, 0, 0, 0, -outputs % LANES))
    phases = F.conv2d(x.permute(0, 3, 1, 2), folded, padding=taps // 2).permute(0, 2, 3, 1)[..., :outputs]
    parts = phases.unflatten(-1, (2, 2, -1)) + bias  # [N, h, w, 2, 2, out]
    return parts.permute(0, 1, 3, 2, 4, 5).reshape(batch, 2 * height, 2 * width, -1)


class UpsampledConv(Conv):
    """``upsampled_conv`` with a ``Conv``'s parameters."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, h, w, in] -> [N, 2h, 2w, out]."""
        return upsampled_conv(x, self.weight, self.bias)
