"""Whether a task's reward puts policies in the order of what they are worth."""

from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from scripted import Policy, clumsy, constant, episode, uniform


class Row(NamedTuple):
    """A task, who earns more than whom in it, and by how much.

    ``order`` runs from the best policy to the worst; between two of them stands how much more the first must return,
    as a mean over seeds 0 to ``seeds`` - 1. *good* does the task, *clumsy* is ``share`` of its commands and uniform
    noise for the rest, *idle* is the zero action in policy units, *random* is uniform, *suicide* ends episodes early.
    """

    task: str
    good: Policy
    order: tuple[str | float, ...]
    share: float = 0.5
    seeds: int = 4
    suicide: Policy | None = None  # None where no state but success ends an episode
    options: Mapping[str, Any] = MappingProxyType({})


def check(row, env):
    """Run every policy of the row on its task's environment and assert the order."""
    action = env.agent_spec.action
    idle = constant(np.broadcast_to(np.array(action.offset), len(action.joints)))

    def random(seed):
        return uniform(env.action_space.low, env.action_space.high, seed=seed)

    policies = {
        "good": lambda seed: row.good,
        "clumsy": lambda seed: clumsy(row.good, random(seed), share=row.share),
        "idle": lambda seed: idle,
        "random": random,
        "suicide": lambda seed: row.suicide,
    }
    names, margins = row.order[::2], row.order[1::2]
    episodes = {name: [episode(env, policies[name](seed), seed=seed) for seed in range(row.seeds)] for name in names}
    returns = {name: float(np.mean([one.total for one in episodes[name]])) for name in names}
    for (better, worse), margin in zip(pairwise(names), margins, strict=True):
        assert returns[better] > returns[worse] + margin, f"{better} against {worse} of {returns}"
    if "suicide" not in names:
        return
    assert all(one.terminated for one in episodes["suicide"]), "an early end was none"
    pairs = zip(episodes["suicide"], episodes["idle"], strict=True)
    assert all(early.steps < idle.steps for early, idle in pairs), "idle ended as early as the early end"
