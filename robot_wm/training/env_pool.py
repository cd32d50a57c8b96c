"""Many environments of one task, stepped in parallel processes.

Gymnasium's AsyncVectorEnv was tried first and does not serve here: it runs one environment per process, pickles
closures and every action and info through pipes, keeps a worker's traceback in a log line, and hangs or ends in a
bare EOFError when a worker is killed. Its next-step autoreset is the convention used below.
"""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np

from robot_wm.errors import UserError
from robot_wm.spec import AgentSpec, require_same
from robot_wm.step import each
from robot_wm.training.peers import CLOSE_TIMEOUT_S, ended, unheard_interrupts
from robot_wm.training.pool_slots import Contract, PoolSlots, PoolStep
from robot_wm.training.pool_worker import CLOSE, DONE, REFUSED, RESET, RESET_SEEDED, STEP, EnvGroup, work

_LOOK_EVERY_S = 2.0


class EnvWorkerError(RuntimeError):
    """A simulator process failed; the message carries its traceback."""


class EnvPool:
    """N environments of one task in worker processes, or in this one with ``processes=0``.

    Where a step returned ``is_last``, the next step ignores that environment's action and returns the first
    observation of its next episode, with ``is_first`` and reward 0 (the convention of DreamerV3's driver). Seeds
    depend on ``seed`` and the environment's index only, so the number of processes changes no trajectory.

    Args:
        task: a name for `robot_wm.tasks.make_env`.
        options: the task's options; plain values, as they are sent to other processes. Engines alternate from one
            environment to the next where several are named, ``backend="pybullet,mujoco"``.
        envs: number of environments N.
        processes: worker processes; no more are started than there are environments.
        seed: seed that every environment's own is derived from.

    Raises UserError for bad numbers, and what the task refuses; EnvWorkerError when a simulator fails, PeerDiedError
    when its process dies, and PeerTerminatedError when that was told to end.
    A context manager; without `close`, the end of this process ends its workers.
    """

    agent_spec: AgentSpec
    """The contract that the task's environments carry."""
    figure_names: tuple[str, ...]
    """What they tell of an episode, K names; see `robot_wm.figures`."""
    randomisation_names: tuple[str, ...]
    """What they draw for an episode, Q names; see `robot_wm.randomisation`."""

    def __init__(
        self, task: str, options: Mapping[str, Any] | None = None, *, envs: int = 1, processes: int = 0, seed: int = 0
    ) -> None:
        for name, value, least in (("envs", envs, 1), ("processes", processes, 0), ("seed", seed, 0)):
            if value < least:
                raise UserError(f"{name} is {value}, but must be at least {least}")
        self.envs = envs
        self.processes = min(processes, envs)
        self._pending = False
        self._started = False
        self._closed = False
        self._group: EnvGroup | None = None
        self._workers: list[_Worker] = []
        self._memory: SharedMemory | None = None
        self._slots: PoolSlots | None = None
        seeds = [int(child.generate_state(1)[0]) for child in np.random.SeedSequence(seed).spawn(envs)]
        try:
            if self.processes:
                self._start(task, dict(options or {}), seeds)
            else:
                self._group = EnvGroup(task, options or {}, seeds, 0)
                contract = self._group.contract
                self._take(contract)
                self._slots = PoolSlots.over(contract, envs, bytearray(PoolSlots.nbytes(contract, envs)))
        except BaseException:
            self.close()
            raise

    def reset(self, seeds: Sequence[int] | None = None) -> PoolStep:
        """Start a new episode everywhere, cutting off the running ones; with N ``seeds``, if given."""
        if seeds is not None:
            self._open_slots().seed[:] = seeds
        self._order(RESET if seeds is None else RESET_SEEDED)
        self._started = True
        return self.recv()

    def step(self, actions: np.ndarray) -> PoolStep:
        """Apply ``actions`` [N, A]: SI commands, or one-hot rows of a discrete task."""
        self.send(actions)
        return self.recv()

    def send(self, actions: np.ndarray) -> None:
        """Let the simulators begin a step with ``actions`` [N, A]; `recv` waits for its end.

        With ``processes=0`` the step is taken within this call.
        """
        if not self._started:
            raise RuntimeError("reset the EnvPool before stepping it")
        slots = self._open_slots()
        if np.shape(actions) != slots.action.shape:
            raise ValueError(f"actions have shape {np.shape(actions)}, not {slots.action.shape}")
        if not self._pending:
            slots.action[:] = actions
        self._order(STEP)

    def recv(self) -> PoolStep:
        """Wait until every environment has taken the step begun by `send`, and return it: copies to keep."""
        if not self._pending:
            raise RuntimeError("no step is under way: send actions before recv")
        for worker in self._workers:
            try:
                worker.answer()
            except BaseException:
                self.close()
                raise
        self._pending = False
        return PoolStep(**each(np.copy, self._open_slots(), PoolStep))

    def close(self) -> None:
        """End the simulators and free the shared memory; safe to call twice, and while a step is under way."""
        self._closed = True
        self._slots = None  # its arrays hold the mapping open
        if self._group is not None:
            self._group.close()
            self._group = None
        for worker in self._workers:
            worker.ask_to_close()
        for worker in self._workers:
            worker.join()
        self._workers = []
        if self._memory is not None:
            self._memory.unlink()
            self._memory.close()
            self._memory = None

    def __enter__(self) -> EnvPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self.close()

    def _start(self, task: str, options: dict[str, Any], seeds: list[int]) -> None:
        bounds = [self.envs * index // self.processes for index in range(self.processes + 1)]
        for first, end in itertools.pairwise(bounds):
            self._workers.append(_Worker(task, options, seeds[first:end], first, self.envs))
        contracts = [
            Contract.from_bytes(worker.answer(), origin=f"spec of {worker.label}") for worker in self._workers
        ]  # all build at the same time
        for worker, contract in zip(self._workers, contracts, strict=True):
            require_same(contracts[0].agent_spec, contract.agent_spec, origin=worker.label)
            for what in ("figure", "randomisation"):
                ours, theirs = (getattr(one, f"{what}_names") for one in (contract, contracts[0]))
                if ours != theirs:
                    raise UserError(f"{worker.label}: tells the {what} names {ours}, another one {theirs}")
        contract = contracts[0]
        self._take(contract)
        self._memory = SharedMemory(create=True, size=PoolSlots.nbytes(contract, self.envs))
        assert self._memory.buf is not None
        self._slots = PoolSlots.over(contract, self.envs, self._memory.buf)
        for worker in self._workers:
            worker.order(self._memory.name.encode())

    def _take(self, contract: Contract) -> None:
        """Tell what the environments have in common."""
        self.agent_spec = contract.agent_spec
        self.figure_names, self.randomisation_names = contract.figure_names, contract.randomisation_names

    def _order(self, order: bytes) -> None:
        slots = self._open_slots()
        if self._pending:
            raise RuntimeError("a step is under way: recv it first")
        try:
            for worker in self._workers:
                worker.order(order)
            if self._group is not None:
                self._group.obey(order, slots)
        except BaseException:
            self.close()
            raise
        self._pending = True

    def _open_slots(self) -> PoolSlots:
        if self._slots is None:
            raise RuntimeError("the EnvPool is closed")
        return self._slots


class _Worker:
    """The learner's side of one simulator process."""

    def __init__(self, task: str, options: dict[str, Any], seeds: list[int], first: int, envs: int) -> None:
        # spawn, not fork: the learner holds threads and a CUDA context, which do not survive a fork; and not
        # forkserver, whose server would outlive the pool.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._pipe: Connection = ours
        self.label = f"simulator process of environments {first}..{first + len(seeds) - 1} of task {task}"
        self._process: BaseProcess = context.Process(
            target=work, args=(theirs, task, options, seeds, first, envs), daemon=True, name=f"env_pool_{first}"
        )
        try:
            with unheard_interrupts():
                self._process.start()
        finally:
            theirs.close()  # else the end of the worker would not show as the end of the pipe

    def order(self, order: bytes) -> None:
        try:
            self._pipe.send_bytes(order)
        except (BrokenPipeError, ConnectionResetError):
            self.answer()  # what it said before it went, or how it ended
            raise EnvWorkerError(f"{self.label} has gone") from None

    def answer(self) -> bytes:
        try:
            while not self._pipe.poll(_LOOK_EVERY_S):
                # What a simulator has forked may hold its end of the pipe open after it.
                if not self._process.is_alive() and not self._pipe.poll(0):
                    raise EOFError
            answer = self._pipe.recv_bytes()
        except (EOFError, OSError):  # OSError: in the middle of a message
            self._process.join(CLOSE_TIMEOUT_S)
            raise ended(self.label, self._process.exitcode) from None
        kind, text = answer[:1], answer[1:]
        if kind == DONE:
            return text
        if kind == REFUSED:
            raise UserError(text.decode())
        raise EnvWorkerError(f"{self.label} failed:\n{text.decode()}")

    def ask_to_close(self) -> None:
        try:
            self._pipe.send_bytes(CLOSE)
        except OSError:
            return  # it is gone already

    def join(self) -> None:
        self._process.join(CLOSE_TIMEOUT_S)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(CLOSE_TIMEOUT_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._pipe.close()
        self._process.close()
