"""An update of MuZero written as its papers are read: window by window, step by step, nothing clever."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from robot_wm.search.sampled import SearchNoise, search


@dataclass
class Plain:
    """What an update should have come to."""

    losses: dict[str, torch.Tensor]
    gradients: dict[str, torch.Tensor]
    priority: list[float]
    write_back: dict[str, torch.Tensor]  # [W, K1, ...]


def plain_update(learner, batch, noise: SearchNoise) -> Plain:
    """Losses, gradients and what goes back, of the learner as it is; nothing of it is changed."""
    agent, config = learner.agent, learner.config
    size = batch.reward.shape[0]
    again = round(config.reanalyse * size)
    sums = dict.fromkeys(("reward", "value", "policy", "continue", "consistency", "entropy"), torch.zeros(()))
    priority, back = [], {"search_actions": [], "search_weights": [], "search_value": []}
    for b in range(size):
        window = Window(agent, config, batch, b)
        if b >= size - again:
            window.search_again(noise, first=(b - (size - again)) * (config.unroll + 1))
            for name, found in zip(back, zip(*window.searched, strict=True), strict=True):
                back[name].append(torch.stack(found))
        for name, value in window.losses().items():
            sums[name] = sums[name] + float(batch.window["weight"][b]) * value
        priority.append(window.error)
    losses = {name: value / size for name, value in sums.items()}
    total = sum(getattr(config, f"scale_{name}") * value for name, value in losses.items())
    named = {name: p for name, p in agent.named_parameters() if p.requires_grad}
    gradients = torch.autograd.grad(total, list(named.values()))
    return Plain(
        losses={name: value.detach() for name, value in losses.items()},
        gradients=dict(zip(named, gradients, strict=True)),
        priority=priority,
        write_back={name: torch.stack(found) for name, found in back.items()} if again else {},
    )


class Window:
    """One window; its step 1 is the root. Row t of a batch: what was observed, and the action after it."""

    def __init__(self, agent, config, batch, b):
        self.agent, self.config, self.batch, self.b = agent, config, batch, b
        many = not agent.discrete and agent.action_dim > 1
        self.learns_best = config.policy_target == "best" or (config.policy_target == "auto" and many)
        stored = batch.stored
        self.searched = [
            tuple(stored[name][b, 1 + k] for name in ("search_actions", "search_weights", "search_value"))
            for k in range(config.unroll + 1)
        ]
        self.stale = float(batch.window["age"][b]) >= config.search_value_age
        self.error = 0.0

    def obs(self, t):
        return {name: value[self.b, t][None] for name, value in self.batch.obs.items()}

    def flag(self, name, t):
        return bool(getattr(self.batch, name)[self.b, t])

    def search_again(self, noise, *, first):
        model = self.agent.latent_model(target=True)
        for k in range(self.config.unroll + 1):
            mine = SearchNoise(*(None if part is None else part[first + k][None] for part in noise))
            out = search(model, self.agent.target.representation(self.obs(1 + k)), mine, self.agent.search)
            self.searched[k] = (out.candidates[0], out.weights[0], out.value[0])

    def state(self, t):
        """'inside' the root's episode, 'over' after its terminal state, or 'unknown'."""
        for step in range(1, t):
            if self.flag("is_terminal", step):
                return "over"
            if self.flag("is_first", step + 1):
                return "unknown"
        return "inside"

    def value_target(self, t):
        """None where nothing is known."""
        state = self.state(t)
        if state == "over" or (state == "inside" and self.flag("is_terminal", t)):
            return 0.0
        if state == "unknown":
            return None
        found = self.searched[t - 1]
        if self.stale and float(found[1].sum()) > 0.5:
            return float(found[2])
        total, scale, at = 0.0, 1.0, t
        for _ in range(self.config.td_steps):
            over = self.flag("is_last", at) or self.flag("is_terminal", at)
            if over or at == self.config.batch_length:
                break
            if self.flag("is_first", at + 1) or not self.flag("reward_known", at + 1):
                break
            at += 1
            total += scale * float(self.batch.reward[self.b, at])
            scale *= self.config.discount
        if at == t:
            return None
        if not self.flag("is_terminal", at):
            with torch.no_grad():
                total += scale * float(self.agent.target.value(self.agent.target.representation(self.obs(at))))
        return total

    def losses(self):
        agent, steps = self.agent, self.config.unroll
        out = {name: torch.zeros(()) for name in ("reward", "value", "policy", "continue", "consistency", "entropy")}
        latent = agent.model.representation(self.obs(1))
        for k in range(steps + 1):
            t, share, state = 1 + k, 1.0 if k == 0 else 1.0 / steps, self.state(1 + k)
            terminal = state == "inside" and self.flag("is_terminal", t)
            if k > 0:
                into = latent.clone()
                into.register_hook(lambda g: g * self.config.latent_gradient)
                step = agent.model.dynamics(into, self.batch.action[self.b, t - 1][None])
                latent = step.latent
                reward = 0.0 if state == "over" else float(self.batch.reward[self.b, t])
                if state == "over" or (state == "inside" and self.flag("reward_known", t)):
                    out["reward"] = out["reward"] + share * cross_entropy(
                        agent.model.dynamics.reward, step.reward, reward
                    )
                if state != "unknown":
                    goes_on = torch.tensor([0.0 if terminal or state == "over" else 1.0])
                    out["continue"] = out["continue"] + share * F.binary_cross_entropy_with_logits(step.cont, goes_on)
                if state == "inside":
                    with torch.no_grad():
                        seen = agent.consistency.project(agent.model.representation(self.obs(t)))[0]
                    mine = agent.consistency.predict(latent)[0]
                    cosine = (mine @ seen) / (mine.norm() * seen.norm())
                    out["consistency"] = out["consistency"] - share * cosine
            target, logits = self.value_target(t), agent.model.value_logits(latent)
            if target is not None:
                out["value"] = out["value"] + share * cross_entropy(agent.model.critic, logits, target)
                if k == 0:
                    self.error = abs(float(agent.model.value(latent).detach()) - target)
            actions, weights, _ = self.searched[k]
            if state == "inside" and not terminal and float(weights.sum()) > 0.5:
                policy = agent.model.policy(latent)
                if self.learns_best:
                    best = max(range(len(weights)), key=lambda place: float(weights[place]))
                    weights = [float(place == best) for place in range(len(weights))]
                for action, weight in zip(actions, weights, strict=True):
                    out["policy"] = out["policy"] - share * weight * policy.log_prob(action[None])[0]
                out["entropy"] = out["entropy"] - share * policy.entropy()[0]
        return out


def cross_entropy(head, logits, target):
    index, weight = head.twohot.weights(torch.tensor([target]))
    return -(weight * logits.log_softmax(-1).gather(-1, index)).sum()
