"""The simulators of one process: stepping, resetting, and the loop that obeys the learner's process."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np

from robot_wm.errors import UserError
from robot_wm.figures import episode_figures, figure_names, success
from robot_wm.randomisation import drawn, randomisation_names
from robot_wm.tasks import agent_spec, environment_options, make_env
from robot_wm.training.pool_slots import Contract, PoolSlots

# Orders to a worker and answers from it: one byte, then text. Arrays travel in shared memory, nothing is pickled.
RESET, RESET_SEEDED, STEP, CLOSE = b"r", b"e", b"s", b"c"
DONE, FAILED, REFUSED = b"d", b"f", b"u"


class EnvGroup:
    """Some environments of one task, stepped one after the other into the slots from ``first`` on."""

    def __init__(self, task: str, options: Mapping[str, Any], seeds: Sequence[int], first: int) -> None:
        self._envs: list[Any] = []
        # Every episode gets a seed of its own, so that a stored episode can be started again by itself.
        self._seeds = [np.random.default_rng(seed) for seed in seeds]
        self._first = first
        try:
            for index, seed in enumerate(seeds, first):
                self._envs.append(make_env(task, seed=seed, **environment_options(task, options, index)))
        except BaseException:
            self.close()
            raise
        env = self._envs[0]
        self.contract = Contract(agent_spec(env), figure_names(env), randomisation_names(env))

    def reset(self, slots: PoolSlots) -> None:
        """Start an episode in every environment."""
        for index in range(len(self._envs)):
            self._reset(index, slots)

    def reset_seeded(self, slots: PoolSlots) -> None:
        """Start an episode in every environment with the seed that its slot names."""
        for index in range(len(self._envs)):
            self._reset(index, slots, seed=int(slots.seed[self._first + index]))

    def step(self, slots: PoolSlots) -> None:
        """Apply ``slots.action``; where the last step ended an episode, start the next one instead."""
        for index in range(len(self._envs)):
            if slots.is_last[self._first + index]:
                self._reset(index, slots)
            else:
                self._step(index, slots)

    def obey(self, order: bytes, slots: PoolSlots) -> None:
        """Do what one of the orders above says."""
        {RESET: self.reset, RESET_SEEDED: self.reset_seeded, STEP: self.step}[order](slots)

    def close(self) -> None:
        """Close every environment."""
        for env in self._envs:
            env.close()

    def _reset(self, index: int, slots: PoolSlots, *, seed: int | None = None) -> None:
        if seed is None:
            seed = int(self._seeds[index].integers(2**31))
        observation, info = self._envs[index].reset(seed=seed)
        slots.seed[self._first + index] = seed
        self._write(index, slots, observation, info, reward=0.0)
        slots.is_first[self._first + index] = True
        draw = drawn(self.contract.randomisation_names, info)
        slots.randomisation[self._first + index] = list(draw.values())

    def _step(self, index: int, slots: PoolSlots) -> None:
        action = slots.action[self._first + index]  # [A]
        command = int(action.argmax()) if self.contract.agent_spec.action.is_discrete else action.copy()
        observation, reward, terminated, truncated, info = self._envs[index].step(command)
        self._write(index, slots, observation, info, reward=float(reward))
        slots.is_terminal[self._first + index] = terminated
        if terminated or truncated:
            slots.is_last[self._first + index] = True
            figures = episode_figures(self.contract.figure_names, info)
            slots.figures[self._first + index] = list(figures.values())

    def _write(self, index: int, slots: PoolSlots, observation: Any, info: Mapping[str, Any], *, reward: float) -> None:
        slot = self._first + index
        for name, values in slots.obs.items():
            values[slot] = observation[name]
        slots.reward[slot] = reward
        slots.reward_known[slot] = True
        slots.success[slot] = success(info)
        slots.figures[slot] = float("nan")
        slots.is_first[slot] = slots.is_last[slot] = slots.is_terminal[slot] = False


def work(
    orders: Connection, task: str, options: Mapping[str, Any], seeds: Sequence[int], first: int, envs: int
) -> None:
    """Body of a worker process: build, answer with the contract, take the name of the shared memory, then obey.

    It ends on CLOSE and when the other side of the pipe is gone. Ctrl-C reaches the whole process group, and the
    learner must still be able to save, so it is the learner's side that stops the workers.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        group = EnvGroup(task, options, seeds, first)
    except UserError as error:
        orders.send_bytes(REFUSED + str(error).encode())
        return
    except Exception:
        orders.send_bytes(FAILED + traceback.format_exc().encode())
        return
    try:
        orders.send_bytes(DONE + group.contract.to_bytes())
        name = orders.recv_bytes()
        if name == CLOSE:  # another worker failed to start
            return
        memory = SharedMemory(name=name.decode())
        assert memory.buf is not None
        slots = PoolSlots.over(group.contract, envs, memory.buf)
        try:
            _obey(orders, group, slots)
        finally:
            del slots  # its arrays hold the mapping open
            memory.close()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the learner's process is gone
    finally:
        group.close()


def _obey(orders: Connection, group: EnvGroup, slots: PoolSlots) -> None:
    while (order := orders.recv_bytes()) != CLOSE:
        try:
            group.obey(order, slots)
        except UserError as error:
            orders.send_bytes(REFUSED + str(error).encode())
            return
        except Exception:
            orders.send_bytes(FAILED + traceback.format_exc().encode())
            return
        orders.send_bytes(DONE)
