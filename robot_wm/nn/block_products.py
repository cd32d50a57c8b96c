"""The two block-structured products of a planned GRU step, forwards and backwards, dense or in blocks."""

from __future__ import annotations

import torch
from torch import Tensor


def _blocks(x: Tensor, blocks: int) -> Tensor:
    """[N, D] -> [G, N, D/G], a view."""
    return x.unflatten(-1, (blocks, -1)).transpose(0, 1)


def _joined(x: Tensor) -> Tensor:
    """[G, N, D/G] -> [N, D]."""
    return x.transpose(0, 1).flatten(1)


def first(x: Tensor, base: Tensor, weights: tuple[Tensor, ...]) -> Tensor:
    """[deter | stoch] [N, D+Z] -> [deter_in | stoch_in | own] [N, 2*hidden+D], plus ``base`` (same shape or a row)."""
    if len(weights) == 1:
        return base + x @ weights[0]
    deter_in, stoch_in, own = weights
    deter = x[:, : deter_in.shape[0]]
    parts = [deter @ deter_in, x[:, deter_in.shape[0] :] @ stoch_in, _joined(_blocks(deter, own.shape[0]) @ own)]
    return torch.cat(parts, -1).add_(base)


def first_input_gradient(grad: Tensor, weights: tuple[Tensor, ...]) -> Tensor:
    """[N, 2*hidden+D] -> [N, D+Z]."""
    if len(weights) == 1:
        return grad @ weights[0].T
    deter_in, stoch_in, own = weights
    hidden = deter_in.shape[1]
    back = _joined(_blocks(grad[:, 2 * hidden :], own.shape[0]) @ own.transpose(1, 2))
    return torch.cat([torch.addmm(back, grad[:, :hidden], deter_in.T), grad[:, hidden : 2 * hidden] @ stoch_in.T], -1)


def first_weight_gradient(x: Tensor, grad: Tensor, weights: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Of all rows at once: one product a weight."""
    if len(weights) == 1:
        return (x.T @ grad,)
    deter_in, _, own = weights
    deter, stoch, hidden = x[:, : deter_in.shape[0]], x[:, deter_in.shape[0] :], deter_in.shape[1]
    blocks = own.shape[0]
    return (
        deter.T @ grad[:, :hidden],
        stoch.T @ grad[:, hidden : 2 * hidden],
        _blocks(deter, blocks).transpose(1, 2) @ _blocks(grad[:, 2 * hidden :], blocks),
    )


def gates(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Hidden [N, D] -> [N, 3, D]: reset, update, candidate before their nonlinearities."""
    if weight.dim() == 2:
        return torch.addmm(bias.flatten(), x, weight).unflatten(-1, (3, -1))
    y = (_blocks(x, weight.shape[0]) @ weight).unflatten(-1, (3, -1))  # [G, N, 3, D/G]
    return y.permute(1, 2, 0, 3).flatten(2) + bias


def _gate_blocks(grad: Tensor, blocks: int) -> Tensor:
    """[N, 3, D] -> [G, N, 3*D/G]."""
    return grad.unflatten(-1, (blocks, -1)).permute(2, 0, 1, 3).flatten(2)


def gates_input_gradient(grad: Tensor, weight: Tensor) -> Tensor:
    """[N, 3, D] -> [N, D]."""
    if weight.dim() == 2:
        return grad.flatten(1) @ weight.T
    return _joined(_gate_blocks(grad, weight.shape[0]) @ weight.transpose(1, 2))


def gates_weight_gradient(x: Tensor, grad: Tensor, weight: Tensor) -> Tensor:
    """Of all rows at once: [N, D] and [N, 3, D] -> the weight's shape."""
    if weight.dim() == 2:
        return x.T @ grad.flatten(1)
    return _blocks(x, weight.shape[0]).transpose(1, 2) @ _gate_blocks(grad, weight.shape[0])
