"""Guideline 36's logic as a table, and its sequences on what a plant shows."""

import numpy as np
import pytest
from closed_form_plant import closed_form_env

from robot_wm_bench.cooling.rollout import run_episode
from robot_wm_bench.cooling.trim_respond import TrimRespond, TrimRespondConfig, trim_and_respond


@pytest.mark.parametrize(
    ("requests", "ignored", "wanted"),
    [(0, 0, 20.1), (1, 0, 19.9), (2, 2, 20.1), (3, 2, 19.9), (4, 0, 19.5), (9, 0, 19.5)],  # trim, respond, at most
)
def test_one_step_of_the_logic(requests, ignored, wanted):
    found = trim_and_respond(20.0, requests, ignored=ignored, trim=0.1, respond=-0.2, most=-0.6)
    assert found == pytest.approx(wanted)


def _seen(inlet_c=(24.0, 24.0), supply_c=(18.0, 18.0), valve=(0.3, 0.3)):
    fields = {"inlet_temperature": inlet_c, "supply_temperature": supply_c, "valve": valve}
    return {name: np.array(value, np.float32) for name, value in fields.items()}


def _after(steps, **seen):
    controller = TrimRespond()
    for _ in range(steps):
        found = controller.act(_seen(**seen))
    return found


def test_a_cool_plant_is_trimmed_to_its_warmest():
    config = TrimRespondConfig()
    supply_c, east, west, chilled_c = _after(300)
    assert supply_c == pytest.approx(config.supply_max_c)
    assert chilled_c == pytest.approx(config.chilled_max_c)
    assert east == west == config.flow_min


def test_a_hall_that_is_too_hot_gets_more_air_then_colder_air():
    controller = TrimRespond()
    warm = [controller.act(_seen())[0] for _ in range(50)][-1]
    hot = [controller.act(_seen(inlet_c=(30.0, 24.0))) for _ in range(10)]
    assert hot[0][1] > controller.config.flow_min
    assert hot[-1][1] > hot[0][1]
    assert hot[-1][2] == controller.config.flow_min  # the other hall is cool
    assert hot[-1][0] == pytest.approx(warm + 10 * (0.1 - 0.6))  # three requests at more than 3 K, at most 0.6 K


def test_one_request_stays_from_95_to_85_percent_of_a_valve():
    controller = TrimRespond()
    for _ in range(60):
        controller.act(_seen(supply_c=(24.5, 24.5)))

    def chilled(valve):
        return float(controller.act(_seen(supply_c=(24.5, 24.5), valve=(valve, 0.3)))[3])

    rest = chilled(0.9)  # never was above 95 %
    asked = chilled(0.96)
    assert asked - rest == pytest.approx(-0.01 * 10)  # 2 % trimmed, 3 % responded, of 10 K
    assert chilled(0.9) - asked == pytest.approx(-0.1)  # it still asks
    assert chilled(0.8) > asked - 0.1


def test_it_keeps_a_plant_inside_the_range():
    run = run_episode(closed_form_env(days=2), TrimRespond(), seed=1, settling_h=24.0)
    assert run.outside_h == 0.0
    assert run.warmest_c < 26.8
