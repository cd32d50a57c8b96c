"""An actor in its own process: learning never stalls it, and it never waits for the learner's weights.

Steps go to the learner through a pipe that a thread of the actor's feeds. Weights come back through one shared vector:
the learner writes it and sends an order, the actor copies it between two ticks and says so, and until then the learner
leaves it alone. The two share no lock, which a process that dies may hold for ever, and each finds the other's end of a
pipe closed when it is gone, whatever ended it.
"""

from __future__ import annotations

import queue
import signal
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from types import FrameType

import numpy as np
import torch
import torch.multiprocessing as multiprocessing
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from robot_wm.agents import agent_kind
from robot_wm.errors import StoppedError, UserError
from robot_wm.learning.agent import Agent
from robot_wm.spec import AgentSpec
from robot_wm.training.actor import Actor
from robot_wm.training.collector import Stepper
from robot_wm.training.config import TrainConfig
from robot_wm.training.env_pool import EnvPool
from robot_wm.training.peers import CLOSE_TIMEOUT_S, PeerTerminatedError, ended, unheard_interrupts
from robot_wm.training.random_actions import RandomActions
from robot_wm.training.transition import Transition

_WAIT_S = 0.05
# What waits in the actor follows as soon as there is room in the pipe, which holds a few steps only.
_NEXT_S = 0.001
_LONGEST_POLL_S = 1.0
_LABEL = "the actor process"
# An actor closes its own simulator processes first, which may take that long each way.
_CLOSE_ACTOR_S = 3 * CLOSE_TIMEOUT_S


@dataclass(frozen=True)
class _Order:
    """What the actor is told; it answers each with `_TAKEN`, and no second one is sent before."""

    policy: str  # learner update that the weights are from
    weights: bool  # the shared vector holds new ones
    random: bool  # act uniformly
    permitted: int  # policy steps that the train ratio allows so far


@dataclass(frozen=True)
class _Step:
    """One step of all environments and the state of the actor's noise after it."""

    transition: Transition
    rng: NDArray[np.uint8]


@dataclass(frozen=True)
class _Failure:
    """The actor's last words."""

    kind: type[Exception]
    text: str


_TAKEN = "taken"


class _LearnerGoneError(Exception):
    """The learner has closed its end of the pipes, or has died."""


class ProcessCollector:
    """Collects in a spawned process; see `Collector` for the protocol.

    A real-time actor is paced by the clock alone. A simulated one also waits once it is further ahead than the train
    ratio permits, or it would fill the memory with experience that nobody learns from.
    """

    def __init__(
        self, config: TrainConfig, spec: AgentSpec, agent: Agent, *, seed: int, rng_states: Sequence[Tensor] = ()
    ) -> None:
        context = multiprocessing.get_context("spawn")
        (rng,) = rng_states or [torch.Generator().manual_seed(seed).get_state()]
        self._rng: NDArray[np.uint8] = rng.numpy().copy()
        self._weights = _vector(agent).share_memory_()  # [parameters] float32
        self._published = ""  # update that the shared weights are from
        self._order: _Order | None = None  # the latest one
        self._taken = True  # whether the actor has answered it
        self._failure: _Failure | None = None
        arrivals, sender = context.Pipe(duplex=False)
        receiver, orders = context.Pipe(duplex=False)
        self._arrivals, self._orders = arrivals, orders
        arguments = (config.model_dump_json(), spec.to_json(), seed, self._rng, self._weights, receiver, sender)
        self._process = context.Process(target=_act, args=arguments, name="robot-wm actor", daemon=False)
        with unheard_interrupts():
            self._process.start()
        # Else the actor's end would not show as the end of the pipes.
        sender.close()
        receiver.close()
        # At the interpreter's exit, before it waits for its children: an actor that nobody closed ends, too.
        self._hang_up = Finalize(None, _close, args=(orders, arrivals), exitpriority=1)

    def poll(self) -> list[Transition]:
        """Everything that has arrived since the last call; waits up to 50 ms for a first one.

        Raises if the actor has died, once all that it sent is out: PeerTerminatedError where it was told to, UserError
        where its task refused something.
        """
        found: list[Transition] = []
        wait_s, end = _WAIT_S, time.monotonic() + _LONGEST_POLL_S
        try:
            while self._failure is None and time.monotonic() < end and self._arrivals.poll(wait_s):
                item = self._arrivals.recv()
                wait_s = _NEXT_S
                if isinstance(item, _Step):
                    found.append(item.transition)
                    self._rng = item.rng
                elif isinstance(item, _Failure):
                    self._failure = item
                else:
                    self._taken = True
            alive = bool(found) or self._process.is_alive() or self._arrivals.poll(0.0)
        except (EOFError, OSError):  # OSError: in the middle of a message
            alive = bool(found)
        if not alive and self._failure is None:
            self._process.join(CLOSE_TIMEOUT_S)
            raise ended(_LABEL, self._process.exitcode)
        if self._failure is not None and not found:
            raise self._failure.kind(self._failure.text)
        return found

    def publish(self, agent: Agent, *, policy: str, random: bool, steps_permitted: int) -> None:
        """Hand the actor new weights and its allowance of policy steps; later, if it has not taken the last ones."""
        if not self._taken:
            return
        order = _Order(policy=policy, weights=policy != self._published, random=random, permitted=steps_permitted)
        if order == self._order:
            return  # the same weights: a round without an update must not copy them all
        if order.weights:
            self._weights.copy_(_vector(agent))
        try:
            self._orders.send(order)
        except OSError:
            return  # it has gone, as poll will tell
        self._published, self._order, self._taken = policy, order, False

    def rng_states(self) -> list[Tensor]:
        """State of the actor's noise after the latest step that has arrived."""
        return [torch.from_numpy(self._rng.copy())]

    def drain(self) -> list[Transition]:
        """None: the actor is at most a few steps ahead of what has arrived."""
        return []

    def close(self) -> None:
        """Stop the actor and its simulators, by force if they do not end by themselves."""
        self._hang_up()
        self._process.join(_CLOSE_ACTOR_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _close(*ends: Connection) -> None:
    for end in ends:
        end.close()


def _vector(agent: Agent) -> Tensor:
    return parameters_to_vector(agent.acting()).detach().float().cpu()


class _Outbox:
    """Sends to the learner from a thread of its own, so that a learner that is busy stalls nobody."""

    def __init__(self, sender: Connection) -> None:
        self._sender = sender
        self._items: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._feed, daemon=True)
        self._thread.start()

    def put(self, item: object) -> None:
        """Send ``item`` soon."""
        self._items.put(item)

    def close(self) -> None:
        """Wait until the learner has taken everything, or has closed its end."""
        self._items.put(None)
        self._thread.join()

    def _feed(self) -> None:
        try:
            while (item := self._items.get()) is not None:
                self._sender.send(item)
        except OSError:
            pass  # nobody listens any more
        self._sender.close()


