"""A Dreamer agent's tick as a robot runs it: the numbers of ``DreamerAgent.tick`` from fewer, larger products.

At batch 1 an engine spends more time on starting kernels than on arithmetic. So weights are laid out once, the way
they are multiplied; products of one input are one product; layers of one width that need not wait for each other are
rows of one product and one norm; nothing is computed twice. No weight is added: on a small board bytes are time.
Shape letters: D deter, S stoch groups, C classes, Z = S*C, A action dimensions, H hidden, U units, E embedding.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from robot_wm.dreamer.agent import DreamerAgent, TickOutput, TickState
from robot_wm.nn.categorical import draw
from robot_wm_export.deployed.encoder import DeployedEncoder
from robot_wm_export.deployed.heads import DeployedActor, DeployedCritic
from robot_wm_export.deployed.layers import Chains, Product, RowNorm, Rows, layers, total
from robot_wm_export.dreamer.deployed_gru import DeployedGRU
from robot_wm_export.dreamer.deployed_inputs import DeployedInputs


class DeployedTick(nn.Module):
    """``DreamerAgent.tick`` for one row, on copies of ``agent``'s weights as they are now (float32)."""

    def __init__(self, agent: DreamerAgent) -> None:
        super().__init__()
        config, rssm = agent.config, agent.rssm
        self.config = config
        self.inputs = DeployedInputs(rssm.gru, agent.encoder)
        self.encoder = DeployedEncoder(agent.encoder)
        self.gru = DeployedGRU(rssm.gru)
        mlps = {"actor": layers(agent.actor.mlp), "critic": layers(agent.critic.mlp)}
        mlps = dict(sorted(mlps.items(), key=lambda entry: -len(entry[1])))  # the deeper one first
        prior = layers(rssm.prior)
        # The next deter meets the first layers of everything that follows in one product.
        firsts = [rssm.posterior, *(mlp[0] for mlp in mlps.values()), prior[0]]
        self.of_deter = Product([f.weight[:, : config.deter] for f in firsts], [f.bias for f in firsts])
        self.widths = [config.hidden, len(mlps) * config.units, config.hidden]
        self.mlps = len(mlps)
        self.of_embedding = Product([rssm.posterior.weight[:, config.deter :]])
        self.of_stoch = Product([mlp[0].weight[:, config.deter :] for mlp in mlps.values()])
        self.posterior_norm = RowNorm(rssm.posterior.norm_scale)
        self.posterior_logits = Product([rssm.posterior_logits.weight], [rssm.posterior_logits.bias])
        self.prior_logits = Product([rssm.prior_logits.weight], [rssm.prior_logits.bias])
        # Nobody waits for the prior but the surprise, so it keeps the heads company where it is as wide.
        self.joined = config.hidden == config.units and len(prior) <= min(map(len, mlps.values()))
        if self.joined:
            mlps["prior"] = prior
            self.widths = [config.hidden, len(mlps) * config.units]
            self.rows = Rows(len(mlps))
        else:
            self.prior = Chains([prior])
        self.names = tuple(mlps)
        self.heads = Chains(list(mlps.values()))
        self.actor = DeployedActor(agent.actor)
        self.critic = DeployedCritic(agent.critic)

    def forward(
        self,
        obs: Mapping[str, Tensor],
        is_first: Tensor,
        state: TickState,
        noise_latent: Tensor,
        noise_action: Tensor,
    ) -> TickOutput:
        """As ``DreamerAgent.step``, with a batch of 1."""
        keep = 1.0 - is_first  # [1]
        inputs, seen = self.inputs(state.deter, state.stoch.reshape(1, -1), state.action, keep, obs)
        embedding = self.encoder(obs, seen)  # [1, E]
        deter = self.gru(state.deter, inputs, keep)  # [1, D]
        posterior, *late = torch.split(self.of_deter(deter), self.widths, -1)  # [1, H], [1, 3*U] or [1, 2*U], [1, H]
        hidden = self.posterior_norm(posterior + self.of_embedding(embedding))  # [1, H]
        posterior = self._probs(self.posterior_logits(hidden))  # [1, S, C]
        stoch = draw(posterior * noise_latent.exp())  # [1, S, C]
        of_stoch = self.of_stoch(stoch.reshape(1, -1))  # [1, 2*U]
        if self.joined:  # the prior's row comes last, and sees no stoch
            rows = late[0].reshape(len(self.names), -1) + self.rows(of_stoch.chunk(self.mlps, -1))  # [3, U]
            ends = dict(zip(self.names, self.heads(rows), strict=True))
        else:
            heads, prior = late
            ends = dict(zip(self.names, self.heads(heads + of_stoch), strict=True)) | {"prior": self.prior(prior)[0]}
        action = self.actor(ends["actor"], noise_action)  # [1, A]
        post_logits = posterior.log()
        prior = self._probs(self.prior_logits(ends["prior"]))  # [1, S, C]
        return TickOutput(
            action=action,
            state=TickState(deter=deter, stoch=stoch, action=action),
            value=self.critic(ends["critic"]),
            surprise=total(posterior * (post_logits - prior.log())),
            post_logits=post_logits,
        )

    def _probs(self, logits: Tensor) -> Tensor:
        """[1, Z] -> probabilities after unimix [1, S, C]."""
        soft = torch.softmax(logits.reshape(1, self.config.stoch, self.config.classes), -1)
        return soft * (1.0 - self.config.unimix) + self.config.unimix / self.config.classes
