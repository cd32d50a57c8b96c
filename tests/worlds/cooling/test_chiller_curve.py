"""The chiller's curve in data_hall.idf is the fraction of Carnot that the file says."""

import re
from importlib.resources import files

import numpy as np
import pytest


def _numbers(name):
    text = files("robot_wm_worlds.cooling").joinpath("data_hall.idf").read_text()
    (found,) = re.findall(rf"^Curve:Biquadratic, {name}, (.*);", text, re.MULTILINE)
    return np.array(found.split(","), float)


@pytest.mark.parametrize("chilled_c", [8.0, 12.0, 16.0, 22.0])
@pytest.mark.parametrize("condenser_c", [12.0, 20.0, 29.4, 34.0])
def test_cop_is_a_fraction_of_carnots(chilled_c, condenser_c):
    c = _numbers("Chiller EIR")
    x, y = chilled_c, condenser_c
    eir = c[0] + c[1] * x + c[2] * x**2 + c[3] * y + c[4] * y**2 + c[5] * x * y
    evaporator_k, condenser_k = x - 2.0 + 273.0, y + 7.0 + 273.0
    carnot = evaporator_k / (condenser_k - evaporator_k)
    assert 6.0 / eir == pytest.approx(0.56 * carnot, rel=0.02)


def test_no_lift_is_too_small_for_the_compressor():
    assert _numbers("Chiller EIR")[10] == 6.0 / 15.0  # least output of the curve: a COP of 15
