"""Linear, block-linear and RMS-normalised layers with DreamerV3's initialisation.

Parameters are drawn from an explicit generator through ``initialise``: building a module draws nothing, so that it
can be built on the meta device to count parameters, and two builds with one seed are equal.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robot_wm.nn.norm_silu import norm_silu

LANES = 8  # matrix units take half-precision channels by so many

# Standard deviation lost by cutting a normal distribution at two standard deviations.
_TRUNCATION = 1.1368


def fan_in_normal_(weight: Tensor, fan_in: int, scale: float, generator: torch.Generator | None) -> None:
    """Fill with ``scale / sqrt(fan_in)`` times a normal cut at two standard deviations; a zero scale gives zeros."""
    std = _TRUNCATION * scale / math.sqrt(fan_in)
    with torch.no_grad():
        if scale == 0.0:
            weight.zero_()
        else:
            nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std, generator=generator)


class Initialised(nn.Module, ABC):
    """A module that fills its own parameters from a generator."""

    @abstractmethod
    def initialise(self, generator: torch.Generator | None) -> None:
        """Draw the parameters that this module owns itself."""


def initialise(module: nn.Module, generator: torch.Generator | None) -> None:
    """Draw every parameter below ``module`` in definition order."""
    for part in module.modules():
        if isinstance(part, Initialised):
            part.initialise(generator)


class Linear(Initialised):
    """``x @ weight.T + bias`` with weight [out, in]; weights fan-in truncated normal times ``scale``, biases zero."""

    def __init__(self, inputs: int, outputs: int, *, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def initialise(self, generator: torch.Generator | None) -> None:
        """See ``Initialised``."""
        fan_in_normal_(self.weight, self.weight.shape[1], self.scale, generator)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        return F.linear(x, self.weight, self.bias)


class BlockLinear(Initialised):
    """A block-diagonal linear map, weight [G, in/G, out/G] (DreamerV3, Nature 2025).

    The fan-in of its initialisation is that of the whole input, as in danijar/dreamerv3.
    """

    def __init__(self, inputs: int, outputs: int, blocks: int) -> None:
        super().__init__()
        self.blocks = blocks
        self.weight = nn.Parameter(torch.empty(blocks, inputs // blocks, outputs // blocks))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def initialise(self, generator: torch.Generator | None) -> None:
        """See ``Initialised``."""
        fan_in_normal_(self.weight, self.weight.shape[0] * self.weight.shape[1], 1.0, generator)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in] -> [B, out]."""
        blocks = x.unflatten(-1, (self.blocks, -1)).transpose(0, 1)  # [G, B, in/G]
        return torch.bmm(blocks, self.weight).transpose(0, 1).flatten(1) + self.bias  # [B, out]


class Dense(Initialised):
    """Linear, RMS norm, SiLU."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(units, inputs))
        self.bias = nn.Parameter(torch.zeros(units))
        self.norm_scale = nn.Parameter(torch.ones(units))

    def initialise(self, generator: torch.Generator | None) -> None:
        """See ``Initialised``."""
        fan_in_normal_(self.weight, self.weight.shape[1], 1.0, generator)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., units]."""
        return norm_silu(F.linear(x, self.weight, self.bias), self.norm_scale)


class MLP(nn.Sequential):
    """``layers`` times Dense."""

    def __init__(self, inputs: int, units: int, layers: int) -> None:
        super().__init__(*(Dense(inputs if i == 0 else units, units) for i in range(layers)))


class NormSilu(nn.Module):
    """RMS norm over the last axis, then SiLU."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.norm_scale = nn.Parameter(torch.ones(units))

    def forward(self, x: Tensor) -> Tensor:
        """[..., units] -> same shape and dtype."""
        return norm_silu(x, self.norm_scale)


class Conv(Initialised):
    """Stride-1 convolution that keeps height and width; weight [out, in, kernel, kernel]."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def initialise(self, generator: torch.Generator | None) -> None:
        """See ``Initialised``."""
        fan_in_normal_(self.weight, self.weight[0].numel(), 1.0, generator)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, height, width] -> [N, out, height, width]."""
        return F.conv2d(x, self.weight, self.bias, padding=self.weight.shape[-1] // 2)
