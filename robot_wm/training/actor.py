"""The acting side of an agent: raw observations of N environments to SI commands.

Shape letters: N environments, A action.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robot_wm.learning.agent import Agent, initial_state
from robot_wm.runtime.graph_tensors import NoiseTensor
from robot_wm.runtime.transform import ObservationTransform, to_command
from robot_wm.spec import AgentSpec
from robot_wm.training.random_actions import RandomActions
from robot_wm.training.thought import Senses, Thought


@dataclass(frozen=True)
class Acted:
    """What the actor did, and what the agent keeps beside it."""

    command: NDArray[np.float32]  # [N, A] SI, or one-hot
    stored: dict[str, NDArray]  # name -> [N, *shape], for the replay
    value: NDArray[np.float32]  # [N]
    surprise: NDArray[np.float32]  # [N]


class Actor:
    """Carries the recurrent state of N environments and draws its own noise (float32 on CPU or CUDA).

    Without ``searches`` it acts by ticks alone, as a robot does.
    """

    def __init__(
        self,
        agent: Agent,
        spec: AgentSpec,
        *,
        envs: int,
        seed: int,
        greedy: bool = False,
        searches: bool = True,
        random_actions: RandomActions | None = None,
    ) -> None:
        self._random = random_actions or RandomActions()
        self._agent, self._spec, self._envs, self._greedy = agent, spec, envs, greedy
        self._searches = searches and (agent.eval_search or not greedy)
        self._transform = ObservationTransform(spec, batch=envs)
        self._tick, self._explore = Thought(agent.tick), Thought(agent.explore)
        self._device = next(agent.acting()).device
        self._state = initial_state(agent.state, envs, self._device)  # [N, *shape] by name
        # On the CPU whatever the device: the same seed acts the same everywhere, and a checkpoint can carry it.
        self._generator = torch.Generator().manual_seed(seed)

    @torch.inference_mode()
    def act(self, obs: Mapping[str, NDArray], is_first: NDArray[np.bool_], *, random: bool = False) -> Acted:
        """Advance by raw ``obs`` ([N, *shape] a field) and choose an action; ``random`` draws it instead."""
        inputs = self._transform.push(obs, is_first)
        tensors = {name: torch.from_numpy(value).to(self._device) for name, value in inputs.items()}
        first = torch.from_numpy(is_first.astype(np.float32)).to(self._device)  # [N]
        # A random action needs no thought; what a thought would have kept beside the step stays unknown.
        explores = self._searches and not random
        noise = self._noise(self._agent.explore_noise if explores else self._agent.noise, proposes=explores)
        out = (self._explore if explores else self._tick)(Senses(tensors, first, self._state, noise))
        action = self._random_action(out.outputs["action"]) if random else out.outputs["action"]  # [N, A]
        self._state = out.state | ({"action": action} if "action" in out.state else {})  # what is executed
        return Acted(
            command=to_command(self._spec.action, action.float().cpu().numpy()),
            stored={name: value.cpu().numpy() for name, value in out.stored.items()},
            value=out.outputs["value"].float().cpu().numpy(),
            surprise=out.outputs["surprise"].float().cpu().numpy(),
        )

    @property
    def state(self) -> Mapping[str, Tensor]:
        """What the last tick left behind, [N, *shape] by name, and with it what was executed after it."""
        return self._state

    def executed(self, action: NDArray[np.float32]) -> None:
        """Tell that ``action`` [N, A], in the model's unit, was executed in place of what `act` has just chosen."""
        if "action" in self._state:
            self._state = self._state | {"action": torch.from_numpy(action).to(self._device)}

    def rng_state(self) -> Tensor:
        """State of the noise, a uint8 vector: the generator's, and behind it that of held random actions."""
        return torch.cat([self._generator.get_state(), self._random.state()])

    def set_rng_state(self, state: Tensor) -> None:
        """Continue the noise from ``rng_state``."""
        generator_bytes = self._generator.get_state().numel()
        self._generator.set_state(state[:generator_bytes])
        self._random.set_state(state[generator_bytes:], torch.empty(self._envs, self._spec.action_dim))

    def _noise(self, declared: Sequence[NoiseTensor], *, proposes: bool = False) -> dict[str, Tensor]:
        """Noise [N, *shape] by name, in the order of its declaration; zeros where the actor is greedy.

        ``proposes``: but for normal noise, by which a search draws the actions that it compares.
        """
        drawn = {}
        for entry in declared:
            shape = (self._envs, *entry.shape[1:])
            if self._greedy and not (proposes and entry.distribution == "normal"):
                drawn[entry.name] = torch.zeros(shape, device=self._device)
            elif entry.distribution == "gumbel":
                uniform = torch.rand(shape, generator=self._generator).clamp_(1e-9, 1 - 1e-7)
                drawn[entry.name] = (-torch.log(-torch.log(uniform))).to(self._device)
            else:
                drawn[entry.name] = torch.randn(shape, generator=self._generator).to(self._device)
        return drawn

    def _random_action(self, like: Tensor) -> Tensor:
        drawn = self._random.draw(like, self._generator)  # [N, A]
        if self._spec.action.is_discrete:
            return torch.nn.functional.one_hot(drawn.argmax(-1), like.shape[-1]).to(like)
        return drawn
