"""What acts: an agent as the actor, the exporter and parity see it. It declares once what runs; all else follows.

Shape letters: N environments; in declarations the batch axis is 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from robot_wm.learning.imagination import Imagination
from robot_wm.replay.stored import Stored
from robot_wm.runtime.graph_tensors import Draw, NoiseTensor, StateTensor, TensorSpec


class Tick(NamedTuple):
    """What one tick gives, everything by the names that the agent declares."""

    outputs: dict[str, Tensor]  # [N, *shape] each
    state: dict[str, Tensor]  # [N, *shape] each: what the next tick is given
    stored: dict[str, Tensor]  # [N, *shape] each: what is kept beside the step in the replay


class Agent(nn.Module, ABC):
    """An agent of any kind. A subclass sets the declarations; names are those of the bundle's tensors."""

    kind: ClassVar[str]  # as `robot_wm.agents` knows it
    state: tuple[StateTensor, ...]  # what a tick carries to the next one
    noise: tuple[NoiseTensor, ...]  # the randomness that it is given
    outputs: tuple[TensorSpec, ...]  # what it tells: action [1, A], value [1] and surprise [1] among it
    draws: tuple[Draw, ...]  # its categorical draws, in their order
    surprise_unit: Literal["nats"] | None  # of the output surprise; None where only its order counts
    stored: tuple[Stored, ...]  # what it keeps beside each step in the replay
    belief: str | None = None  # the output that tells most of the world's state; a monitor reads falls off it
    # Whether greedy play goes by `explore`, too, not by `tick`; then without Gumbel noise, but with normal noise.
    eval_search: bool = False

    @property
    def explore_noise(self) -> tuple[NoiseTensor, ...]:
        """The randomness that `explore` is given."""
        return self.noise

    @abstractmethod
    def tick(
        self, obs: Mapping[str, Tensor], is_first: Tensor, state: Mapping[str, Tensor], noise: Mapping[str, Tensor]
    ) -> Tick:
        """Take one observation in and choose an action.

        obs[name] [N, *input shape]; is_first [N] float32 0 or 1, where 1 forgets ``state``; state and noise [N, *shape]
        by their declared names. Zero noise is greedy. Pure: no randomness and no host synchronisation inside.
        """

    def explore(
        self, obs: Mapping[str, Tensor], is_first: Tensor, state: Mapping[str, Tensor], noise: Mapping[str, Tensor]
    ) -> Tick:
        """What acts in training where `tick` acts on a robot: an agent may think longer here, and keep what it finds.

        As `tick`, with ``noise`` by the names of ``explore_noise``; zero Gumbel noise is greedy.
        """
        return self.tick(obs, is_first, state, noise)

    @abstractmethod
    def acting(self) -> Iterator[nn.Parameter]:
        """The parameters that `tick` and `explore` need, always in the same order: what an actor elsewhere is sent."""

    def imagination(self, generator: torch.Generator | None = None) -> Imagination | None:
        """Its latent model on the weights as they are; None where it has none that could be asked.

        With ``generator`` what is random in the model is drawn from it, else the most likely is taken.
        """
        return None

    def parameter_count(self) -> int:
        """Parameters that are trained; averages of others are not among them."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


def initial_state(state: Sequence[StateTensor], batch: int, device: torch.device | str) -> dict[str, Tensor]:
    """State before an episode, [N, *shape] by name."""
    return {
        entry.name: torch.from_numpy(entry.initial_array()).to(device).repeat(batch, *(1 for _ in entry.shape[1:]))
        for entry in state
    }
