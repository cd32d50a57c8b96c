"""Real states restored in the simulator, and what the policy really gets from there.

A stored episode names its seed and what was drawn for its world, and a seed fixes an episode bit by bit; so its reset
and its recorded commands lead to any of its states again, in every simulator that keeps that promise, and whether it
does shows: the observations must be the recorded ones. There the policy takes over.

Shape letters: W environments side by side, K control steps of one of them, L numbers of a latent, A action dimensions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from robot_wm.errors import StoppedError
from robot_wm.inspect.starts import Start
from robot_wm.inspect.world import World
from robot_wm.learning.agent import Agent
from robot_wm.learning.imagination import Imagination
from robot_wm.runtime.transform import to_policy
from robot_wm.spec import AgentSpec
from robot_wm.training.actor import Actor

SIDE_BY_SIDE = 16  # environments, as in an evaluation
SAME = 1e-6  # of a field's spread: what an observation that is there again differs from the recorded one by, at most

End = Literal["terminal", "time limit", "steps"]


@dataclass
class Lived:
    """One start's steps: ``step`` recorded ones, then those of the policy; K of them, and K + 1 observations."""

    start: Start
    end: End = "steps"
    deviation: float = 0.0  # largest of any observation from the recorded one, in spreads of its field
    deviates_from: int | None = None  # the first step at which it is no longer the recorded one
    command: list[NDArray[np.float32]] = field(default_factory=list)  # K of [A] SI, or one-hot
    reward: list[float] = field(default_factory=list)  # K
    value: list[float] = field(default_factory=list)  # K + 1
    surprise: list[float] = field(default_factory=list)  # K + 1
    predicted_reward: list[float] = field(default_factory=list)  # K, one step ahead, of the action really taken
    predicted_discount: list[float] = field(default_factory=list)  # K
    terms: dict[str, list[float]] = field(default_factory=dict)  # K each, where the task tells terms of its reward
    latents: dict[int, NDArray[np.float32]] = field(default_factory=dict)  # step -> [L]

    @property
    def steps(self) -> int:
        """K."""
        return len(self.reward)

    @property
    def terminated(self) -> bool:
        """Whether the last step ended the episode for good."""
        return self.end == "terminal"


def relive(
    agent: Agent,
    spec: AgentSpec,
    world: World,
    starts: Sequence[Start],
    *,
    steps: int,
    seed: int,
    greedy: bool = True,
    keep_every: int = 1,
    on_lived: Callable[[int], None] = lambda count: None,
    go_on: Callable[[], bool] = lambda: True,
) -> list[Lived]:
    """Come to each start again and let the policy act for up to ``steps`` control steps, or to the episode's end.

    Latents are kept at the start, every ``keep_every`` steps before and after it, and where the episode ends.
    ``on_lived`` hears of as many starts as are done. Raises UserError for a task that is not the agent's, and
    StoppedError once ``go_on``, which is asked before each step, says no.
    """
    by_engine: dict[str, list[Start]] = defaultdict(list)
    for start in starts:
        by_engine[world.engine(start.episode)].append(start)
    found: list[Lived] = []
    for engine, here in by_engine.items():
        # Those with as long a way together: a row that has ended waits for the others.
        here.sort(key=lambda start: start.step)
        width = min(SIDE_BY_SIDE, len(here))
        envs = [world.make(engine, spec) for _ in range(width)]
        try:
            for first in range(0, len(here), width):
                group = here[first : first + width]
                here_envs = envs[: len(group)]
                alive = _Group(agent, spec, world, here_envs, group, seed + first, greedy, keep_every)
                found += alive.run(steps, go_on)
                on_lived(len(group))
        finally:
            for env in envs:
                env.close()
    return found


