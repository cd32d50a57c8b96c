"""Latent features back to observations: what the world model learns from."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robot_wm.dreamer.config import DreamerConfig
from robot_wm.nn.encoder import Inputs
from robot_wm.nn.layers import MLP, BlockLinear, Dense, Linear, NormSilu
from robot_wm.nn.norm_silu import norm_silu
from robot_wm.nn.symlog import symexp, symlog
from robot_wm.nn.upsampled_conv import UpsampledConv


class ImageDecoder(nn.Module):
    """A spatial layer (block-linear from deter, two layers from stoch), then nearest upsampling and convolutions."""

    def __init__(self, config: DreamerConfig, inputs: Inputs) -> None:
        super().__init__()
        self.deter, self.blocks = config.deter, config.blocks
        self.small = inputs.small
        depths = [config.depth * m for m in config.image_multipliers]
        pixels = inputs.small[0] * inputs.small[1]
        self.from_deter = BlockLinear(config.deter, pixels * depths[-1], config.blocks)
        self.stoch_in = Dense(config.stoch * config.classes, 2 * config.units)
        self.from_stoch = Linear(2 * config.units, pixels * depths[-1])
        self.norm_scale = nn.Parameter(torch.ones(depths[-1]))
        pairs = list(zip(depths[:0:-1], depths[-2::-1], strict=True))
        self.convs = nn.ModuleList(UpsampledConv(a, b, config.image_kernel) for a, b in pairs)
        self.norms = nn.ModuleList(NormSilu(b) for _, b in pairs)
        self.last = UpsampledConv(depths[0], inputs.channels, config.image_kernel)

    def forward(self, feature: Tensor) -> Tensor:
        """Feature [N, D+S*C] -> channels in 0..1, [N, height, width, channels] float32."""
        deter, stoch = feature[:, : self.deter], feature[:, self.deter :]
        height, width = self.small
        x = self.from_deter(deter).view(deter.shape[0], self.blocks, height, width, -1)  # [N, G, h, w, c/G]
        x = x.permute(0, 2, 3, 1, 4).flatten(3)  # [N, h, w, c]
        x = x + self.from_stoch(self.stoch_in(stoch)).view(x.shape)
        x = norm_silu(x, self.norm_scale)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x))  # [N, 2h, 2w, c]
        return torch.sigmoid(self.last(x).float())


class Decoder(nn.Module):
    """One MLP with an output layer a vector field, and one image decoder for all image fields."""

    def __init__(self, config: DreamerConfig, inputs: Inputs) -> None:
        super().__init__()
        self.inputs = inputs
        if inputs.vectors:
            self.mlp = MLP(config.deter + config.stoch * config.classes, config.units, config.decoder_layers)
            self.fields = nn.ModuleList(Linear(config.units, size) for size in inputs.vectors.values())  # their order
        if inputs.images:
            self.image = ImageDecoder(config, inputs)

    def vectors(self, feature: Tensor) -> Tensor:
        """Feature [N, F] -> every vector field side by side, symlog space, [N, O] float32."""
        heads = [head for head in self.fields if isinstance(head, Linear)]
        # One product instead of one a field; the tensors stay apart because gradients are clipped a tensor.
        weight, bias = torch.cat([head.weight for head in heads]), torch.cat([head.bias for head in heads])
        return F.linear(self.mlp(feature), weight, bias).float()

    def loss(self, feature: Tensor, obs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Squared error a field, summed over its elements and averaged over rows; vectors in symlog space.

        feature [N, F], obs[name] [N, *shape] -> 0-d tensors by field name.
        """
        losses: dict[str, Tensor] = {}
        if self.inputs.vectors:
            error = (self.vectors(feature) - symlog(self.inputs.vector(obs))).square().mean(0)  # [O]
            parts = error.split(list(self.inputs.vectors.values()))
            losses.update({name: part.sum() for name, part in zip(self.inputs.vectors, parts, strict=True)})
        if self.inputs.images:
            error = (self.image(feature) - self.inputs.image(obs)).square().mean(0)  # [height, width, channels]
            parts = error.split([shape[2] for shape in self.inputs.images.values()], -1)
            losses.update({name: part.sum() for name, part in zip(self.inputs.images, parts, strict=True)})
        return losses

    def predict(self, feature: Tensor) -> dict[str, Tensor]:
        """Feature [N, F] -> predicted observations: vectors as the graph sees them, images in 0..1; float32."""
        out: dict[str, Tensor] = {}
        if self.inputs.vectors:
            parts = symexp(self.vectors(feature)).split(list(self.inputs.vectors.values()), -1)
            out.update(zip(self.inputs.vectors, parts, strict=True))
        if self.inputs.images:
            parts = self.image(feature).split([shape[2] for shape in self.inputs.images.values()], -1)
            out.update(zip(self.inputs.images, parts, strict=True))
        return out
