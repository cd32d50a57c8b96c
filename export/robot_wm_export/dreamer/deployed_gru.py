"""The block GRU of one deployed tick: no part of it is expanded, concatenated block by block or transposed.

Shape letters: D deter, H hidden, G blocks, W = D/G.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robot_wm.nn.block_gru import BlockGRU
from robot_wm_export.deployed.layers import Frozen, RowNorm


class DeployedGRU(Frozen):
    """``BlockGRU.forward`` for one row after ``DeployedInputs``, the forgetting of the state included.

    What every block sees (deter, stoch and action, each embedded) reaches all blocks by one dense product, and each
    block's own part of deter by a batched one: the weights are the same numbers, and the input of neither product has
    to be copied together. Here, too, forgetting multiplies the product instead of the state.
    """

    own: Tensor
    shared: Tensor
    hidden_bias: Tensor
    gates: Tensor
    gates_bias: Tensor

    def __init__(self, gru: BlockGRU) -> None:
        super().__init__()
        self.blocks = gru.blocks
        width = gru.norm_scale.shape[0] // gru.blocks
        self.hold("own", gru.hidden.weight[:, :width])  # [G, W, W]
        self.hold("shared", gru.hidden.weight[:, width:].transpose(0, 1).flatten(1))  # [3*H, D]
        self.hold("hidden_bias", gru.hidden.bias.unsqueeze(0))  # [1, D]
        self.hidden_norm = RowNorm(gru.norm_scale)
        self.hold("gates", gru.gates.weight)  # [G, W, 3*W]: reset, candidate, update
        self.hold("gates_bias", gate_bias(gru))  # [G, 1, 3*W]

    def forward(self, deter: Tensor, inputs: Tensor, keep: Tensor) -> Tensor:
        """deter [1, D], inputs [1, 3*H] with the forgetting done, keep [1], 0 to forget deter -> next deter [1, D]."""
        blocks = deter.reshape(self.blocks, 1, -1)  # [G, 1, W]
        own = torch.bmm(blocks, self.own).reshape(1, -1)  # [1, D]
        hidden = self.hidden_norm(torch.addmm(own * keep + self.hidden_bias, inputs, self.shared))  # [1, D]
        gates = torch.bmm(hidden.reshape(self.blocks, 1, -1), self.gates) + self.gates_bias  # [G, 1, 3*W]
        reset, candidate, update = torch.chunk(gates, 3, -1)  # each [G, 1, W]
        kept = blocks * keep
        squashed = torch.tanh(torch.sigmoid(reset) * candidate)
        return (kept + torch.sigmoid(update) * (squashed - kept)).reshape(1, -1)


def gate_bias(gru: BlockGRU) -> Tensor:
    """Of reset, candidate and update in each block [G, 1, 3*W]; an update gate that opens seldom needs no constant."""
    bias = gru.gates.bias.detach().view(gru.blocks, 1, 3, -1).clone()
    bias[:, :, 2] -= 1.0
    return bias.flatten(2)