class _Group:
    """Some starts, in an environment each, thinking in one batch."""

    def __init__(
        self,
        agent: Agent,
        spec: AgentSpec,
        world: World,
        envs: Sequence[Any],
        starts: Sequence[Start],
        seed: int,
        greedy: bool,
        keep_every: int,
    ) -> None:
        self._spec, self._world, self._envs, self._keep_every = spec, world, envs, keep_every
        self._actor = Actor(agent, spec, envs=len(envs), seed=seed, greedy=greedy, searches=False)
        imagination = agent.imagination()
        assert imagination is not None  # who asks has looked
        self._imagination: Imagination = imagination
        self._rows = [Lived(start) for start in starts]
        self._spread = [_spreads(start) for start in starts]

    @torch.inference_mode()
    def run(self, steps: int, go_on: Callable[[], bool]) -> list[Lived]:
        """Each to ``steps`` control steps after its start, or to its end."""
        rows, envs = self._rows, self._envs
        obs = [self._world.restart(env, row.start.episode)[0] for env, row in zip(envs, rows, strict=True)]
        running = np.ones(len(rows), np.bool_)
        first, k = np.ones(len(rows), np.bool_), 0
        while True:
            seen = {f.name: np.stack([np.asarray(one[f.name]) for one in obs]) for f in self._spec.observations}
            acted = self._actor.act(seen, first)
            first = np.zeros(len(rows), np.bool_)
            command = acted.command.copy()  # [W, A]
            for w, row in enumerate(rows):
                if running[w]:
                    row.value.append(float(acted.value[w]))
                    row.surprise.append(float(acted.surprise[w]))
                    if k <= row.start.step:
                        self._compare(w, k, obs[w])
                    if k < row.start.step:
                        command[w] = row.start.episode.action[k]
            action = to_policy(self._spec.action, command)  # [W, A]
            self._actor.executed(action)
            self._keep(running, k)
            running &= [row.end == "steps" and row.steps < row.start.step + steps for row in rows]
            if not running.any():
                return rows
            if not go_on():
                raise StoppedError
            self._predict(running, torch.from_numpy(action))
            for w in np.flatnonzero(running).tolist():
                obs[w] = self._step(w, command[w], k)
            k += 1

    def _step(self, w: int, command: NDArray[np.float32], k: int) -> Mapping[str, Any]:
        row = self._rows[w]
        row.command.append(command)
        observation, reward, terminated, truncated, info = self._envs[w].step(executable(self._spec, command))
        row.reward.append(float(reward))
        told = info.get("terms")
        for name, value in told.items() if isinstance(told, Mapping) else ():
            row.terms.setdefault(name, []).append(float(value))
        if terminated or truncated:
            row.end = "terminal" if terminated else "time limit"
        return observation  # type: ignore[no-any-return]

    def _predict(self, running: NDArray[np.bool_], action: torch.Tensor) -> None:
        """What the model says comes of the actions [W, A] that are about to be taken."""
        model, latent = self._imagination.model, self._imagination.latent(self._actor.state)
        outcome = model.outcome(model.lead(latent, action.to(latent.device))[1])
        reward, discount = outcome.reward.tolist(), outcome.discount.tolist()
        for w in np.flatnonzero(running):
            self._rows[w].predicted_reward.append(reward[w])
            self._rows[w].predicted_discount.append(discount[w])

    def _keep(self, running: NDArray[np.bool_], k: int) -> None:
        latent = self._imagination.latent(self._actor.state).float().cpu().numpy()  # [W, L]
        for w, row in enumerate(self._rows):
            if running[w] and ((k - row.start.step) % self._keep_every == 0 or row.end != "steps"):
                row.latents[k] = latent[w]

    def _compare(self, w: int, k: int, obs: Mapping[str, Any]) -> None:
        row = self._rows[w]
        for name, spread in self._spread[w].items():
            recorded = row.start.episode.obs[name][k].astype(np.float64)
            off = float(np.max(np.abs(np.asarray(obs[name], np.float64) - recorded) / spread))
            row.deviation = max(row.deviation, off)
            if off > SAME and row.deviates_from is None:
                row.deviates_from = k


def executable(spec: AgentSpec, command: NDArray[np.float32]) -> Any:
    """What an environment's step takes for a command [A]: itself, or the number of a discrete action."""
    return int(command.argmax()) if spec.action.is_discrete else command


def _spreads(start: Start) -> dict[str, NDArray[np.float64]]:
    """By field [*shape]: standard deviation over the episode, and 1 where nothing moves."""
    found = {}
    for name, values in start.episode.obs.items():
        spread = values.astype(np.float64).std(0)
        found[name] = np.where(spread > 0, spread, 1.0)
    return found
