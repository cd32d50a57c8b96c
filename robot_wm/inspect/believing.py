"""What an agent believes along recorded episodes: latents, values and surprises of every step, filtered in batches.

Shape letters: W episodes side by side, K steps of one, N steps of all, L numbers of a latent, O of a field.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.learning.agent import Agent
from robot_wm.replay.episode import Episode
from robot_wm.replay.store import EpisodeStore
from robot_wm.runtime.transform import to_policy
from robot_wm.spec import AgentSpec
from robot_wm.training.actor import Actor

_WIDTH = 16  # episodes that are filtered together

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Believed:
    """One episode's K steps, each with the observation taken in."""

    number: int  # of the episode in its store
    episode: Episode
    latent: Floats  # [K, L]
    value: Floats  # [K] reward units
    surprise: Floats  # [K] in the agent's unit


def believe(
    agent: Agent, spec: AgentSpec, episodes: Sequence[tuple[int, Episode]], *, most_steps: int | None = None
) -> list[Believed]:
    """Filter episodes by number, up to ``most_steps`` of each, with their own commands; UserError without a model."""
    imagination = agent.imagination()
    if imagination is None:
        raise UserError(f"an agent of the kind {agent.kind!r} has no latents that could be looked at")
    found: list[Believed] = []
    for first in range(0, len(episodes), _WIDTH):
        found += _together(agent, spec, episodes[first : first + _WIDTH], most_steps, imagination.latent)
    return found


def spread_over(store: EpisodeStore, steps: int, *, each: int) -> list[tuple[int, Episode]]:
    """About ``steps`` steps of episodes evenly spread over a store, no more than ``each`` of one counted."""
    index = store.index
    there = np.flatnonzero(index.readable & index.begins)
    if not len(there):
        raise UserError(f"{store.location}: holds no episode from its beginning")
    count = max(2, round(steps / float(np.minimum(index.steps[there], each).mean())))
    chosen = there[np.unique(np.linspace(0, len(there) - 1, count).round().astype(int))]
    return [(int(index.number[row]), store.episode(int(index.number[row]))) for row in chosen]


@torch.inference_mode()
def _together(
    agent: Agent,
    spec: AgentSpec,
    episodes: Sequence[tuple[int, Episode]],
    most_steps: int | None,
    latent: Callable[..., torch.Tensor],
) -> list[Believed]:
    width, lengths = len(episodes), [min(e.length, most_steps or e.length) for _, e in episodes]
    actor = Actor(agent, spec, envs=width, seed=0, greedy=True, searches=False)
    kept: list[tuple[Floats, Floats, Floats]] = []
    for k in range(max(lengths)):
        # A row that has ended goes on with its last step, and what it believes then is dropped below.
        at = [min(k, length - 1) for length in lengths]
        obs = {
            field.name: np.stack([e.obs[field.name][t] for (_, e), t in zip(episodes, at, strict=True)])
            for field in spec.observations
        }
        acted = actor.act(obs, np.full(width, k == 0))
        command = np.stack([e.action[t] for (_, e), t in zip(episodes, at, strict=True)])  # [W, A]
        actor.executed(to_policy(spec.action, command))
        kept.append((latent(actor.state).float().cpu().numpy(), acted.value, acted.surprise))
    latents, values, surprises = (np.stack(column) for column in zip(*kept, strict=True))  # [K, W, ...]
    return [
        Believed(number, episode, latents[:length, w], values[:length, w], surprises[:length, w])
        for w, ((number, episode), length) in enumerate(zip(episodes, lengths, strict=True))
    ]
