"""Kinds of agents: what a run, a checkpoint and an exporter ask for by name. No torch is imported here.

They come from the entry points `robot_wm.agents`, so another distribution can bring one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from robot_wm.errors import UserError
from robot_wm.learning.config import AgentConfig
from robot_wm.plugins import entries, load
from robot_wm.spec import AgentSpec

if TYPE_CHECKING:
    import torch

    from robot_wm.learning.agent import Agent
    from robot_wm.learning.learner import Learner

GROUP = "robot_wm.agents"
DEFAULT = "dreamer"


@dataclass(frozen=True)
class AgentKind:
    """One kind: its settings, and how its agent and its learner are made of them."""

    name: str
    config: type[AgentConfig]
    shapes: frozenset[str]  # settings that what a run has made is shaped by: a resume cannot change them
    # The agent is made on the CPU, its weights drawn from torch's generator; the learner moves it to its device.
    make_agent: Callable[[Any, AgentSpec], Agent]
    make_learner: Callable[[Any, Any, torch.device, int], Learner]  # of that agent, its settings, device and seed
    # Settings that are others where a trained agent goes on with recordings of a changed robot (`robot-wm adapt`).
    adapting: Mapping[str, Any] = field(default_factory=dict)


def agent_kind(name: str) -> AgentKind:
    """The kind of that name; UserError naming those that there are."""
    found = entries(GROUP)
    if name not in found:
        raise UserError(f"unknown agent {name!r}; known kinds: {', '.join(found)}")
    kind: AgentKind = load(found[name])
    return kind


def agent_kinds() -> list[AgentKind]:
    """Every kind that can be imported, by name; `robot-wm doctor` tells of the others."""
    found = []
    for entry in entries(GROUP).values():
        try:
            found.append(load(entry))
        except UserError:
            continue
    return found
