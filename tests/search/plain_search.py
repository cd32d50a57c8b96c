"""The sampled search once more, as on a blackboard: one root, objects, recursion, one call of the model at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch


@dataclass
class Node:
    latent: torch.Tensor  # [1, L]
    actions: torch.Tensor  # [K, A]
    logits: list[float]
    raw_value: float
    reward: float = 0.0
    discount: float = 0.0
    returns: list[float] = field(default_factory=list)
    children: dict[int, Node] = field(default_factory=dict)
    choice: int = 0  # of the actions, next time

    @property
    def value(self) -> float:
        return sum(self.returns) / len(self.returns)

    @property
    def visits(self) -> list[int]:
        return [len(self.children[k].returns) if k in self.children else 0 for k in range(len(self.logits))]

    def qvalue(self, action: int) -> float:
        child = self.children[action]
        return child.reward + child.discount * child.value

    def completed(self) -> list[float]:
        priors = softmax(self.logits)
        visited = list(self.children)
        total = sum(priors[k] for k in visited)
        weighted = sum(priors[k] * self.qvalue(k) for k in visited) / total if visited else 0.0
        visits = sum(self.visits)
        mixed = (self.raw_value + visits * weighted) / (visits + 1)
        return [self.qvalue(k) if k in self.children else mixed for k in range(len(self.logits))]

    def sigma(self, config, seen: list[float]) -> list[float]:
        """Scaled Q-values, by the range of all returns that the tree has seen."""
        if not seen:
            return [0.0] * len(self.logits)
        least, span = min(seen), max(max(seen) - min(seen), config.value_minmax_delta)
        scale = (config.c_visit + max(self.visits)) * config.c_scale
        return [scale * min(max((q - least) / span, 0.0), 1.0) for q in self.completed()]

    def choose(self, config, seen: list[float]) -> None:
        policy = softmax([logit + q for logit, q in zip(self.logits, self.sigma(config, seen), strict=True)])
        share = [p - visits / (1 + sum(self.visits)) for p, visits in zip(policy, self.visits, strict=True)]
        self.choice = share.index(max(share))


def softmax(logits: list[float]) -> list[float]:
    raised = [math.exp(x - max(logits)) for x in logits]
    return [x / sum(raised) for x in raised]


def plain_search(model, latent, noise, config):
    """One root's (visits, completed Q-values, improved policy, index of the action)."""
    policy, value = model.predict(latent)
    if model.discrete:
        candidates, logits = torch.eye(model.action_dim), policy.first[0].tolist()
    else:
        near = config.root_policy
        wide = [1.0 if k < near else config.root_widening for k in range(config.root_actions)]
        candidates = torch.stack(
            [policy.first[0] + wide[k] * policy.std[0] * noise.root[0, k] for k in range(config.root_actions)]
        ).clamp(-1, 1)
        logits = [0.0] * config.root_actions
    root = Node(latent, candidates, logits, float(value), returns=[float(value)])
    gumbel = [config.gumbel_scale * drawn for drawn in noise.gumbel[0].tolist()]
    left, simulation, seen = config.num_simulations, 0, []
    running = list(range(len(logits)))
    size = min(len(running), config.num_simulations)
    halvings = max(1, math.ceil(math.log2(size))) if size > 1 else 1
    phase = size
    while left:
        for _ in range(max(1, config.num_simulations // (halvings * phase)) if size > 1 else config.num_simulations):
            if min(phase, left) < len(running):
                sigma = root.sigma(config, seen)
                running = sorted(running, key=lambda k: -(gumbel[k] + logits[k] + sigma[k]))[: min(phase, left)]
            passed = []
            for action in running:
                gained = simulate(model, root, action, 1, noise, simulation, config, seen, passed)
                seen.append(root.children[action].discount * gained)  # as if a step of no reward led to the root
                simulation += 1
            for node in passed:
                node.choose(config, seen)
            left -= len(running)
            if not left:
                break
        phase = max(2, phase // 2) if size > 1 else 1
    sigma = root.sigma(config, seen)
    improved = softmax([logits[k] + sigma[k] for k in range(len(logits))])
    most = max(root.visits)
    best = max(
        (k for k in range(len(logits)) if root.visits[k] == most), key=lambda k: gumbel[k] + logits[k] + sigma[k]
    )
    return root.visits, root.completed(), improved, best


def simulate(model, parent, action, depth, noise, number, config, seen, passed) -> float:
    """Go down from an action at a depth; what comes back, and is seen, is the return from its parent on."""
    known = parent.children.get(action)
    if known is None or depth == config.max_depth:
        step = model.step(parent.latent, parent.actions[action][None])
        policy = step.prediction.policy
        if model.discrete:
            actions, logits = torch.eye(model.action_dim), policy.first[0].tolist()
        else:
            drawn = policy.first[0] + policy.std[0] * noise.interior[0, number]
            actions, logits = drawn.clamp(-1, 1), [0.0] * config.interior_actions
        value = float(step.prediction.value)
        if known is None:
            known = parent.children[action] = Node(
                step.latent, actions, logits, value, float(step.reward), float(step.discount)
            )
        known.returns.append(value)
        gained = known.reward + known.discount * value
    else:
        below = simulate(model, known, known.choice, depth + 1, noise, number, config, seen, passed)
        known.returns.append(below)
        gained = known.reward + known.discount * below
    passed.append(known)
    seen.append(gained)
    return gained
