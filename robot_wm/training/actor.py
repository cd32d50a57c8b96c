"""The acting side of an agent: raw observations of N environments to SI commands.

Shape letters: N environments, A action, D deter, S stoch groups, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robot_wm.dreamer.agent import DreamerAgent, TickState
from robot_wm.runtime.transform import ObservationTransform, to_command
from robot_wm.spec import AgentSpec
from robot_wm.training.random_actions import RandomActions


@dataclass(frozen=True)
class Acted:
    """What the actor did, and the posterior that it stood on."""

    command: NDArray[np.float32]  # [N, A] SI, or one-hot
    deter: NDArray[np.float16]  # [N, D]
    stoch: NDArray[np.uint8]  # [N, S]
    value: NDArray[np.float32]  # [N]
    surprise: NDArray[np.float32]  # [N]


class Actor:
    """Carries the recurrent state of N environments and draws its own noise (float32 on CPU or CUDA)."""

    def __init__(
        self,
        agent: DreamerAgent,
        spec: AgentSpec,
        *,
        envs: int,
        seed: int,
        greedy: bool = False,
        random_actions: RandomActions | None = None,
    ) -> None:
        self._random = random_actions or RandomActions()
        self._agent, self._spec, self._greedy = agent, spec, greedy
        self._transform = ObservationTransform(spec, batch=envs)
        self._state: TickState = agent.initial(envs)
        self._device = self._state.deter.device
        # On the CPU whatever the device: the same seed acts the same everywhere, and a checkpoint can carry it.
        self._generator = torch.Generator().manual_seed(seed)

    @torch.inference_mode()
    def act(self, obs: Mapping[str, NDArray], is_first: NDArray[np.bool_], *, random: bool = False) -> Acted:
        """Advance the posterior by raw ``obs`` ([N, *shape] a field) and choose; ``random`` draws actions instead."""
        inputs = self._transform.push(obs, is_first)
        tensors = {name: torch.from_numpy(value).to(self._device) for name, value in inputs.items()}
        first = torch.from_numpy(is_first.astype(np.float32)).to(self._device)  # [N]
        noise_latent, noise_action = self._noise()
        out = self._agent.tick(tensors, first, self._state, noise_latent, noise_action)
        action = self._random_action(out.action) if random else out.action  # [N, A]
        self._state = out.state._replace(action=action)
        command = to_command(self._spec.action, action.float().cpu().numpy())
        return Acted(
            command=command,
            deter=out.state.deter.half().cpu().numpy(),
            stoch=out.state.stoch.argmax(-1).to(torch.uint8).cpu().numpy(),
            value=out.value.float().cpu().numpy(),
            surprise=out.surprise.float().cpu().numpy(),
        )

    def rng_state(self) -> Tensor:
        """State of the noise, a uint8 vector: the generator's, and behind it that of held random actions."""
        return torch.cat([self._generator.get_state(), self._random.state()])

    def set_rng_state(self, state: Tensor) -> None:
        """Continue the noise from ``rng_state``."""
        generator_bytes = self._generator.get_state().numel()
        self._generator.set_state(state[:generator_bytes])
        self._random.set_state(state[generator_bytes:], self._state.action)

    def _noise(self) -> tuple[Tensor, Tensor]:
        """Gumbel noise of the latent [N, S, C] and the action's own; zeros in both make the policy greedy."""
        latent, action = torch.zeros_like(self._state.stoch), torch.zeros_like(self._state.action)
        if not self._greedy:
            latent = self._gumbel(latent)
            action = self._gumbel(action) if self._spec.action.is_discrete else self._normal(action)
        return latent, action

    def _gumbel(self, like: Tensor) -> Tensor:
        uniform = torch.rand(like.shape, generator=self._generator).clamp_(1e-9, 1 - 1e-7)
        return (-torch.log(-torch.log(uniform))).to(like)

    def _normal(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=self._generator).to(like)

    def _random_action(self, like: Tensor) -> Tensor:
        drawn = self._random.draw(like, self._generator)  # [N, A]
        if self._spec.action.is_discrete:
            return torch.nn.functional.one_hot(drawn.argmax(-1), like.shape[-1]).to(like)
        return drawn
