"""Terms of the velocity-tracking reward against numbers worked out by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_wm_sim import locomotion

forces = st.lists(st.floats(0, 500), min_size=8, max_size=8)


@pytest.mark.parametrize(
    ("errors", "reward"),
    [((0.0, 0.0), 1.0), ((0.5, 0.0), math.exp(-1)), ((0.3, -0.4), math.exp(-1)), ((1.0,), math.exp(-4))],
)
def test_tracking(errors, reward):
    assert locomotion.tracking(*errors) == pytest.approx(reward)


def test_squares_and_changes():
    assert locomotion.squares((3.0, -4.0, 12.0)) == pytest.approx(169)
    assert locomotion.squared_change((1.0, 2.0), (4.0, -2.0)) == pytest.approx(25)


@given(forces)
def test_collisions_counts_links_that_touch(found):
    assert locomotion.collisions(found) == sum(force > 0.1 for force in found)


def test_total_is_the_weighted_sum_times_the_period():
    terms = {
        "linear_velocity": 1.0,  # 1
        "yaw_rate": 1.0,  # 0.5
        "air_time": 0.2,  # 0.2
        "vertical_velocity": 0.04,  # -0.08
        "tilting_rate": 2.0,  # -0.1
        "torque": 500.0,  # -0.1
        "joint_acceleration": 4e5,  # -0.1
        "action_rate": 3.0,  # -0.03
        "collision": 1.0,  # -1
    }
    assert locomotion.total(terms, period_s=0.02) == pytest.approx(0.02 * 0.29)
    assert locomotion.total({**terms, "collision": 4.0}, period_s=0.02) < 0  # not clipped at zero
    assert set(terms) == set(locomotion.WEIGHTS)


def test_a_foot_earns_its_time_in_the_air_when_it_lands():
    feet = locomotion.FeetInTheAir(2)
    earned = [
        feet.step((9.0 if landed else 0.0, 9.0), period_s=0.1, moving=True) for landed in [1, 1] + [0] * 8 + [1, 1, 1]
    ]
    # A contact counts one step longer, so of 8 steps off the ground 7 are flown; it lands with the eighth.
    assert earned == pytest.approx([0.0] * 10 + [0.8 - 0.5, 0.0, 0.0])


def test_short_steps_cost_and_standing_still_earns_nothing():
    def hop(*, moving):
        feet = locomotion.FeetInTheAir(1)
        return sum(feet.step((force,), period_s=0.02, moving=moving) for force in (9, 9, 0, 0, 0, 9))

    assert hop(moving=True) == pytest.approx(3 * 0.02 - 0.5)
    assert hop(moving=False) == 0


def test_a_flickering_contact_is_no_landing():
    feet = locomotion.FeetInTheAir(1)
    assert [feet.step((force,), period_s=0.02, moving=True) for force in (9, 0, 9, 0, 9)] == [0.0] * 5
