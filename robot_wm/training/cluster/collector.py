"""Collectors on the machines of a Ray cluster: each acts by weights that it was sent, and sends the steps back.

The learner asks for a few steps at a time, of whoever has little to do, and for no more than the train ratio allows
altogether: so what is under way has a bound, a slow machine holds up none of the others, and weights are as old as one
order. Who is lost costs what it was asked for and its running episodes, and another one takes its place.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from torch import Tensor

from robot_wm.errors import UserError
from robot_wm.learning.agent import Agent
from robot_wm.spec import AgentSpec
from robot_wm.training.cluster import weights
from robot_wm.training.cluster.connection import joined
from robot_wm.training.cluster.orders import Begun, Failed, Order, Place, Steps
from robot_wm.training.cluster.seat import Seat, cpus_each
from robot_wm.training.config import TrainConfig
from robot_wm.training.peers import CLOSE_TIMEOUT_S
from robot_wm.training.transition import Transition

# Steps of an environment in one order, and orders that a collector may have: less than what the learner's lead allows,
# or nobody could be asked for a whole one.
_ROUNDS = 16
_ORDERS_AHEAD = 2  # one that it works on, and one to go on with
_WAIT_S = 0.05
_SLOW_START_S = 120.0
_CAUSE_CHARACTERS = 400
_ENCODING_SHARE = 0.1  # of the time, at most, goes into sending weights

_log = logging.getLogger(__name__)


class RayCollector:
    """Collects on other machines; see `Collector` for the protocol."""

    def __init__(
        self, config: TrainConfig, spec: AgentSpec, agent: Agent, *, seed: int, rng_states: Sequence[Tensor] = ()
    ) -> None:
        """Raises UserError where the cluster cannot be joined."""
        assert config.ray_address is not None
        if rng_states and len(rng_states) != config.collectors:
            raise UserError(
                f"--collectors {config.collectors}: the checkpoint has the noise of {len(rng_states)} actors"
            )
        self._envs, self._agent = config.envs, agent
        self._policy, self._random, self._permitted = "0", True, 0
        self._weights_ref: Any = None
        self._sent = ""  # update that those are from
        self._next_encoding_s = 0.0
        self._ordered = 0  # policy steps, without those that were lost
        self._failure: Exception | None = None
        self._slow_told = self._closed = False
        rngs = [state.numpy() for state in rng_states] or [np.zeros(0, np.uint8)] * config.collectors
        self._seats = [Seat(index, config, spec, seed, rng) for index, rng in enumerate(rngs)]
        self._cpus = cpus_each(config) * config.collectors
        self._open = ExitStack()
        self._ray = self._open.enter_context(joined(config.ray_address, cpus=self._cpus))
        for seat in self._seats:
            seat.start(self._ray)

    def poll(self) -> list[Transition]:
        """Everything that has arrived since the last call; waits up to 50 ms for a first one.

        Raises once all that came before is out: UserError where a collector is of another version or task, or its task
        refuses something; and the task's own error where it fails wherever it is tried.
        """
        if self._failure is not None:
            raise self._failure
        found: list[Transition] = []
        try:
            self._take_answers(found, _WAIT_S)
            self._tell_slow_starts()
            self._order_more()
        except (UserError, RuntimeError) as error:
            if not found:
                raise
            self._failure = error
        return found

    def publish(self, agent: Agent, *, policy: str, random: bool, steps_permitted: int) -> None:
        """Orders are given by these weights from now on."""
        self._agent, self._policy, self._random, self._permitted = agent, policy, random, steps_permitted
        self._order_more()

    def rng_states(self) -> list[Tensor]:
        """States of the actors' noise after the latest steps that have arrived, one a collector."""
        return [seat.rng_state() for seat in self._seats]

    def drain(self) -> list[Transition]:
        """Order nothing more; what is under way, as far as it comes within a few seconds."""
        self._permitted = 0
        found: list[Transition] = []
        end = time.monotonic() + CLOSE_TIMEOUT_S
        while any(seat.steps_under_way for seat in self._seats) and time.monotonic() < end and self._failure is None:
            try:
                self._take_answers(found, _WAIT_S)
            except (UserError, RuntimeError) as error:
                _log.warning("not everything was collected: %s", error)
                break
        return found

    def close(self) -> None:
        """Have the simulators stopped, and leave the cluster."""
        if self._closed:
            return
        self._closed = True
        actors = [seat.actor for seat in self._seats]
        asked = [actor.close.remote() for actor in actors]
        self._ray.wait(asked, num_returns=len(asked), timeout=CLOSE_TIMEOUT_S)
        for actor in actors:
            self._ray.kill(actor)
        self._open.close()

    def _take_answers(self, found: list[Transition], wait_s: float) -> None:
        """Take all answers that are there; waits up to ``wait_s`` for a first one."""
        refs = [ref for seat in self._seats for ref, _ in seat.asked]
        if not refs:  # everybody is as far ahead as is allowed
            time.sleep(wait_s)
            return
        self._ray.wait(refs, timeout=wait_s)
        done, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
        for seat in self._seats:
            while seat.asked and seat.asked[0][0] in done:
                self._take(seat, found)

    def _take(self, seat: Seat, found: list[Transition]) -> None:
        """Take the oldest answer of a collector."""
        try:
            answer = self._ray.get(seat.asked[0][0])
        except self._ray.exceptions.RayError as error:
            self._replace(seat, str(error))
            return
        if isinstance(answer, Failed):
            if answer.kind == "refused" and not seat.ready:  # as it would be by any other
                raise UserError(f"{seat}: {answer.text}")
            self._replace(seat, answer.text, UserError if answer.kind == "refused" else RuntimeError)
            return
        seat.asked.popleft()
        if isinstance(answer, Place):
            seat.begin(answer)
        elif isinstance(answer, Begun):
            seat.begun(answer)
        elif isinstance(answer, Steps):
            found += answer.transitions
            seat.rng = answer.rng
            if any(transition.is_last.any() for transition in answer.transitions):
                seat.restarts = 0

    def _replace(self, seat: Seat, cause: str, error: type[Exception] = RuntimeError) -> None:
        """Somebody is lost: say who, and have another one made."""
        self._ordered -= seat.steps_under_way
        lost, short = str(seat), " ".join(cause.split())[-_CAUSE_CHARACTERS:]
        running = f"its {self._envs} running episodes are lost" if seat.ready else "it had not begun"
        if not seat.again(self._ray):
            raise error(f"{lost} failed {seat.restarts} times in a row, the last time so:\n{cause}")
        _log.warning("%s is gone, %s; another one takes its place: %s", lost, running, short)

    def _order_more(self) -> None:
        steps = _ROUNDS * self._envs
        for ahead in range(1, _ORDERS_AHEAD + 1):
            for seat in self._seats:
                if self._ordered + steps > self._permitted:
                    return
                if seat.ready and len(seat.asked) < ahead:
                    self._send_weights()
                    seat.order(Order(_ROUNDS, self._sent, self._random), self._weights_ref)
                    self._ordered += steps

    def _send_weights(self) -> None:
        """Put the newest weights where every collector can fetch them, if that does not take too much of the time."""
        now = time.monotonic()
        if self._sent == self._policy or (self._sent and now < self._next_encoding_s):
            return
        self._weights_ref = self._ray.put(weights.encode(self._agent))
        self._sent = self._policy
        self._next_encoding_s = now + (time.monotonic() - now) / _ENCODING_SHARE

    def _tell_slow_starts(self) -> None:
        """Say once where collectors have not started, for lack of room as a rule; UserError where none of them has."""
        waiting = [seat for seat in self._seats if seat.place is None]
        if self._slow_told or not waiting or time.monotonic() < waiting[0].started_s + _SLOW_START_S:
            return
        cpus = self._ray.cluster_resources().get("CPU", 0)
        told = (
            f"--collectors {len(self._seats)}: {len(waiting)} of them have not started within {_SLOW_START_S:g} s;"
            f" together they want {self._cpus} CPUs, the cluster has {cpus:g}"
        )
        if len(waiting) == len(self._seats):
            raise UserError(told)
        self._slow_told = True
        _log.warning("%s; going on with the others", told)
