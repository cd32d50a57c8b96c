"""λ-returns against hand-worked tables and against their definition."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robot_wm.nn.returns import lambda_return


def test_hand_table():
    # Steps 0..3, discount inside live, λ = 0.5. Backwards:
    #   t=2: 4 + 0.9 * (0.5 * 30 + 0.5 * 30)                 = 31
    #   t=1: 3 + 0.8 * (0.5 * 20 + 0.5 * 31)                 = 23.4
    #   t=0: 2 + 0.5 * (0.5 * 10 + 0.5 * 23.4)               = 10.35
    reward = torch.tensor([1.0, 2.0, 3.0, 4.0])
    live = torch.tensor([7.0, 0.5, 0.8, 0.9])  # the first reward and flag belong to the step before: unused
    boot = torch.tensor([99.0, 10.0, 20.0, 30.0])
    torch.testing.assert_close(lambda_return(reward, live, None, boot, mix=0.5), torch.tensor([10.35, 23.4, 31.0]))


def test_terminal_step_stops_and_cut_step_bootstraps():
    reward, boot = torch.ones(4, 2), torch.full((4, 2), 100.0)
    live = torch.ones(4, 2)
    live[2, 0] = 0.0  # column 0: terminal at step 2
    last = torch.zeros(4, 2)
    last[2] = 1.0  # both end at step 2; column 1 is only cut
    out = lambda_return(reward, live, last, boot, mix=1.0)
    assert out[1].tolist() == [1.0, 101.0]
    assert out[0].tolist() == [2.0, 102.0]


@pytest.mark.parametrize(("mix", "expected"), [(0.0, [1 + 0.9 * 10, 1 + 0.9 * 10]), (1.0, [1 + 0.9 * 10, 10.0])])
def test_extremes_are_one_step_and_monte_carlo(mix, expected):
    reward, live, boot = torch.ones(3), torch.full((3,), 0.9), torch.full((3,), 10.0)
    torch.testing.assert_close(lambda_return(reward, live, None, boot, mix=mix), torch.tensor(expected))


@given(st.integers(2, 40), st.sampled_from([0.0, 0.95, 1.0]), st.booleans())
def test_any_length_is_the_recursion(steps, mix, cut):
    rng = torch.Generator().manual_seed(steps)
    reward, boot = torch.randn(steps, 3, generator=rng), torch.randn(steps, 3, generator=rng)
    live = torch.rand(steps, 3, generator=rng)
    last = (torch.rand(steps, 3, generator=rng) < 0.2).float() if cut else None
    value, wanted = boot[-1], []
    for t in reversed(range(1, steps)):
        mixed = mix * (1.0 - last[t]) if last is not None else mix
        value = reward[t] + live[t] * ((1.0 - mixed) * boot[t] + mixed * value)
        wanted.append(value)
    torch.testing.assert_close(lambda_return(reward, live, last, boot, mix=mix), torch.stack(wanted[::-1]))