def _act(
    config_json: str,
    spec_json: str,
    seed: int,
    rng: NDArray[np.uint8],
    weights: Tensor,
    orders: Connection,
    sender: Connection,
) -> None:
    """Body of the actor process: one CPU thread, so that it does not fight the learner for cores."""
    # Ctrl-C reaches the whole process group, and the learner must still be able to save: it stops us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _told_to_end)
    outbox = _Outbox(sender)
    try:
        torch.set_num_threads(1)
        config, spec = TrainConfig.model_validate_json(config_json), AgentSpec.from_json(spec_json)
        pool = EnvPool(config.task, dict(config.task_options), envs=config.envs, processes=config.processes, seed=seed)
        try:
            agent = agent_kind(config.agent).make_agent(config.settings, spec).eval()
            actor = Actor(agent, spec, envs=pool.envs, seed=seed, random_actions=RandomActions.told(config, spec))
            actor.set_rng_state(torch.from_numpy(rng))
            _loop(_Inbox(orders, weights, agent, outbox), pool, actor, outbox, spec if config.realtime else None)
        finally:
            pool.close()
    except _LearnerGoneError:
        pass
    except (UserError, PeerTerminatedError) as error:
        outbox.put(_Failure(type(error), str(error)))
    except StoppedError as error:
        outbox.put(_Failure(PeerTerminatedError, str(error)))
    except BaseException:
        outbox.put(_Failure(RuntimeError, f"{_LABEL} failed:\n{traceback.format_exc()}"))
    finally:
        outbox.close()


def _told_to_end(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough, and closing must not be interrupted
    raise StoppedError(f"{_LABEL} was told to end")


@dataclass
class _Inbox:
    """The actor's side of the orders."""

    orders: Connection
    weights: Tensor  # [parameters] float32, in shared memory
    agent: Agent
    outbox: _Outbox

    def wait(self, seconds: float | None) -> bool:
        """Whether there is an order, or the learner's end is closed; waits ``seconds`` for it, or for ever."""
        return self.orders.poll(seconds)

    def take(self) -> _Order:
        """Do what the next order says."""
        try:
            order: _Order = self.orders.recv()
        except (EOFError, OSError):  # OSError: in the middle of a message
            raise _LearnerGoneError from None
        if order.weights:
            # A copy: parameters become views of the vector, and the learner will write the shared one again.
            vector_to_parameters(self.weights.clone(), self.agent.acting())
        self.outbox.put(_TAKEN)
        return order


def _loop(inbox: _Inbox, pool: EnvPool, actor: Actor, outbox: _Outbox, realtime: AgentSpec | None) -> None:
    """Act until the learner closes its end; by the clock of the spec ``realtime``, if given."""
    stepper = Stepper(pool, actor)
    order = inbox.take()
    steps, next_tick = 0, time.monotonic()
    while True:
        if inbox.wait(0.0):
            order = inbox.take()
        if realtime is not None:
            next_tick = max(next_tick + realtime.control_period_s, time.monotonic())
            time.sleep(max(0.0, next_tick - time.monotonic()))
        elif steps >= order.permitted:
            inbox.wait(None)
            continue
        transition = stepper.step(policy=order.policy, random=order.random)
        outbox.put(_Step(transition, actor.rng_state().numpy()))
        steps += transition.envs
