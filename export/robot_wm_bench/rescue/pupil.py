"""A model-free agent that walks in the source world: taught by a trained agent, with critics of its own.

What it is taught from stays in its replay, so that it has every transition and every label that the source can give.
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from flax import serialization
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from robot_wm.atomic import atomic_file
from robot_wm.baselines.settings import Algorithm
from robot_wm.baselines.view import ModelView
from robot_wm.spec import AgentSpec
from robot_wm.training.actor import Actor
from robot_wm.training.checkpoint import LoadedAgent
from robot_wm.training.env_pool import EnvPool
from robot_wm_bench.rescue.cloning import Cloning
from robot_wm_bench.rescue.experience import Experience
from robot_wm_bench.rescue.half_buffer import HalfBuffer
from robot_wm_bench.rescue.lessons import Lessons
from robot_wm_bench.rescue.teaching import gather

_EXPERIENCE, _STATES, _TOLD = "source.npz", "source.msgpack", "source.json"
_NEVER = 10**9  # updates of the critic for one of the actor: the actor rests
_CRITIC_CHUNK = 100  # updates in one call of the library


def teach(
    algorithm: Algorithm, teacher: LoadedAgent, options: dict[str, Any], *, lessons: Lessons, seed: int, processes: int
) -> tuple[Experience, dict[str, Any], dict[str, Any]]:
    """Experience of the source world, the states of a model that was taught by it, and what the lessons cost."""
    pool = EnvPool(teacher.state.config.task, options, envs=lessons.robots, processes=processes, seed=seed)
    try:
        spec = pool.agent_spec
        model = build(algorithm, spec, lessons, seed=seed)
        cloning = Cloning(
            model,
            noise=lessons.policy_noise,
            learning_rate=lessons.clone_rate,
            batch_size=lessons.clone_batch,
            seed=seed,
        )
        parts: list[Experience] = []
        falls, losses = [], []
        for number in range(lessons.rounds):
            part, fell = gather(
                pool,
                Actor(teacher.agent, spec, envs=pool.envs, seed=seed, greedy=True),
                None if number == 0 else lambda seen: model.policy.predict(seen, deterministic=True)[0],
                history=lessons.history,
                steps=lessons.round_steps,
                noise=lessons.noise,
                seed=(seed + 1) * 1000 + number * pool.envs,
            )
            parts.append(part)
            falls.append(fell)
            losses.append(cloning.run(Experience.joined(parts), lessons.clone_updates))
    finally:
        pool.close()
    experience = Experience.joined(parts)
    judge = build(algorithm, spec, lessons, seed=seed, prior=experience)
    give_states(judge, states_of(model))
    judge_critics(judge, lessons.critic_updates)
    told = {"source_steps": len(experience), "source_falls": falls, "clone_losses": losses}
    return experience, states_of(judge), told


def judge_critics(model: Any, updates: int) -> None:
    """The library's own updates of ``model``'s critics on its replay, while the actor rests."""
    delay, model.policy_delay = model.policy_delay, _NEVER
    for _ in range(-(-updates // _CRITIC_CHUNK)):
        model.train(gradient_steps=_CRITIC_CHUNK, batch_size=model.batch_size)
    model.policy_delay = delay


def build(
    algorithm: Algorithm,
    spec: AgentSpec,
    lessons: Lessons,
    *,
    seed: int,
    envs: VecEnv | None = None,
    prior: Experience | None = None,
) -> Any:
    """A new model of ``algorithm``; without ``envs`` it has a stand-in for them, and without ``prior`` no replay.

    It takes no random steps, and does not learn by itself (``gradient_steps`` is 0) until it is told to.
    """
    make = getattr(import_module(algorithm.library), algorithm.algorithm)
    keywords = algorithm.keywords(spec.action_dim) | {"gradient_steps": 0, "learning_starts": 0}
    if prior is None:
        keywords |= {"buffer_size": 1}
    else:
        keywords |= {
            "buffer_size": lessons.replay_steps,
            "replay_buffer_class": HalfBuffer,
            "replay_buffer_kwargs": {"prior": prior, "seed": seed},
        }
    envs = envs or DummyVecEnv([lambda: _Shapes(spec, lessons.history)])
    model = make("MlpPolicy", envs, seed=seed, **keywords)
    model.set_logger(Logger(folder=None, output_formats=[]))
    return model


class _Shapes(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """What a model is built from while nothing is simulated."""

    def __init__(self, spec: AgentSpec, history: int) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (ModelView(spec, history=history).size,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (spec.action_dim,), np.float32)


def save(folder: Path, experience: Experience, states: dict[str, Any], told: dict[str, Any]) -> None:
    """Write what was taught; what was told of it is written last."""
    folder.mkdir(parents=True, exist_ok=True)
    experience.save(folder / _EXPERIENCE)
    with atomic_file(folder / _STATES) as temporary:
        temporary.write_bytes(serialization.to_bytes(states))
    with atomic_file(folder / _TOLD) as temporary:
        temporary.write_text(json.dumps(told, indent=2))


def saved(folder: Path) -> dict[str, Any] | None:
    """What was told of the lessons whose outcome is in ``folder``; None where there is none."""
    try:
        told: dict[str, Any] = json.loads((folder / _TOLD).read_text())
    except FileNotFoundError:
        return None
    return told


def load(
    folder: Path, algorithm: Algorithm, spec: AgentSpec, lessons: Lessons, *, seed: int, envs: VecEnv | None = None
) -> Any:
    """A model with the networks, moments, entropy coefficient and replay that were saved."""
    model = build(algorithm, spec, lessons, seed=seed, envs=envs, prior=Experience.load(folder / _EXPERIENCE))
    give_states(model, serialization.from_bytes(states_of(model), (folder / _STATES).read_bytes()))
    return model


def give_states(model: Any, states: dict[str, Any]) -> None:
    """Give ``model`` the states of another of its kind."""
    model.policy.actor_state, model.policy.qf_state = states["actor"], states["critics"]
    model.ent_coef_state = states["entropy"]


def states_of(model: Any) -> dict[str, Any]:
    """Networks, optimisers' moments and entropy coefficient."""
    return {"actor": model.policy.actor_state, "critics": model.policy.qf_state, "entropy": model.ent_coef_state}
