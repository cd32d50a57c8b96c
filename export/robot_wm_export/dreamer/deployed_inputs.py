"""The first layers of one deployed tick, side by side: of deter, stoch and action, and of the observation's vectors.

Shape letters: D deter, Z = S*C stoch, A action, O numbers of the observation, H hidden, U units, R rows.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from robot_wm.nn.block_gru import BlockGRU
from robot_wm.nn.encoder import Encoder
from robot_wm.nn.symlog import symlog
from robot_wm_export.deployed.layers import Bounded, Frozen, Product, RowNorm, Rows, layers


class DeployedInputs(Frozen):
    """What the GRU sees of state and action, each embedded, and the first layer of the encoder's MLP.

    None of them waits for another, so they are rows under one norm; the encoder's is one of them where it is as wide
    (U = H). Forgetting multiplies products instead of the state: a product waits for nothing then.
    """

    deter_in: Tensor
    stoch_in: Tensor
    action_in: Tensor
    vectors_in: Tensor
    bias: Tensor

    def __init__(self, gru: BlockGRU, encoder: Encoder) -> None:
        super().__init__()
        self.bounded = Bounded()
        self.hold("deter_in", gru.deter_in.weight.T)  # [D, H]
        self.hold("stoch_in", gru.stoch_in.weight.T)  # [Z, H]
        self.hold("action_in", gru.action_in.weight.T)  # [A, H]
        joined = [gru.deter_in, gru.stoch_in, gru.action_in]
        self.observed = encoder.inputs
        self.apart: nn.Module | None = None
        if self.observed.vectors:
            first = layers(encoder.mlp)[0]
            if first.bias.shape == gru.deter_in.bias.shape:
                self.hold("vectors_in", first.weight.T)  # [O, U]
                joined.append(first)
            else:
                self.apart = nn.Sequential(Product([first.weight], [first.bias]), RowNorm(first.norm_scale))
        self.rows = Rows(len(joined))
        self.hold("bias", torch.stack([layer.bias for layer in joined]))  # [R, H], R = 3 or 4
        self.norm = RowNorm(torch.stack([layer.norm_scale for layer in joined]))

    def forward(
        self, deter: Tensor, stoch: Tensor, action: Tensor, keep: Tensor, obs: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """deter [1, D], stoch [1, Z], action [1, A], keep [1], 0 to forget them, vectors of ``obs`` [1, O] in all.

        Returns what the GRU sees of the first three [1, 3*H] and what the rest of the MLP sees of the vectors, if any,
        [1, U].
        """
        products = [deter @ self.deter_in, stoch @ self.stoch_in, self.bounded(action) @ self.action_in]
        rows = self.rows(products) * keep + self.bias  # [R, H]
        if not self.observed.vectors:
            return self.norm(rows).reshape(1, -1), None
        vectors = symlog(self.observed.vector(obs))  # [1, O]
        if self.apart is not None:
            return self.norm(rows).reshape(1, -1), self.apart(vectors)
        state, seen = torch.split(self.norm(rows + self.rows([vectors @ self.vectors_in], first=3)), [3, 1])
        return state.reshape(1, -1), seen
