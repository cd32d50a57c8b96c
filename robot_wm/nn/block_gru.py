"""The block GRU: DreamerV3's deterministic path, eight small recurrent blocks that share one view of the inputs."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from robot_wm.nn.block_products import gates_bias
from robot_wm.nn.layers import BlockLinear, Dense
from robot_wm.nn.norm_silu import norm_silu

# Up to this D a dense product with zeros between the blocks beats a batch of small ones and its two transpositions:
# on a GPU always, on a CPU with the few rows of a scan.
_DENSE_DETER_CPU = 128
_DENSE_DETER_GPU = 512
# A GPU has the arithmetic to spare: the first product of a few rows stays dense as long as its weights fit the cache.
_DENSE_FIRST_GPU = 2048


class GRUPlan(NamedTuple):
    """The cell's weights laid out for a scan: once an update instead of once a step.

    ``first`` maps [deter | stoch] to [deter_in | stoch_in | hidden's share of deter]: one dense matrix
    [D+Z, 2*hidden+D], or deter_in [D, hidden], stoch_in [Z, hidden] and blocks [G, D/G, D/G].
    ``gates`` maps D to [reset | update | candidate], each D wide: [D, 3*D], or blocks [G, D/G, 3*D/G].
    """

    first: tuple[Tensor, ...]
    first_bias: Tensor  # [2*hidden+D]
    inputs_scale: Tensor  # [2, hidden]
    shared: Tensor  # [3*hidden, D]: from deter_in, stoch_in and action_in to hidden
    hidden_scale: Tensor  # [D]
    gates: Tensor
    gates_bias: Tensor  # with the -1 of the update gate inside; see ``block_products.gates_bias``


class BlockGRU(nn.Module):
    """deter' = update * tanh(reset * candidate) + (1 - update) * deter, gates from normalised block-linear layers.

    Deter, stoch and action each pass Linear, RMS norm and SiLU to ``hidden``; every block sees all three beside its
    own part of deter.
    """

    def __init__(self, *, deter: int, stoch: int, action: int, hidden: int, blocks: int) -> None:
        super().__init__()
        self.blocks = blocks
        self.deter_in = Dense(deter, hidden)
        self.stoch_in = Dense(stoch, hidden)
        self.action_in = Dense(action, hidden)
        self.hidden = BlockLinear(deter + 3 * hidden * blocks, deter, blocks)
        self.norm_scale = nn.Parameter(torch.ones(deter))
        self.gates = BlockLinear(deter, 3 * deter, blocks)

    def forward(self, deter: Tensor, stoch: Tensor, action: Tensor) -> Tensor:
        """deter [B, D] float32, stoch [B, S*C], action [B, A] -> next deter [B, D] float32."""
        dtype = self.hidden.weight.dtype
        inputs = torch.cat(
            [self.deter_in(deter.to(dtype)), self.stoch_in(stoch.to(dtype)), self.embed_action(action)], -1
        )  # [B, 3*hidden]
        own = deter.to(dtype).unflatten(-1, (self.blocks, -1))  # [B, G, D/G]
        shared = inputs.unsqueeze(1).expand(-1, self.blocks, -1)  # [B, G, 3*hidden]
        x = norm_silu(self.hidden(torch.cat([own, shared], -1).flatten(1)), self.norm_scale)  # [B, D]
        gates = self.gates(x).float().unflatten(-1, (self.blocks, 3, -1))  # [B, G, 3, D/G]
        reset, candidate, update = (gate.flatten(1) for gate in gates.unbind(2))  # each [B, D]
        update = torch.sigmoid(update - 1.0)
        return update * torch.tanh(torch.sigmoid(reset) * candidate) + (1.0 - update) * deter

    def embed_action(self, action: Tensor) -> Tensor:
        """Action [..., A] -> [..., hidden]; an action beyond [-1, 1] is what the environment clips it to."""
        action = action / torch.clamp(action.abs(), min=1.0)
        return self.action_in(action.to(self.action_in.weight.dtype))

    def plan(self, *, wide: bool = False) -> GRUPlan:
        """Lay the weights out; differentiable, so that a gradient of the plan is one of the parameters.

        ``wide``: for hundreds of rows a step, where arithmetic costs more than the number of kernels.
        """
        blocks, width = self.blocks, self.norm_scale.shape[0] // self.blocks
        own = self.hidden.weight[:, :width]  # [G, D/G, D/G]
        shared = self.hidden.weight[:, width:].transpose(0, 1).flatten(1)  # [3*hidden, D]
        parts: tuple[Tensor, ...] = (self.deter_in.weight.T, self.stoch_in.weight.T, own)
        # Stacked rather than indexed by a list, which would be copied from the host.
        reset, candidate, update = self.gates.weight.unflatten(-1, (3, width)).unbind(2)
        gates = torch.stack([reset, update, candidate], 2)  # [G, D/G, 3, D/G]
        reset, candidate, update = self.gates.bias.view(blocks, 3, width).unbind(1)
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
        return GRUPlan(
            first=first,
            first_bias=torch.cat([self.deter_in.bias, self.stoch_in.bias, self.hidden.bias]),
            inputs_scale=torch.stack([self.deter_in.norm_scale, self.stoch_in.norm_scale]),
            shared=shared,
            hidden_scale=self.norm_scale,
            gates=gates,
            gates_bias=gates_bias(bias + shift, 1 if gates.dim() == 2 else blocks),
        )
