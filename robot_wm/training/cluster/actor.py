"""The side of a collector that runs on another machine, as an actor of Ray's, which calls one method at a time."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from robot_wm.agents import agent_kind
from robot_wm.errors import UserError
from robot_wm.spec import AgentSpec
from robot_wm.training.actor import Actor
from robot_wm.training.cluster import weights
from robot_wm.training.cluster.orders import Begun, Failed, Order, Place, Steps
from robot_wm.training.collector import Stepper
from robot_wm.training.config import TrainConfig
from robot_wm.training.env_pool import EnvPool
from robot_wm.training.random_actions import RandomActions


class RemoteCollector:
    """Environments and an actor; made where Ray finds room for it.

    Nothing is raised to the learner, whose Ray would wrap it: what goes wrong is an answer as well.
    """

    def __init__(self) -> None:
        self._pool: EnvPool | None = None
        self._acts_by = ""  # update that the weights are from

    def place(self) -> Place:
        """Where this is."""
        return Place.here()

    def begin(
        self, config_json: str, spec_json: str, seed: int, rng: NDArray[np.uint8], first_stream: int
    ) -> Begun | Failed:
        """Make simulators and agent, of a robot_wm that is the learner's; ``rng`` is empty where noise begins anew."""
        return _told(lambda: self._begin(config_json, spec_json, seed, rng, first_stream))

    def collect(self, order: Order, weights_ref: Sequence[Any]) -> Steps | Failed:
        """Do as ordered. ``weights_ref`` names the encoded weights, which are fetched where they are new here."""
        return _told(lambda: self._collect(order, weights_ref[0]))

    def close(self) -> None:
        """Stop the simulators."""
        if self._pool is not None:
            self._pool.close()

    def _begin(self, config_json: str, spec_json: str, seed: int, rng: NDArray[np.uint8], first_stream: int) -> Begun:
        torch.set_num_threads(1)  # as many collectors as there are cores share a machine
        config, spec = TrainConfig.model_validate_json(config_json), AgentSpec.from_json(spec_json)
        pool = self._pool = EnvPool(
            config.task, dict(config.task_options), envs=config.envs, processes=config.processes, seed=seed
        )
        self._agent = agent_kind(config.agent).make_agent(config.settings, spec).eval()
        self._actor = Actor(
            self._agent, spec, envs=pool.envs, seed=seed, random_actions=RandomActions.told(config, spec)
        )
        if rng.size:
            self._actor.set_rng_state(torch.from_numpy(rng.copy()))
        self._stepper = Stepper(pool, self._actor, first_stream=first_stream)
        return Begun(pool.agent_spec.content_hash(), pool.agent_spec.to_json())

    def _collect(self, order: Order, weights_ref: Any) -> Steps:
        if order.policy != self._acts_by:
            import ray

            weights.load(self._agent, ray.get(weights_ref))
            self._acts_by = order.policy
        told = [self._stepper.step(policy=order.policy, random=order.random) for _ in range(order.rounds)]
        return Steps(told, self._actor.rng_state().numpy())


def _told(do: Callable[[], Any]) -> Any:
    try:
        return do()
    except UserError as error:
        return Failed("refused", str(error))
    except Exception:
        return Failed("broken", traceback.format_exc())
