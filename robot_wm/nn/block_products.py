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


def first(x: Tensor, base: Tensor, weights: tuple[Tensor, ...], width: int) -> tuple[Tensor, Tensor]:
    """[deter | stoch] [N, D+Z] -> [deter_in | stoch_in] [N, width] and own [N, D], where width is 2*hidden.

    ``base`` [N, width+D], or a row of it, is added. Two results, since the blocks would have to be copied into one.
    """
    if len(weights) == 1:
        y = base + x @ weights[0]
        return y[:, :width], y[:, width:]
    deter_in, stoch_in, own = weights
    deter = x[:, : deter_in.shape[0]]
    inputs = torch.cat([deter @ deter_in, x[:, deter_in.shape[0] :] @ stoch_in], -1)
    blocks = _joined(_blocks(deter, own.shape[0]) @ own)
    return inputs.add_(base[..., :width]), blocks.add_(base[..., width:])


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
    """Hidden [N, D] -> [N, 3, G, D/G]: reset, update, candidate before their nonlinearities; G is 1 where dense.

    In blocks it is a view of [G, N, 3*D/G], as the product leaves it: what comes next works in that order too.
    """
    if weight.dim() == 2:
        return torch.addmm(bias, x, weight).view(x.shape[0], 3, 1, -1)
    y = (_blocks(x, weight.shape[0]) @ weight).add_(bias)  # [G, N, 3*D/G]; compiled, the sum joins what comes next
    return y.unflatten(-1, (3, -1)).permute(1, 2, 0, 3)


def gates_bias(bias: Tensor, blocks: int) -> Tensor:
    """[3, D] -> what ``gates`` adds: [3*D] with ``blocks`` 1, else [G, 1, 3*D/G]."""
    if blocks == 1:
        return bias.flatten()
    return bias.unflatten(-1, (blocks, -1)).transpose(0, 1).flatten(1).unsqueeze(1)


def gates_gradient(grad: Tensor, weight: Tensor) -> Tensor:
    """Gradient of what ``gates`` gave as its product has it: [N, 3, D] -> [N, 3*D], in blocks [G, N, 3*D/G]."""
    if weight.dim() == 2:
        return grad.flatten(1)
    return grad.unflatten(-1, (weight.shape[0], -1)).permute(2, 0, 1, 3).flatten(2)


def gates_input_gradient(grad: Tensor, weight: Tensor) -> Tensor:
    """What ``gates_gradient`` gave -> [N, D]."""
    if weight.dim() == 2:
        return grad @ weight.T
    return _joined(grad @ weight.transpose(1, 2))


def all_rows(grad: Tensor, weight: Tensor) -> Tensor:
    """Of T steps at once, [T, N, 3*D] -> [T*N, 3*D], in blocks [T, G, N, 3*D/G] -> [G, T*N, 3*D/G]."""
    return grad.flatten(0, 1) if weight.dim() == 2 else grad.transpose(0, 1).flatten(1, 2)


def gates_bias_gradient(grad: Tensor, weight: Tensor) -> Tensor:
    """Of all rows at once: what ``gates_gradient`` gave -> the shape of ``gates_bias``."""
    return grad.float().sum(-2, keepdim=weight.dim() == 3).to(weight.dtype)


def gates_weight_gradient(x: Tensor, grad: Tensor, weight: Tensor) -> Tensor:
    """Of all rows at once: [N, D] and what ``gates_gradient`` gave -> the weight's shape."""
    return (x.T if weight.dim() == 2 else _blocks(x, weight.shape[0]).transpose(1, 2)) @ grad
