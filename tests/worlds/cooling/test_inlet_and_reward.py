"""What servers draw, and what a step pays: closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_wm_worlds.cooling.plant import DESIGN_FLOW, LEAKAGE, inlet_temperature, it_flow, orders
from robot_wm_worlds.cooling.reward import MARGIN_K, PRICE_PER_K, UNIT_W, outside_k, reward, usual_w

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


# Servers of 200 kW: -18.75 + 28.42 + 0.164 * wet bulb kW, and what the chiller adds above 12 °C.
@pytest.mark.parametrize(("wet_bulb_c", "usual_kw"), [(-5, 8.85), (12, 11.638), (16, 26.346), (20, 29.526)])
def test_what_is_usual_grows_with_the_chiller_s_share(wet_bulb_c, usual_kw):
    assert usual_w(np.array(200e3), np.array(float(wet_bulb_c))) == pytest.approx(1e3 * usual_kw)


def paid(hvac_w, inlet_c, it_w=200e3, wet_bulb_c=10.0):
    return float(reward(np.array(hvac_w), np.array(inlet_c), np.array(it_w), np.array(wet_bulb_c)))


def test_reward_is_what_is_spared_and_the_price_of_heat():
    usual = float(usual_w(np.array(200e3), np.array(10.0)))
    assert paid(usual, [22.0, 22.0]) == pytest.approx(0.0)
    assert paid(usual + UNIT_W, [22.0, 22.0]) == pytest.approx(-1.0)
    assert paid(usual, [22.0, 28.0]) == pytest.approx(-PRICE_PER_K * (1.0 + MARGIN_K))


@given(st.floats(0, 60e3), st.floats(0, 60e3), st.floats(100e3, 300e3), st.floats(-20, 30))
def test_weather_and_load_change_no_choice_between_two_commands(one, other, it_w, wet_bulb_c):
    """Two powers in one hour differ by as much reward whatever the hour is."""
    air = [25.0, 25.0]
    assert paid(one, air, it_w, wet_bulb_c) - paid(other, air, it_w, wet_bulb_c) == pytest.approx(
        (other - one) / UNIT_W, abs=1e-9
    )


def test_a_kelvin_too_hot_costs_more_than_any_saving():
    """A third of the cooling that a plant of 300 kW of servers needs at most, against one kelvin in one hall."""
    assert paid(33e3, [27.5, 20.0]) < paid(50e3, [26.5, 20.0])
