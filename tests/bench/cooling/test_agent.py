"""An exported agent in the plant, by the controller, filter and monitor that run it on a gateway."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from closed_form_plant import closed_form_env

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.dreamer.config import DreamerConfig
from robot_wm.errors import UserError
from robot_wm.evaluation.playing import play
from robot_wm.runtime.faults import Fault
from robot_wm.runtime.limits import command_limits
from robot_wm_bench.agent import random_rollout
from robot_wm_bench.cooling.agent import PLANT_SAFETY, bundled
from robot_wm_bench.cooling.rollout import run_episode
from robot_wm_export.export import export_agent
from robot_wm_worlds.cooling.contract import HOME, RAMPS, RANGES, REACHES, agent_spec

SPEC = agent_spec(5)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """Of an untrained agent whose actor asks for more than a ramp lets through."""
    settings = {"size": "nano", "deter": 32, "units": 16, "stoch": 4, "actor_scale": 4.0}
    config = DreamerConfig.model_validate(settings)
    generator = torch.Generator().manual_seed(0)
    agent = DreamerAgent(config, SPEC.model_inputs(), SPEC.action_dim, False, generator=generator).eval()
    path = tmp_path_factory.mktemp("cooling") / "agent.rwm"
    export_agent(agent, SPEC, random_rollout(agent, SPEC), {"task": SPEC.task}, path)
    return path


@contextmanager
def _watched(bundle, safety=PLANT_SAFETY):
    """The agent, and what its controller decided at each step: command, asked for, surprise, faults."""
    ticks = []
    with bundled(bundle, SPEC, safety) as agent:
        step = agent._controller.step

        def keep(*given, **named):
            command = step(*given, **named)
            ticks.append((command.command.copy(), command.raw_action.copy(), command.surprise, command.faults))
            return command

        agent._controller.step = keep
        yield agent, ticks


def _wanted(asked):
    """Set-points [..., A] of what the policy asked for [..., A]."""
    return np.array(HOME) + np.clip(asked, -1.0, 1.0) * np.array(REACHES)


def test_a_day_goes_through_the_filter_of_rates_and_ranges(bundle):
    told = []
    with _watched(bundle) as (agent, ticks):
        run = run_episode(
            closed_form_env(), agent, seed=0, on_step=lambda one, action, other: told.append(other["set_points"].copy())
        )
    commands, asked, surprise, faults = (np.array(column) for column in zip(*ticks, strict=True))
    assert run.steps == len(told) == 287
    np.testing.assert_array_equal(commands, told)  # the filter left nothing for the plant to cut
    low, high = np.array(RANGES).T
    assert (commands >= low - 1e-5).all()
    assert (commands <= high + 1e-5).all()
    assert (np.abs(np.diff(commands, axis=0)) <= np.array(RAMPS) + 1e-4).all()
    before = np.vstack([HOME, commands[:-1]])
    assert (np.abs(_wanted(asked) - before) > np.array(RAMPS) + 0.01).any()  # it asked for more
    assert np.isfinite(surprise[1:]).all()
    assert surprise[1:].std() > 0.0
    assert not faults.any()


def test_set_points_stay_while_a_sensor_is_dead_and_move_on_when_it_lives(bundle):
    env = closed_form_env()
    observation, _ = env.reset(seed=0)
    with _watched(bundle) as (agent, ticks):
        agent.reset()
        for _ in range(10):
            before = agent.act(observation)
            observation, *_ = env.step(before.astype(np.float32))
        dead = dict(observation, inlet_temperature=np.array([25.0, np.nan], np.float32))
        held = [agent.act(dead) for _ in range(5)]
        assert all(tick[3] & Fault.NOT_FINITE for tick in ticks[-5:])
        np.testing.assert_allclose(held, np.tile(before, (5, 1)), atol=1e-5)
        for _ in range(PLANT_SAFETY.recover_ticks + 12):
            alive = agent.act(observation)
    assert not ticks[-1][3]
    np.testing.assert_allclose(alive, _wanted(ticks[-1][1]), atol=1e-3)


def test_a_surprised_model_leaves_the_set_points_where_they_are(bundle):
    safety = replace(PLANT_SAFETY, surprise_limit=1e-9, surprise_ticks=3)
    env = closed_form_env()
    observation, _ = env.reset(seed=0)
    with _watched(bundle, safety) as (agent, ticks):
        agent.reset()
        commands = []
        for _ in range(8):
            commands.append(agent.act(observation))
            observation, *_ = env.step(commands[-1].astype(np.float32))
    assert [bool(tick[3] & Fault.SURPRISE) for tick in ticks] == [False] * 3 + [True] * 5
    np.testing.assert_allclose(commands[3:], np.tile(commands[2], (5, 1)), atol=1e-5)


def test_the_ramps_are_the_contracts():
    np.testing.assert_allclose(command_limits(SPEC).step, RAMPS, rtol=1e-5)


def test_a_bundle_of_another_period_is_refused(bundle):
    with pytest.raises(UserError, match="control_rate_hz"), bundled(bundle, agent_spec(15)):
        pass


def test_eval_drives_it_in_energyplus(bundle):
    pytest.importorskip("pyenergyplus")
    result = play(bundle, episodes=1, seed=3, longest=20, option={"days": "1", "weather": "miami"}).result
    assert result.episodes[0].ticks == 20
    assert result.episodes[0].figures["pue"] > 1.0
    assert result.modes == {"active": 20}
    assert result.faults == {}
