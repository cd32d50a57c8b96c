"""A Dreamer as a planner in an engine asks it: many rows, fewer and larger products.

Shape letters: N rows, n of latents (N, or 1 that all rows share), D deter, S stoch groups, C classes, Z = S*C,
L = D + Z, A action dimensions, H hidden, U units, G blocks, W = D/G.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robot_wm.dreamer.latent_model import DreamerLatentModel
from robot_wm.nn.block_gru import BlockGRU
from robot_wm.nn.categorical import draw
from robot_wm.nn.heads import Policy
from robot_wm.nn.layers import MLP
from robot_wm.search.latent_model import Outcome, StagedModel
from robot_wm_export.deployed.heads import DeployedCritic
from robot_wm_export.deployed.layers import Bounded, Frozen, Level, Product, RowNorm, layers
from robot_wm_export.deployed.rows import PolicyRows, ScalarRows
from robot_wm_export.dreamer.deployed_gru import gate_bias


class DeployedDreamerModel(StagedModel):
    """The numbers of ``DreamerLatentModel``, on copies of its weights as they are now (float32).

    Raises ValueError for a model that an ensemble makes pessimistic: no graph of that has been tried.
    """

    def __init__(self, model: DreamerLatentModel) -> None:
        super().__init__()
        if model.penalty:
            raise ValueError(f"penalty is {model.penalty:g}: an ensemble's disagreement is not deployed")
        agent, config = model.agent, model.agent.config
        self.action_dim, self.discrete = model.action_dim, model.discrete
        self.deter, self.stoch, self.classes, self.units = config.deter, config.stoch, config.classes, config.units
        self.gru = GRURows(agent.rssm.gru)
        # The next deter meets the first layers of prior, reward and continue flag in one product.
        prior, *heads = firsts = [layers(mlp)[0] for mlp in (agent.rssm.prior, agent.reward.mlp, agent.cont.mlp)]
        self.of_deter = Product([f.weight[:, : config.deter] for f in firsts], [f.bias for f in firsts])
        self.of_stoch = Product([head.weight[:, config.deter :] for head in heads])
        self.widths = [len(prior.bias), sum(len(head.bias) for head in heads)]
        self.prior_norm, self.prior = RowNorm(prior.norm_scale), _rest(agent.rssm.prior)
        self.prior_logits = Product([agent.rssm.prior_logits.weight], [agent.rssm.prior_logits.bias])
        self.reward_norm, self.cont_norm = (RowNorm(head.norm_scale) for head in heads)
        self.reward_rest, self.reward = _rest(agent.reward.mlp), DeployedCritic(agent.reward)
        self.cont_rest, self.cont = _rest(agent.cont.mlp), Product([agent.cont.out.weight], [agent.cont.out.bias])
        self.actor, self.critic = PolicyRows(agent.actor), ScalarRows(agent.critic)

    def lead(self, latent: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """See StagedModel; a step shows what reward and continue flag make of its latent first, [N, 2*U]."""
        deter, stoch = latent.split([self.deter, self.stoch * self.classes], -1)
        deter = self.gru(deter, stoch, action)  # [N, D]
        prior, heads = self.of_deter(deter).split(self.widths, -1)
        logits = self.prior_logits(self.prior(self.prior_norm(prior)))  # [N, Z]
        stoch = draw(logits.view(-1, self.stoch, self.classes)).flatten(1)  # of the mode, whatever the unimix
        return torch.cat([deter, stoch], -1), heads + self.of_stoch(stoch)

    def outcome(self, shown: Tensor) -> Outcome:
        """See StagedModel."""
        reward, cont = shown.split(self.units, -1)
        goes_on = self.cont(self.cont_rest(self.cont_norm(cont))).sigmoid().flatten()
        return Outcome(self.reward.rows(self.reward_rest(self.reward_norm(reward))), goes_on)

    def policy(self, latent: Tensor) -> Policy:
        """See StagedModel."""
        return self.actor(latent)  # type: ignore[no-any-return]

    def value(self, latent: Tensor) -> Tensor:
        """See StagedModel."""
        return self.critic(latent)  # type: ignore[no-any-return]


class GRURows(Frozen):
    """``BlockGRU.forward`` where n latents answer N actions.

    What every block sees reaches it by products of deter, stoch and action, each on its own: those of a shared latent
    are made once. Each block's own part of deter takes a product of its own: of a batched one ONNX Runtime packs the
    weights anew at every run, and a halving plan of 12m took three times as long.
    """

    own: Tensor
    of_deter: Tensor
    of_stoch: Tensor
    of_action: Tensor
    hidden_bias: Tensor
    gates: Tensor
    gates_bias: Tensor

    def __init__(self, gru: BlockGRU) -> None:
        super().__init__()
        self.blocks = gru.blocks
        width = gru.norm_scale.shape[0] // gru.blocks
        self.bounded = Bounded()
        self.deter_in, self.stoch_in, self.action_in = (Level([d]) for d in (gru.deter_in, gru.stoch_in, gru.action_in))
        shared = gru.hidden.weight[:, width:].transpose(0, 1).flatten(1)  # [3*H, D]
        for name, part in zip(("of_deter", "of_stoch", "of_action"), shared.chunk(3), strict=True):
            self.hold(name, part)  # [H, D]
        self.hold("own", gru.hidden.weight[:, :width])  # [G, W, W]
        self.hold("hidden_bias", gru.hidden.bias)  # [D]
        self.hidden_norm = RowNorm(gru.norm_scale)
        self.hold("gates", gru.gates.weight)  # [G, W, 3*W]: reset, candidate, update
        self.hold("gates_bias", gate_bias(gru))  # [G, 1, 3*W]

    def forward(self, deter: Tensor, stoch: Tensor, action: Tensor) -> Tensor:
        """deter [n, D], stoch [n, Z], action [N, A] -> next deter [N, D]."""
        blocks = deter.chunk(self.blocks, -1)  # G times [n, W]
        hidden = torch.addmm(self.hidden_bias, self.deter_in(deter), self.of_deter)
        hidden = torch.addmm(hidden, self.stoch_in(stoch), self.of_stoch)
        own = [block @ weight for block, weight in zip(blocks, self.own.unbind(0), strict=True)]  # G times [n, W]
        hidden = hidden + torch.cat(own, -1)  # [n, D]
        hidden = torch.addmm(hidden, self.action_in(self.bounded(action)), self.of_action)  # [N, D]
        hidden = self.hidden_norm(hidden).chunk(self.blocks, -1)  # G times [N, W]
        parts = zip(self.gates_bias, hidden, self.gates, strict=True)
        gates = torch.stack([torch.addmm(bias, block, weight) for bias, block, weight in parts])  # [G, N, 3*W]
        reset, candidate, update = torch.chunk(gates, 3, -1)  # each [G, N, W]
        squashed = torch.tanh(torch.sigmoid(reset) * candidate)
        kept = self._blocks(deter)
        return self._rows(kept + torch.sigmoid(update) * (squashed - kept))

    def _blocks(self, x: Tensor) -> Tensor:
        """[n, D] -> [G, n, W]; one row needs no other order."""
        if x.shape[0] == 1:
            return x.view(self.blocks, 1, -1)
        return x.view(x.shape[0], self.blocks, -1).transpose(0, 1)

    def _rows(self, x: Tensor) -> Tensor:
        """[G, n, W] -> [n, D]."""
        return x.transpose(0, 1).flatten(1)


def _rest(mlp: MLP) -> nn.Sequential:
    """The layers after the first."""
    return nn.Sequential(*(Level([layer]) for layer in layers(mlp)[1:]))
