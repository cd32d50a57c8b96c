"""Observations to an embedding, and which inputs an agent has."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from robot_wm.errors import UserError
from robot_wm.nn.layers import MLP, NormSilu
from robot_wm.nn.pooled_conv import PooledConv
from robot_wm.nn.symlog import symlog
from robot_wm.spec import InputShape

_RESIZE = " (of a gym: task --task-options.size 64 makes 64x64 of every image)"


class Inputs:
    """The graph's observation inputs, sorted into vectors and images, in the spec's order."""

    def __init__(self, shapes: Mapping[str, InputShape], *, layers: int) -> None:
        self.vectors = {name: entry.shape[0] for name, entry in shapes.items() if len(entry.shape) == 1}
        self.images = {name: entry.shape for name, entry in shapes.items() if len(entry.shape) == 3}
        if not self.vectors and not self.images:
            raise UserError("observations: the agent needs at least one vector or image field")
        self.vector_size = sum(self.vectors.values())
        self.channels = sum(shape[2] for shape in self.images.values())
        self.resolution = next((shape[:2] for shape in self.images.values()), (0, 0))  # pixels: height, width
        factor = 2**layers
        for name, shape in self.images.items():
            if shape[:2] != self.resolution:
                raise UserError(
                    f"observation {name}: {shape[0]}x{shape[1]} pixels, but the other images have {self.resolution}"
                    f"{_RESIZE}"
                )
            if any(side % factor or not 3 <= side // factor <= 16 for side in shape[:2]):
                raise UserError(
                    f"observation {name}: {shape[0]}x{shape[1]} pixels; each side must be a multiple of {factor}"
                    f" from {3 * factor} to {16 * factor}{_RESIZE}"
                )
        self.small = (self.resolution[0] // factor, self.resolution[1] // factor)  # pixels after the encoder

    def vector(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Vector fields side by side: [..., O] float32."""
        parts = [obs[name] for name in self.vectors]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    def image(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Image fields side by side in channels: [..., height, width, channels] float32 in 0..1."""
        parts = [obs[name] for name in self.images]
        return (parts[0] if len(parts) == 1 else torch.cat(parts, -1)).float() / 255.0


class Encoder(nn.Module):
    """Vectors: symlog and an MLP. Images: convolutions with ``channels``, each followed by a 2x2 maximum."""

    def __init__(self, inputs: Inputs, *, units: int, layers: int, channels: Sequence[int], kernel: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.size = 0  # E: width of the embedding
        if inputs.vectors:
            self.mlp = MLP(inputs.vector_size, units, layers)
            self.size += units
        if inputs.images:
            pairs = list(itertools.pairwise([inputs.channels, *channels]))
            self.convs = nn.ModuleList(PooledConv(a, b, kernel) for a, b in pairs)
            self.norms = nn.ModuleList(NormSilu(b) for _, b in pairs)
            self.size += inputs.small[0] * inputs.small[1] * channels[-1]

    def forward(self, obs: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
        """obs: vectors [N, O] float32 and images [N, height, width, channels] uint8 -> [N, E] in ``dtype``."""
        parts = []
        if self.inputs.vectors:
            parts.append(self.mlp(symlog(self.inputs.vector(obs)).to(dtype)))
        if self.inputs.images:
            x = (self.inputs.image(obs) - 0.5).to(dtype)  # [N, height, width, channels]
            for conv, norm in zip(self.convs, self.norms, strict=True):
                x = norm(conv(x))  # [N, height/2, width/2, c]
            parts.append(x.permute(0, 3, 1, 2).flatten(1))
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)
