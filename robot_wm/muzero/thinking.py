"""What a MuZero keeps of a search beside a step, and learns from: candidates, how good each is, and the root's value.

Shape letters: N states, R root candidates, A action.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from robot_wm.muzero.config import MuZeroConfig
from robot_wm.nn.categorical import one_hot
from robot_wm.replay.stored import Stored
from robot_wm.runtime.graph_tensors import NoiseTensor
from robot_wm.search.sampled import SearchConfig, SearchNoise, SearchOutput, noise_shapes

_ACTIONS, _WEIGHTS, _VALUE = "search_actions", "search_weights", "search_value"


def search_config(config: MuZeroConfig) -> SearchConfig:
    """How the agent searches; with fewer simulations than root actions it has as few candidates."""
    roots = min(config.root_actions, config.num_simulations)
    return SearchConfig(
        num_simulations=config.num_simulations,
        max_depth=config.max_depth,
        root_actions=roots,
        root_policy=min(config.root_policy, roots),
        root_widening=config.root_widening,
        interior_actions=config.interior_actions,
        gumbel_scale=config.gumbel_scale,
        c_visit=config.c_visit,
        c_scale=config.c_scale,
        value_minmax_delta=config.value_minmax_delta,
    )


def search_noise(config: SearchConfig, *, action_dim: int, discrete: bool) -> tuple[NoiseTensor, ...]:
    """The noise of a search as an agent declares it, ``noise/<name>``."""
    shapes = noise_shapes(config, batch=1, action_dim=action_dim, discrete=discrete)
    return tuple(
        NoiseTensor(name=f"noise/{name}", shape=shape, distribution="gumbel" if name == "gumbel" else "normal")
        for name, shape in shapes.items()
    )


def as_search_noise(noise: Mapping[str, Tensor]) -> SearchNoise:
    """What was declared so, as the search takes it."""
    return SearchNoise(noise["noise/gumbel"], noise.get("noise/root"), noise.get("noise/interior"))


def declare_stored(config: SearchConfig, *, action_dim: int, discrete: bool) -> tuple[Stored, ...]:
    """What is kept beside each step; weights that sum to 0 say that nobody searched there."""
    candidates = action_dim if discrete else config.root_actions
    return (
        Stored(name=_ACTIONS, shape=(candidates, action_dim), dtype="float16", use="every"),
        Stored(name=_WEIGHTS, shape=(candidates,), dtype="float16", use="every"),
        Stored(name=_VALUE, shape=(), dtype="float32", use="every"),
    )


class Searched(NamedTuple):
    """What searches have found at states [...]."""

    actions: Tensor  # [..., R, A] float32
    weights: Tensor  # [..., R] float32, sum to 1, or to 0 where there was no search
    value: Tensor  # [...] float32, reward units

    @property
    def known(self) -> Tensor:
        """[...] bool: whether there was a search."""
        return self.weights.sum(-1) > 0.5

    def best(self) -> Searched:
        """As if the best candidate had all the weight.

        The simple loss of Gumbel MuZero (Danihelka et al. 2022), by which EfficientZero-V2 learns actions of more than
        one number. A mean over candidates that differ in many numbers moves by little, and they are spread wider than
        the policy, which so never narrows.
        """
        first = one_hot(self.weights.argmax(-1), self.weights.shape[-1], self.weights.dtype)
        return self._replace(weights=first * self.known[..., None])

    @classmethod
    def of(cls, out: SearchOutput) -> Searched:
        """What a search says of N roots."""
        return cls(out.candidates, out.weights, out.value)

    @classmethod
    def from_stored(cls, stored: Mapping[str, Tensor]) -> Searched:
        """What a batch brings [B, T1, ...]."""
        return cls(stored[_ACTIONS], stored[_WEIGHTS], stored[_VALUE])

    def to_stored(self) -> dict[str, Tensor]:
        """By the declared names, in the declared dtypes."""
        return {_ACTIONS: self.actions.half(), _WEIGHTS: self.weights.half(), _VALUE: self.value.float()}
