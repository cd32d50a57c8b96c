"""Rewards and values as MuZero scales them, and a distribution over the scaled ones."""

from __future__ import annotations

import torch
from torch import Tensor

from robot_wm.nn.twohot import SymmetricTwoHot, even_positive

EPSILON = 1e-3  # keeps the inverse Lipschitz


def scale_value(x: Tensor) -> Tensor:
    """``h(x) = sign(x) (sqrt(|x| + 1) - 1) + 0.001 x``, any shape.

    Pohlen et al. 2018 ("Observe and Look Further", prop. A.2), as in appendix F of MuZero. Written without the
    difference of two nearly equal numbers that it has near 0.
    """
    return x / (torch.sqrt(torch.abs(x) + 1.0) + 1.0) + EPSILON * x


def scale_slope(x: Tensor) -> Tensor:
    """The derivative of ``scale_value``, any shape."""
    return 0.5 / torch.sqrt(torch.abs(x) + 1.0) + EPSILON


def unscale_value(y: Tensor) -> Tensor:
    """The inverse of ``scale_value``, any shape; odd, and 0 at 0.

    With ``v = sqrt(|x| + 1) - 1`` the equation is ``0.001 v^2 + 1.002 v = |y|``, whose root has no difference of nearly
    equal numbers in this form; the published one loses half of float32's digits there.
    """
    middle = 1.0 + 2.0 * EPSILON
    root = 2.0 * y / (middle + torch.sqrt(middle * middle + 4.0 * EPSILON * torch.abs(y)))  # v with the sign of y
    return root * (torch.abs(root) + 2.0)


class ScaledTwoHot(SymmetricTwoHot):
    """Even bins from ``h(-largest)`` to ``h(largest)``; weights are linear, and means taken, in the scaled space.

    ``bins`` is odd; ``largest`` is in the scalar's own unit.
    """

    def __init__(self, bins: int, largest: float) -> None:
        end = scale_value(torch.tensor(largest, dtype=torch.float64, device="cpu"))
        super().__init__(even_positive(bins, end.item()))

    def of_sum(self, total: Tensor) -> Tensor:
        """See `SymmetricTwoHot.of_sum`: the scalar in its own unit."""
        return unscale_value(total)

    def weights(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """See `SymmetricTwoHot.weights`; ``target`` [...] in its own unit."""
        return super().weights(scale_value(target))
