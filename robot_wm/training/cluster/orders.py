"""What the learner and a collector on another machine say to each other.

Shape letters: N environments of a collector.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from robot_wm.training.transition import Transition


@dataclass(frozen=True)
class Place:
    """Where a collector runs, and by which code; asked before anything else is said."""

    host: str
    node: str  # Ray's id of it
    process: int
    version: str  # of robot_wm there

    @classmethod
    def here(cls) -> Place:
        """That of this process, which is Ray's."""
        import ray

        return cls(socket.gethostname(), ray.get_runtime_context().get_node_id(), os.getpid(), version("robot-wm"))

    def __str__(self) -> str:
        return f"host {self.host}, node {self.node[:12]}, process {self.process}"


@dataclass(frozen=True)
class Begun:
    """A collector has its simulators and its agent."""

    spec_hash: str  # of the AgentSpec that its task has there
    spec_json: str


@dataclass(frozen=True)
class Order:
    """Take so many steps of all environments."""

    rounds: int
    policy: str  # learner update that the weights are from
    random: bool  # act uniformly


@dataclass(frozen=True)
class Steps:
    """What came of an order, oldest first, and the state of the actor's noise after it."""

    transitions: list[Transition]  # of N environments each
    rng: NDArray[np.uint8]


@dataclass(frozen=True)
class Failed:
    """A collector cannot do as it was told."""

    kind: Literal["refused", "broken"]  # the task or its settings are wrong; or something that may be so here only
    text: str
