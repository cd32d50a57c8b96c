"""One of the collectors of a run, whichever process fills its place at the moment."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.spec import AgentSpec, require_same
from robot_wm.training.cluster.actor import RemoteCollector
from robot_wm.training.cluster.orders import Begun, Order, Place
from robot_wm.training.config import TrainConfig

_MOST_RESTARTS = 3  # without an episode that ended in between


def branch_seed(seed: int, index: int, generation: int) -> int:
    """What collector ``index`` draws by after it was replaced ``generation`` times; the first one's is the run's.

    So one collector elsewhere experiences what it would beside the learner, and none what another one did.
    """
    if index == generation == 0:
        return seed
    # Half the range: simulators take 32 bits.
    return int(np.random.SeedSequence([seed, index, generation]).generate_state(1)[0]) >> 1


@dataclass
class Seat:
    """What the learner knows of one collector."""

    index: int
    config: TrainConfig
    spec: AgentSpec
    seed: int  # of the run
    rng: NDArray[np.uint8]  # state of its actor's noise after the latest step that has come
    actor: Any = None
    place: Place | None = None  # None until it has been asked
    ready: bool = False
    generation: int = 0
    restarts: int = 0  # since an episode ended
    started_s: float = 0.0
    asked: deque[tuple[Any, int]] = field(default_factory=deque)  # answers that are waited for, and the steps of each

    @property
    def first_stream(self) -> int:
        """Of its environments."""
        return self.index * self.config.envs

    @property
    def steps_under_way(self) -> int:
        """Policy steps that it was asked for and that have not come."""
        return sum(steps for _, steps in self.asked)

    def __str__(self) -> str:
        return f"collector {self.index} ({self.place or 'not placed yet'})"

    def start(self, ray: Any) -> None:
        """Have Ray make one."""
        options = {"num_cpus": cpus_each(self.config), "max_restarts": 0, "scheduling_strategy": "SPREAD"}
        self.actor = ray.remote(**options)(RemoteCollector).remote()
        self.place, self.ready, self.started_s = None, False, time.monotonic()
        self.asked = deque([(self.actor.place.remote(), 0)])

    def again(self, ray: Any) -> bool:
        """Have another one made in its place, with seeds and noise of its own; False where it was often enough."""
        ray.kill(self.actor)
        self.generation, self.restarts = self.generation + 1, self.restarts + 1
        self.rng = np.zeros(0, np.uint8)
        if self.restarts > _MOST_RESTARTS:
            return False
        self.start(ray)
        return True

    def begin(self, place: Place) -> None:
        """Tell it what to do, if it is of this version."""
        self.place = place
        ours = version("robot-wm")
        if place.version != ours:
            raise UserError(f"{self}: has robot_wm {place.version}, this run {ours}; all machines need the same")
        seed = branch_seed(self.seed, self.index, self.generation)
        told = (self.config.model_dump_json(), self.spec.to_json(), seed, self.rng, self.first_stream)
        self.asked.append((self.actor.begin.remote(*told), 0))

    def begun(self, told: Begun) -> None:
        """It can be ordered now, if its task is the run's."""
        if told.spec_hash != self.spec.content_hash():
            require_same(self.spec, AgentSpec.from_json(told.spec_json, origin=str(self)), origin=str(self))
        self.ready = True

    def order(self, order: Order, weights_ref: Any) -> None:
        """Ask for steps."""
        self.asked.append((self.actor.collect.remote(order, [weights_ref]), order.rounds * self.config.envs))

    def rng_state(self) -> torch.Tensor:
        """State of its noise: what a seed begins with, before anything has come."""
        if self.rng.size:
            return torch.from_numpy(self.rng.copy())
        return torch.Generator().manual_seed(branch_seed(self.seed, self.index, self.generation)).get_state()


def cpus_each(config: TrainConfig) -> int:
    """CPUs that Ray sets aside for a collector."""
    return max(1, config.processes)
