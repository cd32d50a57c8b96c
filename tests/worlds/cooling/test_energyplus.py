"""The plant itself, in EnergyPlus: heat is conserved, fans and cold cost, winter is free."""

from __future__ import annotations

import numpy as np
import pytest

from robot_wm.errors import UserError
from robot_wm_worlds.cooling import engine as engine_module
from robot_wm_worlds.cooling.contract import HOME
from robot_wm_worlds.cooling.engine import Engine
from robot_wm_worlds.cooling.it_load import DESIGN_W
from robot_wm_worlds.cooling.plant import COIL_DESIGN_FLOW, SCHEDULES, inlet_temperature, it_flow, orders
from robot_wm_worlds.cooling.reward import MARGIN_K, outside_k
from robot_wm_worlds.cooling.task import datacenter_cooling

pytest.importorskip("pyenergyplus")

IT_W = np.array([100e3, 80e3])
JANUARY, APRIL, AUGUST = 14, 104, 212


@pytest.fixture(scope="module")
def settled():
    """Two hours' readings, [24, V], under set-points that never change, after four hours; each run once."""
    made: dict[tuple, np.ndarray] = {}

    def run(command, *, city="chicago", day=AUGUST, it_w=IT_W):
        key = (tuple(command), city, day, tuple(it_w))
        if key not in made:
            engine, readings = Engine(), []
            try:
                reading = engine.start(city, first_day=day, days=1, values=orders(np.array(command), it_w, 15.0))
                for _ in range(71):
                    wet_bulb_c = float(reading.outdoor_c[1])
                    reading = engine.advance(orders(np.array(command), it_w, wet_bulb_c))
                    readings.append(reading)
            finally:
                engine.close()
            made[key] = readings[-24:]
        return made[key]

    return run


USUAL = (23.0, 1.0, 1.0, 15.0)


def _mean(readings, name):
    return np.mean([getattr(reading, name) for reading in readings], axis=0)


@pytest.mark.parametrize(("city", "day"), [("miami", AUGUST), ("chicago", JANUARY), ("chicago", APRIL)])
def test_heat_is_conserved(settled, city, day):
    """Servers' and fans' heat is what coils take but for what leaves by the walls; chiller and economiser take that.

    Walls and roofs are 800 m² of 0.32 W/(m²·K), of which the sun warms some. Where chiller and economiser share the
    heat, as in April, EnergyPlus finds up to 8 % more than there is.
    """
    readings = settled(USUAL, city=city, day=day)
    coils = _mean(readings, "coil_heat_w").sum()
    fans = _mean(readings, "power_w")[0]
    lost = 800 * 0.32 * (_mean(readings, "hall_c").mean() - _mean(readings, "outdoor_c")[0])
    assert coils == pytest.approx(IT_W.sum() + fans - lost, rel=0.03)
    plant = _mean(readings, "chiller_heat_w") + _mean(readings, "economiser_heat_w")
    error = 0.03 if min(_mean(readings, "chiller_heat_w"), _mean(readings, "economiser_heat_w")) == 0.0 else 0.085
    assert plant == pytest.approx(coils + _mean(readings, "power_w")[1], rel=error)


def test_set_points_are_held(settled):
    readings = settled(USUAL)
    assert _mean(readings, "supply_c") == pytest.approx([23.0, 23.0], abs=0.1)
    assert _mean(readings, "chilled_water_c") == pytest.approx(15.0, abs=0.3)
    assert _mean(readings, "supply_flow") == pytest.approx(IT_W / (1.2 * 1006 * 12), rel=0.03)  # of thinner air


@pytest.mark.parametrize(("city", "day"), [("miami", AUGUST), ("phoenix", AUGUST), ("chicago", JANUARY)])
def test_any_weather_bears_the_set_points_of_a_zero_action_with_all_servers_busy(settled, city, day):
    """Not even the margin before the ends of the recommended range of inlet air is touched."""
    busy = np.full(2, DESIGN_W)
    for reading in settled(HOME, city=city, day=day, it_w=busy):
        inlet_c = inlet_temperature(reading.supply_c, reading.hall_c, reading.supply_flow, busy)
        assert not outside_k(inlet_c, MARGIN_K).any()


