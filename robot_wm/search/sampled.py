"""Sampled Gumbel search: actions drawn from the policy, tried by Sequential Halving, in torch (Wang et al. 2024).

EfficientZero V2's search for continuous actions, and Gumbel MuZero's for discrete ones. A round visits every action in
the running once, so its simulations are one batch of the model: the root's actions meet only at the root, and who is in
the running is settled when a round begins (Danihelka et al. 2022, algorithm 2; mctx looks again at each simulation, and
may change its mind within a round). 32 simulations of 16 actions are 4 rounds, one after the other, instead of 32.

Q-values are compared by the range of all returns that a tree has seen, as in MuZero (Schrittwieser et al. 2020,
appendix B) and EfficientZero V2, where mctx stretches those of every node by themselves: two interior actions that are
worth the same but for noise would always be the best and the worst that there is. The range holds the root's returns
one step discounted, too, as EfficientZero V2's does: so a difference is weighed against the reward of a step at least
(``1 - discount`` of the root's value), whatever unit rewards have.

Static: no wait for the device, no branch on values; for thousands of roots, a CUDA graph, or an exported graph.

Shape letters: B roots, L latent, A action numbers, R root actions, k of them in the running, I interior actions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from robot_wm.errors import UserError
from robot_wm.nn.categorical import one_hot
from robot_wm.nn.heads import Policy
from robot_wm.search.considered import halving_rounds
from robot_wm.search.gumbel import interior_action, score_considered
from robot_wm.search.latent_model import LatentModel, Transition
from robot_wm.search.nodes import Nodes, Path
from robot_wm.search.qtransforms import NodeStatistics, completed_qvalues, scaled_qvalues
from robot_wm.search.torch_arrays import TORCH
from robot_wm.search.tree import masked_argmax, masked_logits


@dataclass(frozen=True)
class SearchConfig:
    """How a sampled search thinks. The defaults are EfficientZero V2's for proprioceptive control.

    As many simulations as candidates try each once, and look no further: 32 of 16 reach 4 steps deep, 50 of 16 up to
    12. Raises UserError where a number does not fit.
    """

    num_simulations: int = 32
    max_depth: int = 5  # edges from the root
    root_actions: int = 16  # R, where continuous; discrete searches have all A
    root_policy: int = 4  # of them from the policy, the others from the policy with a wider std
    root_widening: float = 3.0  # factor of that std
    interior_actions: int = 2  # I, where continuous
    gumbel_scale: float = 1.0  # of the noise; 0: the best candidate, as EfficientZero V2 takes where continuous
    c_visit: float = 50.0
    c_scale: float = 0.1
    value_minmax_delta: float = 0.01  # reward units: a smaller range of a tree's returns is not stretched to [0, 1]

    def __post_init__(self) -> None:
        for name in ("num_simulations", "max_depth", "root_actions", "interior_actions"):
            if getattr(self, name) < 1:
                raise UserError(f"search: {name} must be 1 or more (got {getattr(self, name)})")
        if not 0 <= self.root_policy <= self.root_actions:
            raise UserError(
                f"search: root_policy must be 0 to root_actions, {self.root_actions} (got {self.root_policy})"
            )
        if not 0 <= self.gumbel_scale < float("inf"):
            raise UserError(f"search: gumbel_scale must be finite and 0 or more (got {self.gumbel_scale})")
        for name in ("root_widening", "c_visit", "c_scale", "value_minmax_delta"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UserError(f"search: {name} must be finite and above 0 (got {getattr(self, name)})")


class SearchNoise(NamedTuple):
    """All the randomness of a search."""

    gumbel: Tensor  # [B, R] standard Gumbel; zeros are greedy
    root: Tensor | None  # [B, R, A] standard normal: the root's candidates; None where discrete
    interior: Tensor | None  # [B, num_simulations, I, A] standard normal: those of each simulation's new node


@dataclass(frozen=True)
class SearchOutput:
    """What a search says of B roots."""

    action: Tensor  # [B, A] float32: Sequential Halving's choice, in [-1, 1] or one-hot
    index: Tensor  # [B] int64: of the action among the candidates
    candidates: Tensor  # [B, R, A] float32
    weights: Tensor  # [B, R] float32: the improved policy over the candidates, sums to 1
    value: Tensor  # [B] float32, reward units: of the improved policy, by the completed Q-values
    visits: Tensor  # [B, R] float32, whole numbers that sum to num_simulations, or less where few actions are valid
    qvalues: Tensor  # [B, R] float32, reward units: completed by the mixed value where never visited


def noise_shapes(config: SearchConfig, *, batch: int, action_dim: int, discrete: bool) -> dict[str, tuple[int, ...]]:
    """The shape of each array of SearchNoise that such a search needs, by name."""
    if discrete:
        return {"gumbel": (batch, action_dim)}
    return {
        "gumbel": (batch, config.root_actions),
        "root": (batch, config.root_actions, action_dim),
        "interior": (batch, config.num_simulations, config.interior_actions, action_dim),
    }


def draw_noise(
    config: SearchConfig,
    *,
    batch: int,
    action_dim: int,
    discrete: bool,
    device: torch.device | str = "cpu",
    generator: torch.Generator | None = None,
) -> SearchNoise:
    """Fresh noise for a search, on ``device``."""
    shapes = noise_shapes(config, batch=batch, action_dim=action_dim, discrete=discrete)
    gumbel = -torch.empty(shapes["gumbel"], device=device).exponential_(generator=generator).log()
    if discrete:
        return SearchNoise(gumbel, None, None)
    normal = partial(torch.randn, generator=generator, device=device)
    return SearchNoise(gumbel, normal(shapes["root"]), normal(shapes["interior"]))


@torch.no_grad()
def search(
    model: LatentModel,
    latent: Tensor,
    noise: SearchNoise,
    config: SearchConfig,
    invalid_actions: Tensor | None = None,
) -> SearchOutput:
    """Think about latents [B, L].

    ``invalid_actions`` [B, R] is True (or 1) where a candidate must not be taken, for discrete actions. A round has the
    same length for all roots: where fewer actions are valid than it has places, the model is asked for nothing.
    """
    return _Search(model, latent, noise, config, invalid_actions).run()


class _Search:
    """Trees of B roots. Simulation s adds node s of a root; the first nodes are where its candidates lead."""

    def __init__(
        self, model: LatentModel, latent: Tensor, noise: SearchNoise, config: SearchConfig, invalid: Tensor | None
    ) -> None:
        noise = noise._replace(gumbel=config.gumbel_scale * noise.gumbel)
        self.model, self.latent, self.noise, self.config, self.invalid = model, latent, noise, config, invalid
        policy, self.value = model.predict(latent)
        self.candidates = self._root_candidates(policy)  # [B, R, A]
        self.batch, self.width, _ = TORCH.sizes(self.candidates)
        logits = masked_logits(policy.first if model.discrete else torch.zeros_like(noise.gumbel), invalid)
        self.logits = logits - logits.amax(-1, keepdim=True)  # [B, R]
        self.probs = self.logits.softmax(-1)
        self.rounds = halving_rounds(min(self.width, config.num_simulations), config.num_simulations)
        self.trees = torch.arange(self.batch, device=latent.device)  # [B]
        self.offset = self.trees[:, None] * config.num_simulations  # [B, 1]
        self.running = torch.arange(self.width, device=latent.device).expand(self.batch, -1)  # [B, k] candidates
        self.all_tried = self.rounds[0].actions == self.width  # else there is one round only
        if not self.all_tried:
            self.running = self._best(torch.zeros_like(self.logits), self.rounds[0].actions)
        self.interior = model.action_dim if model.discrete else config.interior_actions  # I
        embedding = (latent,) if model.discrete else (latent, latent.new_zeros(1, self.interior, model.action_dim))
        count = self.batch * config.num_simulations
        self.nodes = Nodes(count, self.interior, like=self.value, embedding=embedding)
        self.least, self.greatest = self.value + math.inf, self.value - math.inf  # [B] of the returns seen

    def _root_candidates(self, policy: Policy) -> Tensor:
        if policy.std is None:
            batch, actions = TORCH.sizes(policy.first)
            return torch.eye(actions, device=policy.first.device).expand(batch, actions, actions)
        assert self.noise.root is not None
        place = torch.arange(self.config.root_actions, device=policy.std.device)[:, None]
        widening = torch.where(place < self.config.root_policy, 1.0, self.config.root_widening)  # [R, 1]
        spread = policy.std[:, None] * widening
        return (policy.first[:, None] + spread * self.noise.root).clamp(-1.0, 1.0)

    def run(self) -> SearchOutput:
        """All rounds, and what they have found."""
        simulated = 0
        for number, halving in enumerate(self.rounds):
            if number > 0 and halving.actions < self.rounds[number - 1].actions:
                _, scaled = self._qvalues(self._statistics(), self.trees)
                self.running = self.running.gather(1, self._best(scaled, halving.actions))
            fresh = torch.arange(simulated, simulated + halving.actions, device=self.offset.device)
            self._visit(number, simulated, (self.offset + fresh).reshape(-1))
            simulated += halving.actions
        return self._output()

    def _best(self, scaled: Tensor, count: int) -> Tensor:
        """Places [B, count] of the best among those in the running, by scaled Q-values [B, R]."""
        scores = self.noise.gumbel + self.logits + scaled
        return TORCH.best_first(scores.gather(1, self.running), count)

    def _visit(self, number: int, simulated: int, fresh: Tensor) -> None:
        """Simulate once below each action in the running; new nodes are written to ``fresh`` [B * k]."""
        nodes = self.nodes
        if number == 0:
            step = self._try_candidates()
            nodes.evaluate(fresh, step.prediction.value, step.reward, step.discount)
            self._see(step.reward + step.discount * step.prediction.value, step.discount)
            node = passed = fresh
        elif self.config.max_depth == 1:  # the model would say the same once more
            roots = (self.offset + self.running).reshape(-1)
            nodes.visits = TORCH.put(nodes.visits, roots, TORCH.take(nodes.visits, roots) + 1)
            return
        else:
            first = (self.offset + self.running).reshape(-1)
            path = nodes.descend(first, min(self.config.max_depth - 1, number))
            node = nodes.child(path, fresh)
            step = self._try_choice(path)
            nodes.evaluate(node, step.prediction.value, step.reward, step.discount)
            returns = nodes.back_up(path, node)
            discount = TORCH.take(nodes.discounts, first)
            self._see(TORCH.take(nodes.rewards, first) + discount * returns[0], discount, returns)
            passed = torch.cat([path.nodes.reshape(-1), node])
        if number + 1 < len(self.rounds):
            self._expand(node, step, simulated)
            known = nodes.statistics(passed)
            tree = torch.div(passed, self.config.num_simulations, rounding_mode="trunc")
            nodes.choose(passed, interior_action(known, self._qvalues(known, tree)[1]))

    def _see(self, returns: Tensor, discount: Tensor, below: Tensor | None = None) -> None:
        """Widen the trees' ranges by returns [B * k] from the roots on, over edges of these discounts, and by those of
        the nodes ``below`` [D, B * k].

        The root is counted as if a step of no reward led to it.
        """
        seen = torch.stack([returns, discount * returns])
        if below is not None:
            seen = torch.cat([seen, below])
        least, greatest = TORCH.extremes(seen.unflatten(1, (self.batch, -1)).transpose(0, 1).flatten(1))
        self.least = torch.minimum(self.least, least[:, 0])
        self.greatest = torch.maximum(self.greatest, greatest[:, 0])

    def _try_candidates(self) -> Transition:
        count = self.rounds[0].actions
        latent = self.latent[:, None].expand(-1, count, -1).reshape(self.batch * count, -1)
        actions = self.candidates
        if not self.all_tried:
            actions = actions.gather(1, self.running[..., None].expand(-1, -1, self.model.action_dim))
        return self.model.step(latent, actions.reshape(-1, self.model.action_dim))

    def _try_choice(self, path: Path) -> Transition:
        latent = self.nodes.embeddings[0].index_select(0, path.parent)
        if self.model.discrete:
            action = path.edges[-1] - path.parent * self.interior
            return self.model.step(latent, one_hot(action, self.interior, torch.float32))
        drawn = self.nodes.embeddings[1].reshape(-1, self.model.action_dim)  # [M * I, A], as edges are counted
        return self.model.step(latent, drawn.index_select(0, path.edges[-1]))

    def _expand(self, node: Tensor, step: Transition, simulated: int) -> None:
        """Draw what is to be tried from nodes [B * k]."""
        policy = step.prediction.policy
        if policy.std is None:
            self.nodes.expand(node, policy.first, (step.latent,))
            return
        assert self.noise.interior is not None
        noise = self.noise.interior[:, simulated : simulated + TORCH.sizes(self.running)[1]]
        noise = noise.reshape(-1, self.interior, self.model.action_dim)  # [B * k, I, A]
        drawn = (policy.first[:, None] + policy.std[:, None] * noise).clamp(-1.0, 1.0)
        self.nodes.expand(node, torch.zeros_like(drawn[..., 0]), (step.latent, drawn))

    def _statistics(self) -> NodeStatistics:
        """Of the roots: of the candidates [B, R] as actions."""
        nodes = self.nodes
        visits, values, rewards, discounts = (
            table.reshape(self.batch, -1)[:, : self.rounds[0].actions]
            for table in (nodes.visits, nodes.values, nodes.rewards, nodes.discounts)
        )
        qvalues = rewards + discounts * values
        if not self.all_tried:
            nowhere = torch.zeros_like(self.logits)
            visits, qvalues = (nowhere.scatter(1, self.running, table) for table in (visits, qvalues))
        if self.invalid is not None:  # there were fewer valid candidates than places in the running
            visits, qvalues = (table.masked_fill(self.invalid > 0, 0.0) for table in (visits, qvalues))
        return NodeStatistics(
            visit_counts=visits,
            qvalues=qvalues,
            prior_logits=self.logits,
            prior_probs=self.probs,
            node_visits=visits.sum(-1, keepdim=True) + 1,
            node_values=self.value[:, None],
            raw_values=self.value[:, None],
        )

    def _qvalues(self, known: NodeStatistics, tree: Tensor) -> tuple[Tensor, Tensor]:
        """Completed Q-values [P, A] of nodes of trees [P], and scaled ones."""
        completed = completed_qvalues(known)
        config = self.config
        return completed, scaled_qvalues(
            completed,
            known.visit_counts,
            value_scale=config.c_scale,
            maxvisit_init=config.c_visit,
            epsilon=config.value_minmax_delta,
            extremes=(TORCH.take(self.least, tree)[:, None], TORCH.take(self.greatest, tree)[:, None]),
        )

    def _output(self) -> SearchOutput:
        known = self._statistics()
        qvalues, scaled = self._qvalues(known, self.trees)
        most = known.visit_counts.amax(-1, keepdim=True)
        scores = score_considered(most, known.visit_counts, self.noise.gumbel + self.logits + scaled)
        index = masked_argmax(scores, self.invalid)
        weights = masked_logits(self.logits + scaled, self.invalid).softmax(-1)
        return SearchOutput(
            action=(one_hot(index, self.width, torch.float32)[..., None] * self.candidates).sum(1),
            index=index,
            candidates=self.candidates,
            weights=weights,
            value=(weights * qvalues).sum(-1),
            visits=known.visit_counts,
            qvalues=qvalues,
        )
