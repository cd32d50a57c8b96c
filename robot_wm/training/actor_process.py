"""An actor in its own process: learning never stalls it, and it never waits for the learner's weights.

Transitions go to the learner through a queue that the actor only appends to. Weights come back through one shared
vector: the actor copies it between two ticks if the lock is free, and keeps the old ones if it is not.
"""

from __future__ import annotations

import queue
import time
import traceback
from dataclasses import dataclass
from typing import Any

import torch
import torch.multiprocessing as multiprocessing
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.spec import AgentSpec
from robot_wm.training.actor import Actor
from robot_wm.training.collector import Stepper
from robot_wm.training.config import TrainConfig
from robot_wm.training.env_pool import EnvPool
from robot_wm.training.transition import Transition

_WAIT_S = 0.05


@dataclass(frozen=True)
class _Shared:
    """What the two processes have in common."""

    weights: Tensor  # [parameters] float32, in shared memory
    version: Any  # Value('q'): counts publications
    random: Any  # Value('b'): act uniformly
    permitted: Any  # Value('q'): policy steps that the train ratio allows so far
    policy_step: Any  # Value('q'): learner update that the weights are from
    lock: Any
    stop: Any  # Event
    rng: Tensor  # uint8 generator state, written by the actor after every step
    transitions: Any  # Queue


class ProcessCollector:
    """Collects in a spawned process; see `Collector` for the protocol.

    A real-time actor is paced by the clock alone. A simulated one also waits once it is further ahead than the train
    ratio permits, or it would fill the memory with experience that nobody learns from.
    """

    def __init__(
        self, config: TrainConfig, spec: AgentSpec, agent: DreamerAgent, *, seed: int, rng_state: Tensor | None = None
    ) -> None:
        context = multiprocessing.get_context("spawn")
        initial_rng = torch.Generator().manual_seed(seed).get_state() if rng_state is None else rng_state
        self._shared = _Shared(
            weights=_vector(agent).share_memory_(),
            version=context.Value("q", 0),
            random=context.Value("b", 1),
            permitted=context.Value("q", 0),
            policy_step=context.Value("q", 0),
            lock=context.Lock(),
            stop=context.Event(),
            rng=initial_rng.clone().share_memory_(),
            transitions=context.Queue(),
        )
        arguments = (config.model_dump_json(), spec.to_json(), seed, self._shared)
        self._published = ""  # name of the weights that the actor was given last
        self._process = context.Process(target=_act, args=arguments, name="robot-wm actor", daemon=False)
        self._process.start()

    def poll(self) -> list[Transition]:
        """Everything queued since the last call; waits up to 50 ms for a first one. Raises if the actor has died."""
        found: list[Transition] = []
        try:
            item = self._shared.transitions.get(timeout=_WAIT_S)
            while True:
                if isinstance(item, str):
                    raise RuntimeError(f"the actor process failed:\n{item}")
                found.append(item)
                item = self._shared.transitions.get_nowait()
        except queue.Empty:
            if not found and not self._process.is_alive() and not self._shared.stop.is_set():
                raise RuntimeError(f"the actor process died (exit code {self._process.exitcode})") from None
        return found

    def publish(self, agent: DreamerAgent, *, policy: str, random: bool, steps_permitted: int) -> None:
        """Hand the actor new weights and its allowance of policy steps."""
        shared = self._shared
        shared.random.value, shared.permitted.value = int(random), steps_permitted
        if policy == self._published:
            return  # the same weights: a round without an update must not copy them all
        vector = _vector(agent)
        with shared.lock:
            shared.weights.copy_(vector)
            shared.version.value += 1
            shared.policy_step.value = int(policy)
        self._published = policy

    def rng_state(self) -> Tensor:
        """State of the actor's noise after its latest step."""
        return self._shared.rng.clone()

    def close(self) -> None:
        """Stop the actor and its simulators; takes what is still queued off it, or its feeder could not end."""
        self._shared.stop.set()
        while self._process.is_alive():
            try:
                self._shared.transitions.get(timeout=_WAIT_S)
            except queue.Empty:
                self._process.join(timeout=_WAIT_S)
        self._process.join()
        self._shared.transitions.close()


def _vector(agent: DreamerAgent) -> Tensor:
    return parameters_to_vector(agent.parameters()).detach().float().cpu()


def _act(config_json: str, spec_json: str, seed: int, shared: _Shared) -> None:
    """Body of the actor process: one CPU thread, so that it does not fight the learner for cores."""
    try:
        torch.set_num_threads(1)
        config, spec = TrainConfig.model_validate_json(config_json), AgentSpec.from_json(spec_json)
        pool = EnvPool(config.task, dict(config.task_options), envs=config.envs, processes=config.processes, seed=seed)
        try:
            _loop(config, pool, spec, shared, seed)
        finally:
            pool.close()
    except KeyboardInterrupt:
        pass  # Ctrl-C reaches the whole process group; the learner saves and stops us
    except BaseException:
        shared.transitions.put(traceback.format_exc())


def _loop(config: TrainConfig, pool: EnvPool, spec: AgentSpec, shared: _Shared, seed: int) -> None:
    agent = DreamerAgent(config.dreamer, spec.model_inputs(), spec.action_dim, spec.action.is_discrete).eval()
    actor = Actor(agent, spec, envs=pool.envs, seed=seed)
    actor.set_rng_state(shared.rng.clone())
    stepper = Stepper(pool, actor)
    version, steps, next_tick = -1, 0, time.monotonic()
    while not shared.stop.is_set():
        if version != shared.version.value and shared.lock.acquire(block=version < 0):
            try:
                vector_to_parameters(shared.weights, agent.parameters())
                version = shared.version.value
            finally:
                shared.lock.release()
        if config.realtime:
            next_tick = max(next_tick + spec.control_period_s, time.monotonic())
            time.sleep(max(0.0, next_tick - time.monotonic()))
        elif steps >= shared.permitted.value:
            shared.stop.wait(0.001)
            continue
        transition = stepper.step(policy=str(shared.policy_step.value), random=bool(shared.random.value))
        shared.rng.copy_(actor.rng_state())
        shared.transitions.put(transition)
        steps += transition.envs
