"""Random actions: uniform at every step whatever their correlation, and held as long as they are told."""

import math

import pytest
import torch

from robot_wm.tasks import agent_spec, make_env
from robot_wm.training.random_actions import RandomActions

PERIOD_S = 0.02
LIKE = torch.zeros(4000, 3)


def drawn(steps, **told):
    actions = RandomActions(control_period_s=PERIOD_S, **told)
    generator = torch.Generator().manual_seed(0)
    return torch.stack([actions.draw(LIKE, generator) for _ in range(steps)])  # [steps, N, A]


def normal(actions, span=1.0):
    """The standard normal values behind uniform ones."""
    return torch.special.ndtri((actions.double() / span + 1) / 2)


@pytest.mark.parametrize("correlation_s", [0.0, 0.3, 100.0])
@pytest.mark.parametrize("span", [1.0, 0.5])
def test_every_step_is_uniform_over_the_span(correlation_s, span):
    actions = drawn(40, correlation_s=correlation_s, span=span)
    assert actions.abs().max() <= span
    for step in (0, 1, 39):
        for level in (-0.8, -0.3, 0.0, 0.6):
            assert (actions[step] < level * span).float().mean() == pytest.approx((level + 1) / 2, abs=0.02)


@pytest.mark.parametrize("correlation_s", [0.05, 0.3, 1.0])
def test_the_correlation_falls_to_1_over_e_in_its_time(correlation_s):
    steps = math.ceil(correlation_s / PERIOD_S)
    levels = normal(drawn(steps + 1, correlation_s=correlation_s))
    expected = math.exp(-steps * PERIOD_S / correlation_s)
    assert (levels[0] * levels[steps]).mean() == pytest.approx(expected, abs=0.03)


def test_white_actions_know_nothing_of_the_last_ones():
    levels = normal(drawn(2).clamp(-0.999, 0.999))
    assert abs((levels[0] * levels[1]).mean()) < 0.03


def test_a_run_s_random_actions_are_those_of_its_settings_at_its_task_s_rate(tiny):
    env = make_env("cartpole_balance")
    spec = agent_spec(env)
    env.close()
    config = tiny(prefill_correlation_s=0.4, prefill_span=0.5)
    told = RandomActions.told(config, spec)
    same = RandomActions(correlation_s=0.4, span=0.5, control_period_s=spec.control_period_s)
    first, second = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    for _ in range(3):
        torch.testing.assert_close(told.draw(LIKE, first), same.draw(LIKE, second), rtol=0, atol=0)
