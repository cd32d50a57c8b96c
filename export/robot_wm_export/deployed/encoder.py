"""The encoder of one deployed tick, but for the first layer of vectors, which is made where its input is at hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robot_wm.nn.encoder import Encoder
from robot_wm.nn.layers import Conv, NormSilu
from robot_wm.nn.norm_silu import NORM_EPSILON
from robot_wm_export.deployed.layers import Frozen, Level, layers

_WHITE = 255.0  # a pixel's largest value


class DeployedEncoder(Frozen):
    """``Encoder.forward`` for one row; the scale of pixels is inside the first convolution's weights."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.inputs = encoder.inputs
        if self.inputs.vectors:
            self.mlp = nn.Sequential(*(Level([layer]) for layer in layers(encoder.mlp)[1:]))
        if self.inputs.images:
            pairs = zip(cast(list[Conv], list(encoder.convs)), cast(list[NormSilu], list(encoder.norms)), strict=True)
            for number, (conv, norm) in enumerate(pairs):
                self.hold(f"conv{number}_weight", conv.weight / _WHITE if number == 0 else conv.weight)
                self.hold(f"conv{number}_bias", conv.bias)
                self.hold(f"norm{number}_scale", norm.norm_scale[:, None, None])
            self.convolutions = len(encoder.convs)

    def forward(self, obs: Mapping[str, Tensor], seen: Tensor | None) -> Tensor:
        """Images [1, height, width, channels] uint8, first layer of vectors [1, U] if any -> embedding [1, E]."""
        parts = [] if seen is None else [self.mlp(seen)]
        if self.inputs.images:
            parts.append(self._image(obs))
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    def _image(self, obs: Mapping[str, Tensor]) -> Tensor:
        # TensorRT 8.6 can do one thing with a uint8 input: cast it.
        images = [obs[name].float() for name in self.inputs.images]
        x = images[0] if len(images) == 1 else torch.cat(images, -1)
        x = (x - 0.5 * _WHITE).permute(0, 3, 1, 2)  # [1, channels, height, width], -127.5 to 127.5
        for number in range(self.convolutions):
            weight, bias = self.get_buffer(f"conv{number}_weight"), self.get_buffer(f"conv{number}_bias")
            x = F.max_pool2d(F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2), 2)  # [1, c, h, w]
            x = x * torch.rsqrt(x.square().mean(1, keepdim=True) + NORM_EPSILON)
            x = F.silu(x * self.get_buffer(f"norm{number}_scale"))
        return x.flatten(1)
