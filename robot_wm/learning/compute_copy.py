"""An agent's weights in the dtype that the update computes in."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Generic, TypeVar

import torch
from torch import nn

from robot_wm.nn.flat import FlatParameters

Agent = TypeVar("Agent", bound=nn.Module)


def _is_norm(name: str) -> bool:
    return name.endswith("norm_scale")


class FlatAgent(Generic[Agent]):
    """An agent whose parameters lie in two buffers: the trained ones and the slow ones, which need no gradient.

    ``averages`` names, by prefix, which slow ones follow which trained ones. Within each buffer, matrices and biases
    come first and norm scales last: only the former are cast, since norms are computed in float32.
    """

    def __init__(self, agent: Agent, averages: Mapping[str, str]) -> None:
        self.agent = agent
        named = sorted(agent.named_parameters(), key=lambda item: _is_norm(item[0]))  # stable: keeps module order
        self.trained = FlatParameters({name: p for name, p in named if p.requires_grad})
        self.slow = FlatParameters({name: p for name, p in named if not p.requires_grad})
        self._averaged = [
            (self.slow.span({slow + name.removeprefix(source) for name in names}), self.trained.span(names))
            for slow, source in averages.items()
            for names in _split([name for name in self.trained.named if name.startswith(source)])
        ]

    @torch.no_grad()
    def average_slow(self, rate: float) -> None:
        """Move every average towards what it follows by ``rate``."""
        for slow, fast in self._averaged:
            self.slow.flat[slow].lerp_(self.trained.flat[fast], rate)


def _split(names: list[str]) -> tuple[set[str], set[str]]:
    return {name for name in names if not _is_norm(name)}, {name for name in names if _is_norm(name)}


class ComputeCopy(Generic[Agent]):
    """A twin of the agent with cast weights, refreshed with one copy an update; the agent itself in float32."""

    def __init__(self, master: FlatAgent[Agent], dtype: torch.dtype) -> None:
        self._pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
        if dtype == torch.float32:
            self.agent = master.agent
            self.parameters: list[nn.Parameter] = list(master.trained.named.values())
            return
        self.agent = copy.deepcopy(master.agent)
        twins = dict(self.agent.named_parameters())
        for flat in (master.trained, master.slow):
            cast = {name: twins[name] for name in flat.named if not _is_norm(name)}
            for twin in cast.values():
                twin.data = twin.data.to(dtype)
            for name in flat.named.keys() - cast.keys():
                twins[name].data = flat.named[name].data  # one tensor for both: norms are not cast
            low = FlatParameters(cast).flat
            self._pairs.append((low, flat.flat[: low.shape[0]]))
        self.parameters = [twins[name] for name in master.trained.named]

    @torch.no_grad()
    def refresh(self) -> None:
        """Cast the weights anew, once an update."""
        for low, high in self._pairs:
            low.copy_(high)