def test_more_air_takes_more_power_than_in_proportion_and_cools_the_hall(settled):
    less, more = settled(USUAL), settled((23.0, 1.3, 1.3, 15.0))
    assert _mean(more, "power_w")[0] > 1.6 * _mean(less, "power_w")[0]
    assert (_mean(more, "hall_c") < _mean(less, "hall_c") - 1.0).all()


def test_coils_are_dry_in_a_humid_summer():
    """Where water is below the dew point the coil of EnergyPlus asks for twice as much, which then warms by half."""
    engine = Engine()
    try:
        reading = engine.start(
            "miami", first_day=AUGUST, days=1, values=orders(np.array([22.0, 1.1, 1.1, 14.5]), IT_W, 24.0)
        )
        for _ in range(18):
            wet_bulb_c = float(reading.outdoor_c[1])
            reading = engine.advance(orders(np.array([25.0, 1.05, 1.05, 18.5]), IT_W, wet_bulb_c))
    finally:
        engine.close()
    assert (reading.coil_heat_w / (reading.valve * COIL_DESIGN_FLOW * 4186.0) > 5.0).all()  # K


def test_colder_water_costs_the_chiller(settled):
    assert _mean(settled((23.0, 1.0, 1.0, 10.0)), "power_w")[3] > 1.1 * _mean(settled(USUAL), "power_w")[3]


def test_more_load_takes_more_power(settled):
    assert _mean(settled(USUAL, it_w=IT_W * 1.3), "hvac_w") > 1.15 * _mean(settled(USUAL), "hvac_w")


def test_winter_is_free_and_summer_is_not(settled):
    winter, summer = settled(USUAL, day=JANUARY), settled(USUAL, city="miami")
    assert _mean(winter, "chiller_heat_w") == 0.0
    assert _mean(winter, "power_w")[3] == 0.0
    assert _mean(winter, "economiser_heat_w") > 0.9 * IT_W.sum()
    assert _mean(summer, "economiser_heat_w") == 0.0
    assert _mean(winter, "hvac_w") < 0.5 * _mean(summer, "hvac_w")


def test_thin_air_of_the_mountains_is_moved_in_proportion():
    """Denver, at 1,600 m: what fans move is still what the servers draw."""
    env = datacenter_cooling(days=1, weather="denver")
    try:
        env.reset(seed=0)
        for _ in range(12):
            env.step(np.array(USUAL, np.float32))
        assert env._reading.supply_flow == pytest.approx(it_flow(env._it_w), rel=0.01)
        assert env._air_density < 1.05
    finally:
        env.close()


def test_a_seed_is_an_episode_to_the_bit():
    def play():
        env = datacenter_cooling(days=1)
        try:
            env.reset(seed=7)
            return [env.step(np.array(USUAL, np.float32))[:2] for _ in range(60)]
        finally:
            env.close()

    for (one, paid), (same, paid_again) in zip(play(), play(), strict=True):
        assert paid == paid_again
        assert all(np.array_equal(one[name], same[name]) for name in one)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        # EnergyPlus itself finds the one, and dies of it; what was to be commanded is missing in the other.
        ("Schedule:Constant, West IT,", "! ", r"^EnergyPlus: its process ended with .*: .*WEST SERVERS"),
        ("West IT", "West Load", r"^EnergyPlus: LookupError: 'data_hall.idf has no West IT'|no West IT"),
    ],
)
def test_a_broken_model_is_told_in_a_line(monkeypatch, old, new, line):
    text = engine_module.model_text
    monkeypatch.setattr(engine_module, "model_text", lambda *when: text(*when).replace(old, new))
    with pytest.raises(UserError, match=line):
        Engine().start("chicago", first_day=0, days=1, values=np.zeros(len(SCHEDULES)))
