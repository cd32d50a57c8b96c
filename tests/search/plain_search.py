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

    def sigma(self, config) -> list[float]:
        completed = self.completed()
        least, span = min(completed), max(max(completed) - min(completed), config.value_minmax_delta)
        scale = (config.c_visit + max(self.visits)) * config.c_scale
        return [scale * (q - least) / span for q in completed]


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
    gumbel = noise.gumbel[0].tolist()
    left, simulation = config.num_simulations, 0
    running = list(range(len(logits)))
    size = min(len(running), config.num_simulations)
    halvings = max(1, math.ceil(math.log2(size))) if size > 1 else 1
    phase = size
    while left:
        for _ in range(max(1, config.num_simulations // (halvings * phase)) if size > 1 else config.num_simulations):
            if min(phase, left) < len(running):
                sigma = root.sigma(config)
                running = sorted(running, key=lambda k: -(gumbel[k] + logits[k] + sigma[k]))[: min(phase, left)]
            for action in running:
                simulate(model, root, action, 1, noise, simulation, config)
                simulation += 1
            left -= len(running)
            if not left:
                break
        phase = max(2, phase // 2) if size > 1 else 1
    sigma = root.sigma(config)
    improved = softmax([logits[k] + sigma[k] for k in range(len(logits))])
    most = max(root.visits)
    best = max(
        (k for k in range(len(logits)) if root.visits[k] == most), key=lambda k: gumbel[k] + logits[k] + sigma[k]
    )
    return root.visits, root.completed(), improved, best


def simulate(model, parent, action, depth, noise, number, config) -> float:
    """Go down from an action at a depth; what comes back is the return from its parent on."""
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
        return known.reward + known.discount * value
    sigma = known.sigma(config)
    policy = softmax([logit + q for logit, q in zip(known.logits, sigma, strict=True)])
    share = [p - visits / (1 + sum(known.visits)) for p, visits in zip(policy, known.visits, strict=True)]
    gained = simulate(model, known, share.index(max(share)), depth + 1, noise, number, config)
    known.returns.append(gained)
    return known.reward + known.discount * gained
