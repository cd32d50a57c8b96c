"""The simulator that states are restored in: the task of the agent, in the episode's world or in another one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from robot_wm.replay.episode import Episode
from robot_wm.spec import AgentSpec, require_same
from robot_wm.tasks import GYM_PREFIX, agent_spec, make_env


@dataclass(frozen=True)
class World:
    """A task with its options. Those in ``changed`` are given by whoever asks: a world other than the episodes' own."""

    task: str
    options: Mapping[str, Any]
    changed: Mapping[str, Any] = field(default_factory=dict)

    def engine(self, episode: Episode) -> str:
        """The physics of an episode's environment; empty where the task brings its own."""
        if self.task.startswith(GYM_PREFIX):
            return ""
        return str(self.changed.get("backend", episode.source.backend))

    def make(self, engine: str, spec: AgentSpec, *, render: bool = False) -> Any:
        """An environment over that engine; UserError where its contract is not ``spec``."""
        options = {**self.options, **self.changed}
        if engine:
            options["backend"] = engine
        env = make_env(self.task, render=render, **options)
        try:
            require_same(spec, agent_spec(env), origin=f"task {self.task}")
        except BaseException:
            env.close()
            raise
        return env

    def restart(self, env: Any, episode: Episode) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Reset to the episode's beginning: its seed, and what was randomised for it unless the world was changed."""
        drawn = episode.source.randomisation
        again = {"randomisation": drawn} if drawn and "randomisation" not in self.changed else None
        observation, info = env.reset(seed=episode.source.seed, options=again)
        return observation, info
