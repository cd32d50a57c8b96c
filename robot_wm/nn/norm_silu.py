"""RMS norm followed by SiLU with a written-out gradient, and its pieces for scans that write out their own.

Autograd would launch some fourteen kernels backwards for one norm and its activation; this takes eight, and in a scan
four a step with the rest done once for all steps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

NORM_EPSILON = 1e-4


def plain_norm_silu(x: Tensor, scale: Tensor) -> Tensor:
    """``silu(x / sqrt(mean(x^2) + 1e-4) * scale)`` over the last axis, in float32, back in the dtype of ``x``.

    Made of elementary operators only: this is the form that is exported.
    """
    wide = x.float()
    wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + NORM_EPSILON) * scale
    return F.silu(wide).to(x.dtype)


class NormSaved(NamedTuple):
    """What a gradient needs of a forward pass."""

    unit: Tensor  # x / rms, [..., U] float32
    inverse: Tensor  # 1 / rms, [..., 1] float32


def _inverse(wide: Tensor) -> Tensor:
    """1 / rms over the last axis: [..., U] float32 -> [..., 1]."""
    length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    # One pass: torch makes a tensor of each plain number in a product or a sum, not of ``value``.
    return torch.full_like(length, NORM_EPSILON).addcmul_(length, length, value=1.0 / wide.shape[-1]).rsqrt_()


def forward(x: Tensor, scale: Tensor) -> tuple[Tensor, NormSaved]:
    """Value [..., U] in the dtype of ``x`` and what the gradient needs; records no graph."""
    wide = x.float()
    inverse = _inverse(wide)
    unit = wide * inverse
    return F.silu(unit * scale, inplace=True).to(x.dtype), NormSaved(unit, inverse)


def value(x: Tensor, scale: Tensor) -> Tensor:
    """The value of ``forward`` alone, in one buffer."""
    wide = x.float()
    return F.silu((wide * _inverse(wide)).mul_(scale), inplace=True).to(x.dtype)


class NormFactors(NamedTuple):
    """Local derivatives, for any number of rows at once."""

    slope: Tensor  # derivative of SiLU at unit * scale, [..., U]
    direct: Tensor  # slope * scale * inverse
    mean: Tensor  # slope * scale * unit / U
    back: Tensor  # unit * inverse


def factors(saved: NormSaved, scale: Tensor) -> NormFactors:
    """What is left of the gradient is linear in the incoming one."""
    y = saved.unit * scale
    gate = torch.sigmoid(y)
    slope = gate * (1.0 + y * (1.0 - gate))
    scaled = slope * scale
    mean = scaled * saved.unit / saved.unit.shape[-1]
    return NormFactors(slope, scaled * saved.inverse, mean, saved.unit * saved.inverse)


def backward(grad: Tensor, local: NormFactors) -> Tensor:
    """Gradient of the input, float32."""
    shared = (grad * local.mean).sum(-1, keepdim=True)
    return torch.addcmul(grad * local.direct, shared, local.back, value=-1.0)


def scale_gradient(grad: Tensor, unit: Tensor, slope: Tensor) -> Tensor:
    """Gradient of the scale, summed over all rows: [..., U] -> [U]."""
    return (grad * slope * unit).flatten(0, -2).sum(0)


class _NormSilu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor) -> Tensor:
        out, saved = forward(x, scale)
        ctx.save_for_backward(*saved, scale)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        unit, inverse, scale = ctx.saved_tensors
        # Used once, so without the factors of a scan: eight passes.
        outer = torch.ops.aten.silu_backward(grads[0].float(), unit * scale)
        along = outer * unit
        shared = (along @ scale).unsqueeze(-1) / -scale.shape[0]
        inner = torch.addcmul(outer.mul_(scale), unit, shared).mul_(inverse)
        return inner.to(grads[0].dtype), along.flatten(0, -2).sum(0)


def norm_silu(x: Tensor, scale: Tensor) -> Tensor:
    """``plain_norm_silu`` in fewer kernels; the plain form where an exporter or a compiler, which fuses, is tracing."""
    if torch.onnx.is_in_onnx_export() or torch.compiler.is_compiling():
        return plain_norm_silu(x, scale)
    if torch.is_grad_enabled() and (x.requires_grad or scale.requires_grad):
        return _NormSilu.apply(x, scale)  # type: ignore[no-any-return]
    return value(x, scale)
