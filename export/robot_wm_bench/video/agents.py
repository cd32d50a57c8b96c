"""Trained agents as contenders, as they act on the robot and with the search that they learned by."""

from __future__ import annotations

import numpy as np

from robot_wm.spec import require_same
from robot_wm.training.actor import Actor
from robot_wm.training.initial import load_source
from robot_wm_bench.video.contest import Planner
from robot_wm_worlds.video.env import RateControlEnv
from robot_wm_worlds.video.plans import Plan

SEED = 0  # of a search's noise


def agent_planners(source: str, env: RateControlEnv) -> dict[str, Planner]:
    """A run's, a checkpoint's or a zoo agent's: greedy, and where it has one also with its search.

    Raises UserError for an agent of another task, or of this one with other fields.
    """
    loaded = load_source(source)
    require_same(loaded.spec, env.agent_spec, origin=source)
    agent, kind = loaded.agent, loaded.state.config.agent
    searches = bool(agent.explore_noise) and kind == "muzero"

    def play(env: RateControlEnv, test: int, *, search: bool) -> Plan:
        agent.eval_search = search
        actor = Actor(agent, env.agent_spec, envs=1, seed=SEED, greedy=True)
        observation, _ = env.reset(options={"test": test})
        is_first, is_over = np.array([True]), False
        while not is_over:
            acted = actor.act({name: value[None] for name, value in observation.items()}, is_first)
            observation, _, is_over, _, _ = env.step(int(acted.command.argmax()))
            is_first = np.array([False])
        return np.array(env.plan)

    found: dict[str, Planner] = {f"{source} ({kind})": lambda env, test: play(env, test, search=False)}
    if searches:
        found[f"{source} ({kind}, search)"] = lambda env, test: play(env, test, search=True)
    return found
