"""What acts: an agent as the actor, the exporter and parity see it. It declares once what runs; all else follows.

Shape letters: N environments; in declarations the batch axis is 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from robot_wm.replay.stored import Stored
from robot_wm.runtime.graph_tensors import Draw, NoiseTensor, StateTensor, TensorSpec


class Tick(NamedTuple):
    """What one tick gives, everything by the names that the agent declares."""

    outputs: dict[str, Tensor]  # [N, *shape] each
    state: dict[str, Tensor]  # [N, *shape] each: what the next tick is given
    stored: dict[str, Tensor]  # [N, *shape] each: what is kept beside the step in the replay


class Agent(Protocol):
    """An agent of any kind."""

    @property
    def state(self) -> tuple[StateTensor, ...]:
        """What a tick carries to the next one."""

    @property
    def noise(self) -> tuple[NoiseTensor, ...]:
        """The randomness that it is given."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What it tells: action [1, A], value [1] and surprise [1] among it."""

    @property
    def draws(self) -> tuple[Draw, ...]:
        """Its categorical draws, in their order."""

    @property
    def surprise_unit(self) -> Literal["nats"] | None:
        """Of the output surprise; None where only its order counts."""

    @property
    def stored(self) -> tuple[Stored, ...]:
        """What it keeps beside each step in the replay."""

    def tick(
        self, obs: Mapping[str, Tensor], is_first: Tensor, state: Mapping[str, Tensor], noise: Mapping[str, Tensor]
    ) -> Tick:
        """Take one observation in and choose an action.

        obs[name] [N, *input shape]; is_first [N] float32 0 or 1, where 1 forgets ``state``; state and noise [N, *shape]
        by their declared names. Zero noise is greedy. Pure: no randomness and no host synchronisation inside.
        """

    def acting(self) -> Iterable[nn.Parameter]:
        """The parameters that a tick needs, always in the same order: what an actor elsewhere is sent."""


def initial_state(state: Sequence[StateTensor], batch: int, device: torch.device | str) -> dict[str, Tensor]:
    """State before an episode, [N, *shape] by name."""
    return {
        entry.name: torch.from_numpy(entry.initial_array()).to(device).repeat(batch, *(1 for _ in entry.shape[1:]))
        for entry in state
    }
