"""What servers draw, and what a step pays: closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_wm_worlds.cooling.plant import DESIGN_FLOW, LEAKAGE, inlet_temperature, it_flow, orders
from robot_wm_worlds.cooling.reward import MARGIN_K, PRICE_PER_K, UNIT_W, outside_k, reward

IT_W = np.array([100e3, 60e3])


def test_servers_draw_what_warms_by_their_rise():
    assert it_flow(np.array([1.2 * 1006.0 * 12.0])) == pytest.approx([1.0])


def _inlet(share):
    return inlet_temperature(np.full(2, 20.0), np.full(2, 30.0), share * it_flow(IT_W), IT_W)


@pytest.mark.parametrize(
    ("share", "above"), [(1.5, LEAKAGE), (1.0, LEAKAGE), (0.5, LEAKAGE + (1 - LEAKAGE) / 2), (0, 1)]
)
def test_air_that_lacks_is_the_halls(share, above):
    assert _inlet(share) == pytest.approx(np.full(2, 20.0 + 10.0 * above))


@given(st.floats(0.1, 2.0), st.floats(0.1, 2.0))
def test_more_air_is_never_warmer(one, other):
    less, more = sorted((one, other))
    assert (_inlet(more) <= _inlet(less) + 1e-9).all()


@pytest.mark.parametrize(
    ("wet_bulb_c", "chilled_c", "wanted_c"),
    [(20, 12, 23), (0, 16, 13), (0, 8, 6), (31, 12, 32)],  # warm; cold: for the economiser; the least; the most
)
def test_condenser_water_follows_the_wet_bulb_unless_the_economiser_carries_all(wet_bulb_c, chilled_c, wanted_c):
    assert orders(np.array([22.0, 1.0, 1.0, chilled_c]), IT_W, wet_bulb_c)[5] == wanted_c


def test_a_fan_gives_what_is_asked_as_far_as_it_goes():
    flows = orders(np.array([22.0, 1.0, 1.0, 12.0]), IT_W, 10.0)[1:3] * DESIGN_FLOW
    assert flows == pytest.approx(it_flow(IT_W))
    assert orders(np.array([22.0, 1.5, 1.5, 12.0]), np.full(2, 150e3), 10.0)[1] == 1.0
    thin = orders(np.array([22.0, 1.0, 1.0, 12.0]), IT_W, 10.0, 1.0)[1:3] * DESIGN_FLOW
    assert thin == pytest.approx(1.2 * it_flow(IT_W))  # more of it, by volume


@pytest.mark.parametrize(("inlet_c", "outside"), [(17.5, 0.5), (18.0, 0), (27.0, 0), (29.0, 2.0)])
def test_outside_is_counted_from_the_ends(inlet_c, outside):
    assert outside_k(np.array([inlet_c])) == pytest.approx([outside])


def test_reward_is_energy_and_the_price_of_heat():
    cool, hot = np.array([22.0, 22.0]), np.array([22.0, 28.0])
    assert reward(np.array(UNIT_W), cool) == pytest.approx(-1.0)
    assert reward(np.array(0.0), hot) == pytest.approx(-PRICE_PER_K * (1.0 + MARGIN_K))


def test_a_kelvin_too_hot_costs_more_than_any_saving():
    """All of the cooling that a plant of 300 kW of servers is likely to need, against one kelvin in one hall."""
    saving = reward(np.array(0.0), np.array([27.5, 20.0])) - reward(np.array(50e3), np.array([26.5, 20.0]))
    assert saving < 0
