"""The block GRU: DreamerV3's deterministic path, eight small recurrent blocks that share one view of the inputs.

The cell has four renderings, of which the first is what the others must equal:

===================================  =====================================  ===============================
rendering                            runs in                                tied to the first by
===================================  =====================================  ===============================
``BlockGRU.forward``                 ticks in torch, ``agent.advance``      (tests/nn/test_layers.py: formulas)
``packed_gru``, few rows, gradients  the posterior's scan of an update      tests/dreamer/test_scan.py
``packed_gru``, ``wide``             imagination in an update               tests/dreamer/test_imagination.py
``deployed_gru`` of the exporter     the graph that a robot runs            tests/export/dreamer/test_deployed_tick.py
===================================  =====================================  ===============================
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robot_wm.nn.layers import BlockLinear, Dense
from robot_wm.nn.norm_silu import norm_silu


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
