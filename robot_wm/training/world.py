"""What a run knows of its environments before they are made."""

from __future__ import annotations

from dataclasses import dataclass

from robot_wm.errors import UserError
from robot_wm.figures import figure_names
from robot_wm.randomisation import randomisation_names
from robot_wm.spec import AgentSpec
from robot_wm.tasks import RewardFrom, agent_spec, backend_names, environment_options, make_env, reward_function
from robot_wm.training.config import TrainConfig


@dataclass(frozen=True)
class World:
    """A task as its environments tell of it, whatever their engine."""

    spec: AgentSpec
    figure_names: tuple[str, ...]
    randomisation_names: tuple[str, ...]
    reward_from: RewardFrom | None
    engines: tuple[str, ...]

    def backends(self, envs: int) -> list[str]:
        """The engine of each of ``envs`` environments, which take them in turn."""
        return [self.engines[n % len(self.engines)] for n in range(envs)]


def look_at(config: TrainConfig) -> World:
    """Make an environment of each engine and ask it; raises UserError where one cannot be made.

    Each now: what one refuses must not end a run that has begun.
    """
    engines = backend_names(config.task, config.task_options)
    if len(engines) > config.envs:
        raise UserError(f"envs is {config.envs}, fewer than the engines {', '.join(engines)} (--backend)")
    for index in range(len(engines)):
        options = environment_options(config.task, config.task_options, index)
        env = make_env(config.task, seed=config.seed, render=False, **options)
        world = World(
            agent_spec(env), figure_names(env), randomisation_names(env), reward_function(env), tuple(engines)
        )
        env.close()
    return world
