"""Episodes of a task as its agent's monitor sees them.

Shape letters: E environments, T ticks, F numbers of the belief, U numbers of the operator's command.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from robot_wm.figures import success
from robot_wm.learning.agent import Agent, initial_state
from robot_wm.runtime.monitor import command_fields
from robot_wm.runtime.transform import ObservationTransform, to_command
from robot_wm.spec import AgentSpec

if TYPE_CHECKING:
    import gymnasium


@dataclass(frozen=True)
class WatchedEpisode:
    """One episode, over when the robot is down."""

    surprise: NDArray[np.float32]  # [T]
    value: NDArray[np.float32]  # [T]
    belief: NDArray[np.float32]  # [T, F]
    command: NDArray[np.float32]  # [T, U] SI
    down: bool  # the last action brought it to the ground


@dataclass
class _Row:
    """An episode under way."""

    surprise: list[float] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    belief: list[NDArray[np.float32]] = field(default_factory=list)
    command: list[NDArray[np.float32]] = field(default_factory=list)

    def finished(self, down: bool) -> WatchedEpisode:
        return WatchedEpisode(
            np.array(self.surprise, np.float32),
            np.array(self.value, np.float32),
            np.stack(self.belief),
            np.stack(self.command),
            down,
        )


def is_down(terminated: bool, info: Mapping[str, Any]) -> bool:
    """Whether a step brought the robot to the ground: it ended the episode without success."""
    return terminated and success(info) != 1.0


@torch.inference_mode()
def watched_episodes(
    agent: Agent,
    spec: AgentSpec,
    envs: Sequence[gymnasium.Env[Any, Any]],
    *,
    episodes: int,
    max_ticks: int,
    seed: int,
) -> Iterator[WatchedEpisode]:
    """Greedy episodes of ``agent`` [E at a time], the i-th seeded with ``seed + i``, in the order in which they end."""
    envs = envs[:episodes]
    count = len(envs)
    wanted = [entry.name for entry in command_fields(spec)]
    transform = ObservationTransform(spec, batch=count)
    noise = {entry.name: torch.zeros((count, *entry.shape[1:])) for entry in agent.noise}
    state = initial_state(agent.state, count, "cpu")
    is_first = np.ones(count, dtype=bool)  # [E]
    seen = [env.reset(seed=seed + index)[0] for index, env in enumerate(envs)]
    rows: list[_Row | None] = [_Row() for _ in envs]
    begun = count
    while any(row is not None for row in rows):
        raw = {entry.name: np.stack([frame[entry.name] for frame in seen]) for entry in spec.observations}
        inputs = {name: torch.from_numpy(value) for name, value in transform.push(raw, is_first).items()}
        made = agent.tick(inputs, torch.from_numpy(is_first.astype(np.float32)), state, noise)
        state = made.state
        out = {name: value.numpy() for name, value in made.outputs.items()}
        commands = to_command(spec.action, out["action"])  # [E, A]
        is_first = np.zeros(count, dtype=bool)
        for index, (env, row) in enumerate(zip(envs, rows, strict=True)):
            if row is None:
                continue
            row.surprise.append(float(out["surprise"][index]))
            row.value.append(float(out["value"][index]))
            belief = np.zeros(0, np.float32) if agent.belief is None else out[agent.belief][index]
            row.belief.append(belief.ravel().copy())
            row.command.append(np.concatenate([np.zeros(0, np.float32), *(raw[name][index] for name in wanted)]))
            action = int(commands[index].argmax()) if spec.action.is_discrete else commands[index]
            seen[index], _, terminated, truncated, info = env.step(action)
            down = is_down(terminated, info)
            if terminated or truncated or len(row.surprise) == max_ticks:
                yield row.finished(down)
                rows[index] = None
                if begun < episodes:
                    seen[index], _ = env.reset(seed=seed + begun)
                    rows[index], begun, is_first[index] = _Row(), begun + 1, True
