"""Terms of the velocity-tracking reward against numbers worked out by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_wm_sim import locomotion

SPEEDS = st.floats(-3, 3)
NOTHING = dict.fromkeys(locomotion.WEIGHTS, 0.0)


@pytest.mark.parametrize(
    ("error", "wanted", "earned"),
    [
        (0.0, 1.0, 1.0),
        (1.0, 1.0, 1 - 1 / 1.3),  # stands still
        (0.5, 1.0, 1 - 0.5 / 1.3),  # at half the speed, too slow or too fast
        (-0.5, 1.0, 1 - 0.5 / 1.3),
        (1.3, 1.0, 0.0),
        (4.0, 1.0, 0.0),
        (0.39, 0.0, 0.0),  # slow commands are judged like one of 0.3
        (0.13, 0.1, 1 - 1 / 3),
        (-0.13, -0.1, 1 - 1 / 3),
    ],
)
def test_tracking(error, wanted, earned):
    assert locomotion.tracking(error, wanted, least=0.3) == pytest.approx(earned)


@given(SPEEDS, st.floats(0, 1), st.floats(0, 1))
def test_tracking_earns_more_the_nearer_it_comes_whatever_the_command(wanted, less, more):
    near, far = sorted((less, more))
    reached = [locomotion.tracking(wanted * share, wanted, least=0.3) for share in (near, far)]
    assert 0.0 <= reached[1] <= reached[0] <= 1.0
    if far - near > 1e-3 and abs(wanted) > 1e-3:
        assert reached[0] > reached[1]  # no plateau between standing still and the command


def test_an_average_forgets_after_its_time():
    value, wobble, kept = 0.0, 0.0, locomotion.kept(0.02)
    for step in range(400):
        value = locomotion.averaged(value, 1.0, kept=kept)
        wobble = locomotion.averaged(wobble, math.sin(2 * math.pi * 3 * step * 0.02), kept=kept)
        if step == 9:  # 0.2 s
            assert value == pytest.approx(1 - math.exp(-1))
    assert value == pytest.approx(1.0)
    assert abs(wobble) < 0.3  # of an amplitude of 1 at 3 Hz


def test_the_reward_is_the_product_of_what_is_reached_and_what_it_costs():
    assert locomotion.reward(1.0, 1.0, 0.0, NOTHING) == pytest.approx(1.4)
    assert locomotion.reward(1.0, 1.0, 1.0, NOTHING) == pytest.approx(1.7)
    assert locomotion.reward(0.5, 0.25, 0.5, NOTHING) == pytest.approx(0.5 * 1.15 + 0.1)
    assert locomotion.reward(0.0, 0.0, 1.0, NOTHING) == 0.0  # lifting feet earns nothing by itself
    costs = {
        "vertical_velocity": 0.04,  # -0.08
        "tilting_rate": 2.0,  # -0.1
        "torque": 500.0,  # -0.1
        "joint_acceleration": 4e5,  # -0.1
        "action_rate": 3.0,  # -0.03
        "collision": 1.0,  # -1
        "restlessness": 5.0,  # -0.1
    }
    assert set(costs) == set(locomotion.WEIGHTS)
    assert locomotion.reward(1.0, 1.0, 0.0, costs) == pytest.approx(1.4 * math.exp(-0.5 * 1.51))


@given(
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 1),
    st.fixed_dictionaries({name: st.floats(0, 1e7) for name in locomotion.WEIGHTS}),
)
def test_living_never_costs(linear, turning, lift, costs):
    # The trap of a sum: a beginner's actions cost more than it earns, so that ending the episode at once pays.
    assert 0.0 <= locomotion.reward(linear, turning, lift, costs) <= 1.7


def test_squares_and_changes():
    assert locomotion.squares((3.0, -4.0, 12.0)) == pytest.approx(169)
    assert locomotion.squared_change((1.0, 2.0), (4.0, -2.0)) == pytest.approx(25)


@given(st.lists(st.floats(0, 500), min_size=8, max_size=8))
def test_collisions_counts_links_that_touch(found):
    assert locomotion.collisions(found) == sum(force > 0.1 for force in found)


@pytest.mark.parametrize(
    ("heights", "speeds", "lifted"),
    [
        ((0.0, 0.0), (0.0, 0.0), 0.0),  # at rest
        ((0.06, 0.06), (0.0, 0.0), 0.0),  # held up: no way is made
        ((0.0, 0.0), (1.0, 1.0), 0.0),  # sliding
        ((0.06, 0.0), (0.8, 0.0), 0.8),  # one swings high enough
        ((0.5, 0.0), (0.8, 0.0), 0.8),  # higher earns no more
        ((0.03, 0.0), (0.8, 0.0), 0.4),
        ((0.06, 0.0), (0.4, 0.4), 0.4),  # while the other slides
        ((-0.01, 0.0), (1.0, 1.0), 0.0),  # a sole that is pressed into the ground
    ],
)
def test_lift(heights, speeds, lifted):
    assert locomotion.lift(heights, speeds, clearance_m=0.06) == pytest.approx(lifted)
