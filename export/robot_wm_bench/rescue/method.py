"""What is compared: ways to make an agent of the source world walk in the target's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from robot_wm.baselines.trial import Policy
from robot_wm.spec import AgentSpec
from robot_wm_bench.rescue.record import Record


@dataclass(frozen=True)
class World:
    """A task with its options: engine and randomisation among them."""

    task: str
    options: Mapping[str, Any] = field(default_factory=dict)


class Method(Protocol):
    """One seed of one method; a small class, made in the process that runs it."""

    def prepare(self, source: World, folder: Path) -> dict[str, Any]:
        """Make the agent that walks in ``source``, or take the one that ``folder`` has; tells what that cost."""

    def greedy(self, spec: AgentSpec, envs: int) -> Policy:
        """The agent as it is now without noise, fresh, for ``envs`` robots side by side."""

    def rescue(self, target: World, record: Record) -> None:
        """Act and learn in ``target`` until the record's `Record.over`.

        Tells the record of every episode that ends (`Record.episode`), and lets it look (`Record.look`) with `greedy`
        at every step at which a look is due (`Record.due`).
        """
