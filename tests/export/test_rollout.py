"""Rollouts are recorded from a real task and checked before they are used."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.dreamer.config import DreamerConfig
from robot_wm.errors import UserError
from robot_wm.runtime.parity_section import ParityThresholds
from robot_wm.tasks import agent_spec, make_env
from robot_wm_export.rollout import check_rollout, record_rollout, require_task
from robot_wm_export.tick_graph import TickGraph
from robot_wm_export.torch_parity import run_torch


@pytest.fixture(scope="module")
def cartpole():
    env = make_env("cartpole_balance", seed=0)
    yield env
    env.close()


@pytest.fixture(scope="module")
def agent(cartpole) -> DreamerAgent:
    return agent_of(cartpole)


def agent_of(env) -> DreamerAgent:
    spec = agent_spec(env)
    config = DreamerConfig(size="nano", deter=32, hidden=8, stoch=4, classes=3, units=16, blocks=4)
    generator = torch.Generator().manual_seed(0)
    return DreamerAgent(config, spec.model_inputs(), spec.action_dim, False, generator=generator).eval()


def test_a_recording_of_a_real_task(cartpole, agent):
    rollout = record_rollout(agent, cartpole, 256, seed=5)
    check_rollout(rollout, agent, agent_spec(cartpole))
    starts = np.flatnonzero(rollout.is_first[:, 0])
    assert len(starts) >= 4
    assert np.diff(starts).max() <= 64
    greedy = np.abs(rollout.noise["noise/latent"]).reshape(256, -1).max(-1) == 0
    assert 32 <= greedy.sum() <= 128
    np.testing.assert_array_equal(greedy, np.abs(rollout.noise["noise/action"]).reshape(256, -1).max(-1) == 0)
    for values in rollout.observations.values():
        moved = np.diff(values, axis=0)[:, 0].reshape(255, -1).any(-1)
        assert moved.mean() > 0.9  # real motion, each tick its own frame
    # History: an episode's first tick shows the same frame in every place.
    spec = agent_spec(cartpole)
    if spec.history_length > 1:
        first = next(iter(rollout.observations.values()))[starts[1], 0].reshape(spec.history_length, -1)
        assert (first == first[0]).all()


def test_episodes_that_do_not_end_are_cut_so_that_four_fit():
    env = make_env("cartpole_swingup", seed=0)  # swinging up, the pole cannot fall
    rollout = record_rollout(agent_of(env), env, 256, seed=5)
    env.close()
    assert np.flatnonzero(rollout.is_first[:, 0]).tolist() == [0, 64, 128, 192]


def test_the_same_seed_gives_the_same_recording(cartpole, agent):
    one, two, other = (record_rollout(agent, cartpole, 256, seed=seed) for seed in (5, 5, 6))
    for name, values in one.observations.items():
        np.testing.assert_array_equal(values, two.observations[name])
        assert not np.array_equal(values, other.observations[name])
    np.testing.assert_array_equal(one.noise["noise/latent"], two.noise["noise/latent"])


def test_the_environment_was_driven_by_the_recorded_actions(cartpole, agent):
    """Torch over the recorded inputs takes the very actions that led from each observation to the next."""
    rollout = record_rollout(agent, cartpole, 256, seed=5)
    spec = agent_spec(cartpole)
    made = run_torch(TickGraph(agent, spec), rollout, ParityThresholds())
    env = make_env("cartpole_balance", seed=0)
    observation, _ = env.reset(seed=5)
    field = spec.observations[0]
    for tick in range(int(np.flatnonzero(rollout.is_first[1:, 0])[0])):
        seen = rollout.observations[field.name][tick, 0].reshape(spec.history_length, -1)[-1]
        raw = (observation[field.name] - np.float32(field.offset)) * np.float32(field.scale)
        np.testing.assert_allclose(
            seen, raw if field.clip is None else np.clip(raw, -field.clip, field.clip), rtol=1e-6
        )
        action = made.outputs["action"][tick, 0]
        command = np.float32(spec.action.offset) + np.float32(spec.action.scale) * spec.action.clip * action
        observation, *_ = env.step(command.astype(np.float32))
    env.close()


@pytest.mark.parametrize("ticks", [0, 255, 65537])
def test_too_few_or_too_many_ticks_are_refused(cartpole, agent, ticks):
    with pytest.raises(UserError, match="256 to 65536"):
        record_rollout(agent, cartpole, ticks, seed=0)


def _first(rollout):
    never = rollout.is_first.copy()
    never[0] = 0
    return dataclasses.replace(rollout, is_first=never)


def _once(rollout):
    once = np.zeros_like(rollout.is_first)
    once[0] = 1
    return dataclasses.replace(rollout, is_first=once)


def _nan(rollout):
    values = {name: value.copy() for name, value in rollout.observations.items()}
    values["velocity"][9, 0, 1] = np.nan
    return dataclasses.replace(rollout, observations=values)


def _with_noise(name, change):
    return lambda r: dataclasses.replace(r, noise=dict(r.noise) | {name: change(r.noise[name])})


@pytest.mark.parametrize(
    ("change", "naming"),
    [
        (_first, "is_first"),
        (_once, "is_first"),
        (_nan, "velocity"),
        (lambda r: dataclasses.replace(r, observations={}), "observations"),
        (_with_noise("noise/latent", lambda values: values[:, :, :, :2]), "noise/latent is float32"),
        (lambda r: dataclasses.replace(r, noise={}), r"noise \[\], the agent has"),
        (_with_noise("noise/action", lambda values: values.astype(np.float64)), "noise/action is float64"),
        (lambda r: dataclasses.replace(r, is_first=r.is_first[:200]), "got 200"),
    ],
)
def test_a_rollout_that_does_not_fit_is_refused(proprio, change, naming):
    check_rollout(proprio.rollout, proprio.agent, proprio.spec)
    with pytest.raises(UserError, match=naming):
        check_rollout(change(proprio.rollout), proprio.agent, proprio.spec)


def test_an_agent_of_an_older_version_gets_the_roles_that_its_task_has_by_now(cartpole):
    spec = agent_spec(cartpole)
    older = spec.model_copy(
        update={"observations": tuple(f.model_copy(update={"role": None}) for f in spec.observations)}
    )
    assert older != spec
    assert require_task(cartpole, older, origin="x") == spec


def test_another_task_is_refused_by_field(cartpole, proprio):
    with pytest.raises(UserError, match=r"physics_rate_hz: 500\.0 != "):
        require_task(cartpole, proprio.spec, origin="x")
