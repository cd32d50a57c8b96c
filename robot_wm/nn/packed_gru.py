"""The block GRU's weights packed for a loop over time: its step, the gradient of a step, and of the weights.

Nothing here records a graph: loops either write their gradient out with these functions or need none. The products
are dense or in blocks, whichever is faster. N rows, Z = S*C, U = hidden.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robot_wm.nn import norm_silu as norm
from robot_wm.nn.block_gru import BlockGRU

# Up to this D a dense product with zeros between the blocks beats a batch of small ones and its two transpositions:
# on a GPU always, on a CPU with the few rows of a scan.
_DENSE_DETER_CPU = 128
_DENSE_DETER_GPU = 512
# A GPU has the arithmetic to spare: the first product of a few rows stays dense as long as its weights fit the cache.
_DENSE_FIRST_GPU = 2048


class PackedGRU(NamedTuple):
    """The cell's weights laid out for a loop: once an update instead of once a step.

    ``first`` maps [deter | stoch] to [deter_in | stoch_in | hidden's share of deter]: one dense matrix
    [D+Z, 2*U+D], or deter_in [D, U], stoch_in [Z, U] and blocks [G, D/G, D/G].
    ``gates`` maps D to [reset | update | candidate], each D wide: [D, 3*D], or blocks [G, D/G, 3*D/G].
    """

    first: tuple[Tensor, ...]
    first_bias: Tensor  # [2*U+D]
    inputs_scale: Tensor  # [2, U]
    shared: Tensor  # [3*U, D]: from deter_in, stoch_in and action_in to hidden
    hidden_scale: Tensor  # [D]
    gates: Tensor
    gates_bias: Tensor  # with the -1 of the update gate inside; see ``_gates_bias``

    def tensors(self) -> tuple[Tensor, ...]:
        """All of them in a row."""
        return (*self.first, *self[1:])

    @classmethod
    def of(cls, tensors: tuple[Tensor, ...]) -> PackedGRU:
        """What ``tensors`` gave."""
        count = len(tensors) - len(cls._fields) + 1
        return cls(tensors[:count], *tensors[count:])


def pack(gru: BlockGRU, *, wide: bool = False) -> PackedGRU:
    """Lay the weights out; differentiable, so that a gradient of the packed weights is one of the parameters.

    ``wide``: for hundreds of rows a step, where arithmetic costs more than the number of kernels.
    """
    blocks, width = gru.blocks, gru.norm_scale.shape[0] // gru.blocks
    own = gru.hidden.weight[:, :width]  # [G, D/G, D/G]
    shared = gru.hidden.weight[:, width:].transpose(0, 1).flatten(1)  # [3*U, D]
    parts: tuple[Tensor, ...] = (gru.deter_in.weight.T, gru.stoch_in.weight.T, own)
    # Stacked rather than indexed by a list, which would be copied from the host.
    reset, candidate, update = gru.gates.weight.unflatten(-1, (3, width)).unbind(2)
    gates = torch.stack([reset, update, candidate], 2)  # [G, D/G, 3, D/G]
    reset, candidate, update = gru.gates.bias.view(blocks, 3, width).unbind(1)
    bias = torch.stack([reset, update, candidate]).flatten(1)  # [3, D]
    shift = torch.zeros_like(bias)
    shift[1] = -1.0
    first, size = parts, blocks * width
    dense = size <= _DENSE_DETER_GPU if own.is_cuda else size <= _DENSE_DETER_CPU and not wide
    few_rows_on_gpu = own.is_cuda and not wide and size <= _DENSE_FIRST_GPU
    if dense or few_rows_on_gpu:
        deter_in, stoch_in, _ = parts
        deter, stoch = deter_in.shape[0], stoch_in.shape[0]
        above = [deter_in, torch.zeros_like(deter_in), torch.block_diag(*own)]
        below = [torch.zeros_like(stoch_in), stoch_in, stoch_in.new_zeros((stoch, deter))]
        first = (torch.cat([torch.cat(above, 1), torch.cat(below, 1)]),)
    if dense and not wide:
        gates = torch.cat([torch.block_diag(*gates[:, :, k]) for k in range(3)], 1)  # [D, 3*D]
    else:
        gates = gates.flatten(2)  # [G, D/G, 3*D/G]
    return PackedGRU(
        first=first,
        first_bias=torch.cat([gru.deter_in.bias, gru.stoch_in.bias, gru.hidden.bias]),
        inputs_scale=torch.stack([gru.deter_in.norm_scale, gru.stoch_in.norm_scale]),
        shared=shared,
        hidden_scale=gru.norm_scale,
        gates=gates,
        gates_bias=_gates_bias(bias + shift, 1 if gates.dim() == 2 else blocks),
    )


class StepSaved(NamedTuple):
    """What the gradient of one GRU step needs."""

    inputs: Tensor  # [N, 2*U]
    inputs_norm: norm.NormSaved  # over [N, 2, U]
    hidden: Tensor  # [N, D]
    hidden_norm: norm.NormSaved
    reset: Tensor  # [N, G, D/G] after its sigmoid, laid out as ``_gates`` left it
    update: Tensor  # [N, G, D/G] the same
    candidate: Tensor  # [N, G, D/G] before its nonlinearity
    squashed: Tensor  # [N, G, D/G] tanh(reset * candidate)

    def joined(self) -> StepSaved:
        """With the blocks side by side, D instead of G, D/G: a GPU stacks many tensors at once only if contiguous."""
        flat = [x.flatten(-2) for x in (self.reset, self.update, self.candidate, self.squashed)]
        return StepSaved(self.inputs, self.inputs_norm, self.hidden, self.hidden_norm, *flat)


def base_of(packed: PackedGRU, action: Tensor) -> Tensor:
    """What ``step`` adds where embedded actions [..., N, U] are known beforehand: [..., N, 2*U+D]."""
    width = packed.inputs_scale.numel()
    share = action @ packed.shared[width:]  # [..., N, D]
    return torch.cat([share.new_zeros((*share.shape[:-1], width)), share], -1) + packed.first_bias


def step(
    packed: PackedGRU, deter: Tensor, low: Tensor, base: Tensor, action: Tensor | None
) -> tuple[Tensor, StepSaved]:
    """deter [N, D] float32 and low [N, D+Z], [deter | stoch] as products take it -> next deter [N, D] float32.

    ``base`` is added to the first product: ``first_bias``, or what ``base_of`` gave, in which case ``action``
    (embedded, [N, U]) is None.
    """
    inputs, own = _first(low, base, packed.first, packed.inputs_scale.numel())
    inputs, inputs_norm = norm.forward(inputs.unflatten(-1, (2, -1)), packed.inputs_scale)
    inputs = inputs.flatten(1)
    seen = inputs if action is None else torch.cat([inputs, action], -1)
    # Product and sum apart: compiled, the sum joins the norm, where addmm would copy it first.
    before = own + seen @ packed.shared[: seen.shape[1]]
    hidden, hidden_norm = norm.forward(before, packed.hidden_scale)
    raw = _gates(hidden, packed.gates, packed.gates_bias).float()  # [N, 3, G, D/G]
    reset, update, candidate = torch.sigmoid(raw[:, 0]), torch.sigmoid(raw[:, 1]), raw[:, 2]
    # tanh(y) = 2 * sigmoid(2 * y) - 1: on a CPU a third of the time of torch's tanh.
    squashed = torch.sigmoid(2.0 * reset * candidate).mul_(2.0).sub_(1.0)
    after = torch.lerp(deter.unflatten(-1, candidate.shape[1:]), squashed, update).flatten(1)
    return after, StepSaved(inputs, inputs_norm, hidden, hidden_norm, reset, update, candidate, squashed)


class StepLocal(NamedTuple):
    """Local derivatives of one step (or of all steps, stacked over time)."""

    inputs: norm.NormFactors
    hidden: norm.NormFactors
    gates: Tensor  # [N, 3, D]: of reset, update and candidate
    stay: Tensor  # [N, D] share of the old deter in the next one


def local_derivatives(packed: PackedGRU, saved: StepSaved, deter: Tensor) -> StepLocal:
    """Those of all steps at once, from what they saved (joined) and the deter [T, N, D] that they began with."""
    slope = saved.update * (1.0 - saved.squashed.square())  # [T, N, D]
    gates = [
        slope * saved.candidate * saved.reset * (1.0 - saved.reset),
        (saved.squashed - deter) * saved.update * (1.0 - saved.update),
        slope * saved.reset,
    ]
    return StepLocal(
        inputs=norm.factors(saved.inputs_norm, packed.inputs_scale),
        hidden=norm.factors(saved.hidden_norm, packed.hidden_scale),
        gates=torch.stack(gates, 2),  # [T, N, 3, D]
        stay=1.0 - saved.update,
    )


class StepGradients(NamedTuple):
    """Gradients at one step's products: what the weights' gradients are made of."""

    joined: Tensor  # [N, 2*U+D] at the first product
    inputs: Tensor  # [N, 2, U] float32 at the first norm's output
    hidden: Tensor  # [N, D] float32 at the second norm's output
    gates: Tensor  # [N, 3*D] or [G, N, 3*D/G] at the gates' product


def step_backward(packed: PackedGRU, local: StepLocal, deter: Tensor) -> tuple[Tensor, StepGradients]:
    """Pass the gradient of the next deter [N, D] through one step.

    Returns that of the [deter | stoch] which the step began with [N, D+Z] float32, and the products' gradients.
    """
    dtype, width, size = packed.shared.dtype, packed.inputs_scale.numel(), local.stay.shape[-1]
    d_gates = _gates_gradient((deter.unsqueeze(1) * local.gates).to(dtype), packed.gates)
    d_hidden = _gates_input_gradient(d_gates, packed.gates).float()
    d_middle = norm.backward(d_hidden, local.hidden).to(dtype)  # [N, D]
    d_inputs = (d_middle @ packed.shared[:width].T).float().unflatten(-1, (2, -1))
    d_first = norm.backward(d_inputs, local.inputs).to(dtype).flatten(1)
    joined = torch.cat([d_first, d_middle], -1)  # [N, 2*U+D]
    back = _first_input_gradient(joined, packed.first).float()  # [N, D+Z]
    before = torch.cat([torch.addcmul(back[:, :size], deter, local.stay), back[:, size:]], -1)
    return before, StepGradients(joined, d_inputs, d_hidden, d_gates)


def weight_gradients(
    packed: PackedGRU, saved: StepSaved, low: Tensor, local: StepLocal, at: StepGradients
) -> tuple[Tensor | None, ...]:
    """One product a weight over the rows of all steps, in the order of ``PackedGRU.tensors``; ``low`` [T, N, D+Z].

    None for ``first_bias``, whose gradient is that of what ``base_of`` gave; the actions' share of ``shared`` is in
    there, too, and zero here.
    """
    width = packed.inputs_scale.numel()
    rows = at.joined.flatten(0, 1)  # [T*N, 2*U+D]
    gates = _all_rows(at.gates, packed.gates)
    d_shared = torch.cat([saved.inputs.flatten(0, 1).T @ rows[:, width:], torch.zeros_like(packed.shared[width:])])
    return (
        *_first_weight_gradient(low.flatten(0, 1), rows, packed.first),
        None,
        (at.inputs * local.inputs.slope * saved.inputs_norm.unit).flatten(0, 1).sum(0),
        d_shared,
        norm.scale_gradient(at.hidden, saved.hidden_norm.unit, local.hidden.slope),
        _gates_weight_gradient(saved.hidden.flatten(0, 1), gates, packed.gates),
        _gates_bias_gradient(gates, packed.gates),
    )


# The two block-structured products, forwards and backwards, dense or in blocks.


def _blocks(x: Tensor, blocks: int) -> Tensor:
    """[N, D] -> [G, N, D/G], a view."""
    return x.unflatten(-1, (blocks, -1)).transpose(0, 1)


def _joined(x: Tensor) -> Tensor:
    """[G, N, D/G] -> [N, D]."""
    return x.transpose(0, 1).flatten(1)


def _first(x: Tensor, base: Tensor, weights: tuple[Tensor, ...], width: int) -> tuple[Tensor, Tensor]:
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


def _first_input_gradient(grad: Tensor, weights: tuple[Tensor, ...]) -> Tensor:
    """[N, 2*hidden+D] -> [N, D+Z]."""
    if len(weights) == 1:
        return grad @ weights[0].T
    deter_in, stoch_in, own = weights
    hidden = deter_in.shape[1]
    back = _joined(_blocks(grad[:, 2 * hidden :], own.shape[0]) @ own.transpose(1, 2))
    return torch.cat([torch.addmm(back, grad[:, :hidden], deter_in.T), grad[:, hidden : 2 * hidden] @ stoch_in.T], -1)


def _first_weight_gradient(x: Tensor, grad: Tensor, weights: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
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


def _gates(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Hidden [N, D] -> [N, 3, G, D/G]: reset, update, candidate before their nonlinearities; G is 1 where dense.

    In blocks it is a view of [G, N, 3*D/G], as the product leaves it: what comes next works in that order too.
    """
    if weight.dim() == 2:
        return torch.addmm(bias, x, weight).view(x.shape[0], 3, 1, -1)
    y = (_blocks(x, weight.shape[0]) @ weight).add_(bias)  # [G, N, 3*D/G]; compiled, the sum joins what comes next
    return y.unflatten(-1, (3, -1)).permute(1, 2, 0, 3)


def _gates_bias(bias: Tensor, blocks: int) -> Tensor:
    """[3, D] -> what ``_gates`` adds: [3*D] with ``blocks`` 1, else [G, 1, 3*D/G]."""
    if blocks == 1:
        return bias.flatten()
    return bias.unflatten(-1, (blocks, -1)).transpose(0, 1).flatten(1).unsqueeze(1)


def _gates_gradient(grad: Tensor, weight: Tensor) -> Tensor:
    """Gradient of what ``_gates`` gave as its product has it: [N, 3, D] -> [N, 3*D], in blocks [G, N, 3*D/G]."""
    if weight.dim() == 2:
        return grad.flatten(1)
    return grad.unflatten(-1, (weight.shape[0], -1)).permute(2, 0, 1, 3).flatten(2)


def _gates_input_gradient(grad: Tensor, weight: Tensor) -> Tensor:
    """What ``_gates_gradient`` gave -> [N, D]."""
    if weight.dim() == 2:
        return grad @ weight.T
    return _joined(grad @ weight.transpose(1, 2))


def _all_rows(grad: Tensor, weight: Tensor) -> Tensor:
    """Of T steps at once, [T, N, 3*D] -> [T*N, 3*D], in blocks [T, G, N, 3*D/G] -> [G, T*N, 3*D/G]."""
    return grad.flatten(0, 1) if weight.dim() == 2 else grad.transpose(0, 1).flatten(1, 2)


def _gates_bias_gradient(grad: Tensor, weight: Tensor) -> Tensor:
    """Of all rows at once: what ``_gates_gradient`` gave -> the shape of ``_gates_bias``."""
    return grad.float().sum(-2, keepdim=weight.dim() == 3).to(weight.dtype)


def _gates_weight_gradient(x: Tensor, grad: Tensor, weight: Tensor) -> Tensor:
    """Of all rows at once: [N, D] and what ``_gates_gradient`` gave -> the weight's shape."""
    return (x.T if weight.dim() == 2 else _blocks(x, weight.shape[0]).transpose(1, 2)) @ grad
