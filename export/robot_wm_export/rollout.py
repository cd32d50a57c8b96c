"""Real observations for the parity recording, driven by the agent that is exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.learning.agent import Agent, initial_state
from robot_wm.runtime.graph_tensors import NoiseTensor
from robot_wm.runtime.parity_section import MAX_PARITY_TICKS
from robot_wm.runtime.transform import ObservationTransform, to_command
from robot_wm.spec import AgentSpec, require_same
from robot_wm.tasks import agent_spec, make_env

if TYPE_CHECKING:
    import gymnasium

    from robot_wm.training.checkpoint import LoadedAgent

MIN_TICKS = 256
_MIN_EPISODES = 4  # so that is_first also occurs where there is a state to forget
_GREEDY_SHARE = 4  # every fourth tick has zero noise


@dataclass(frozen=True)
class Rollout:
    """What went into N successive ticks, the recurrent state left out: it follows from these."""

    observations: Mapping[str, NDArray[Any]]  # field -> [N, 1, *model input shape], as the graph sees it
    is_first: NDArray[np.float32]  # [N, 1], 1 at the first tick of an episode
    noise: Mapping[str, NDArray[np.float32]]  # declared name -> [N, 1, *shape], or zeros

    @property
    def ticks(self) -> int:
        """N."""
        return len(self.is_first)


def record_task(loaded: LoadedAgent, ticks: int, seed: int) -> tuple[AgentSpec, Rollout]:
    """The spec of the task that an agent was trained in, as it is now, and a rollout there; see `record_rollout`."""
    config = loaded.state.config
    options: dict[str, Any] = dict(config.task_options)
    env = make_env(config.task, seed=seed, **options)
    try:
        spec = require_task(env, loaded.spec, origin=f"{loaded.path}: task {config.task}")
        return spec, record_rollout(loaded.agent, env, ticks, seed)
    finally:
        env.close()


@torch.inference_mode()
def record_rollout(agent: Agent, env: gymnasium.Env[Any, Any], ticks: int, seed: int) -> Rollout:
    """Drive ``env`` with ``agent`` for ``ticks`` (256 or more) control steps, over four episodes or more.

    Most ticks have noise, every fourth none. The environment's observations pass the runtime's own transform.
    """
    if not MIN_TICKS <= ticks <= MAX_PARITY_TICKS:
        raise UserError(f"rollout ticks must be {MIN_TICKS} to {MAX_PARITY_TICKS}, got {ticks}")
    spec = agent_spec(env)
    transform = ObservationTransform(spec)
    rollout = Rollout(
        observations={
            name: np.empty((ticks, 1, *field.shape), dtype=field.dtype) for name, field in spec.model_inputs().items()
        },
        is_first=np.zeros((ticks, 1), dtype=np.float32),
        noise=draw_noise(np.random.default_rng(seed), agent.noise, ticks),
    )
    longest = ticks // _MIN_EPISODES
    state, length, ended = initial_state(agent.state, 1, "cpu"), 0, True
    observation: Mapping[str, NDArray[Any]] = {}
    for tick in range(ticks):
        if ended or length == longest:
            observation, _ = env.reset(seed=seed if tick == 0 else None)
            rollout.is_first[tick] = 1.0
            length, ended = 0, False
        for name, value in transform.push(observation, bool(rollout.is_first[tick, 0])).items():
            rollout.observations[name][tick] = value
        made = agent.tick(
            {name: torch.from_numpy(values[tick]) for name, values in rollout.observations.items()},
            torch.from_numpy(rollout.is_first[tick]),
            state,
            {name: torch.from_numpy(values[tick]) for name, values in rollout.noise.items()},
        )
        state = made.state
        observation, _, terminated, truncated, _ = env.step(_command(spec, made.outputs["action"]))
        ended, length = bool(terminated or truncated), length + 1
    return rollout


def draw_noise(rng: np.random.Generator, noise: Sequence[NoiseTensor], ticks: int) -> dict[str, NDArray[np.float32]]:
    """Declared noise by name, [N, 1, *shape], drawn in the order of its declaration. Every fourth tick has none."""
    drawn = {}
    for entry in noise:
        draw = rng.gumbel if entry.distribution == "gumbel" else rng.normal
        drawn[entry.name] = draw(size=(ticks, *entry.shape)).astype(np.float32)
        drawn[entry.name][::_GREEDY_SHARE] = 0.0
    return drawn


def check_rollout(rollout: Rollout, agent: Agent, spec: AgentSpec) -> None:
    """Refuse (UserError) a rollout that is too short, does not begin an episode, or has other shapes or types."""
    ticks = rollout.ticks
    if not MIN_TICKS <= ticks <= MAX_PARITY_TICKS:
        raise UserError(f"rollout: {MIN_TICKS} to {MAX_PARITY_TICKS} ticks are needed, got {ticks}")
    inputs = spec.model_inputs()
    if set(inputs) != set(rollout.observations):
        raise UserError(f"rollout: observations {sorted(rollout.observations)}, the spec has {sorted(inputs)}")
    noise = {entry.name: entry.shape[1:] for entry in agent.noise}
    if set(noise) != set(rollout.noise):
        raise UserError(f"rollout: noise {sorted(rollout.noise)}, the agent has {sorted(noise)}")
    expected: dict[str, tuple[NDArray[Any], tuple[int, ...], str]] = {"is_first": (rollout.is_first, (), "float32")}
    expected |= {name: (rollout.noise[name], shape, "float32") for name, shape in noise.items()}
    expected |= {name: (rollout.observations[name], field.shape, field.dtype) for name, field in inputs.items()}
    for name, (array, shape, dtype) in expected.items():
        if array.shape != (ticks, 1, *shape) or array.dtype != np.dtype(dtype):
            raise UserError(f"rollout: {name} is {array.dtype} {array.shape}, expected {dtype} {(ticks, 1, *shape)}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise UserError(f"rollout: {name} holds values that are not finite")
    if rollout.is_first[0, 0] != 1.0 or rollout.is_first[1:].sum() == 0:
        raise UserError("rollout: is_first must be 1 at the first tick and once more later")


def require_task(env: gymnasium.Env[Any, Any], spec: AgentSpec, *, origin: str) -> AgentSpec:
    """Refuse (UserError) an environment with another contract than the agent's; returns the environment's.

    What the hash leaves out is as the task has it now: an agent of an older version gets the roles of its fields so.
    """
    present = agent_spec(env)
    require_same(spec, present, origin=origin)
    return present


def _command(spec: AgentSpec, action: torch.Tensor) -> Any:
    command = to_command(spec.action, action[0].numpy())  # [A] SI or one-hot
    return int(command.argmax()) if spec.action.is_discrete else command
