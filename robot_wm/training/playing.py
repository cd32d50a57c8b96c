"""An agent plays in a simulator, without learning, and what it experiences goes to a store."""

from __future__ import annotations

from collections.abc import Mapping

from robot_wm.learning.agent import Agent
from robot_wm.replay.sampler import SequenceSampler
from robot_wm.replay.store import EpisodeStore
from robot_wm.spec import require_same
from robot_wm.tasks import backend_names
from robot_wm.training.actor import Actor
from robot_wm.training.collector import Stepper
from robot_wm.training.config import OptionValue
from robot_wm.training.env_pool import EnvPool
from robot_wm.training.experience import Experience, Finished

_WINDOW = 2  # nothing is drawn here


def play(
    agent: Agent,
    task: str,
    options: Mapping[str, OptionValue],
    store: EpisodeStore,
    *,
    steps: int,
    seed: int,
    envs: int = 1,
    greedy: bool = False,
    policy: str = "",
) -> list[Finished]:
    """Take ``steps`` control steps, those of all environments together; returns the episodes that ended.

    Resets are no control steps. What has begun by the end is stored, too. ``policy`` is who acted, as the store's
    episodes tell it. Raises UserError where the task's spec is not the store's.
    """
    with EnvPool(task, dict(options), envs=envs, processes=0, seed=seed) as pool:
        require_same(store.spec, pool.agent_spec, origin=f"task {task}")
        stepper = Stepper(pool, Actor(agent, pool.agent_spec, envs=envs, seed=seed, greedy=greedy))
        engines = backend_names(task, options)
        experience = Experience(
            pool.agent_spec,
            SequenceSampler(
                pool.agent_spec, capacity_steps=2 * _WINDOW * envs, length=_WINDOW, streams=envs, stored=agent.stored
            ),
            store,
            streams=envs,
            backends=[engines[n % len(engines)] for n in range(envs)],
            figure_names=pool.figure_names,
            randomisation_names=pool.randomisation_names,
        )
        finished: list[Finished] = []
        taken = 0
        while taken < steps:
            transition = stepper.step(policy=policy, random=False)
            finished += experience.add(transition)
            taken += int((~transition.is_first).sum())
        experience.close()
    return finished
