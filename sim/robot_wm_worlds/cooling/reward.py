"""What a control step pays: less energy, and servers' air inside ASHRAE's recommended range."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Recommended dry-bulb range of servers' inlet air, ASHRAE TC 9.9, Thermal Guidelines for Data Processing Environments.
RECOMMENDED_C = (18.0, 27.0)
MARGIN_K = 0.5  # before its ends, where the price of leaving it begins
PRICE_PER_K = 2.0  # of each kelvin beyond that, reward units a control step
UNIT_W = 10e3  # cooling power that costs one reward unit a control step


def outside_k(inlet_c: NDArray[np.float64], margin_k: float = 0.0) -> NDArray[np.float64]:
    """How far each hall's inlet air [..., 2] °C is outside the range narrowed by a margin, [..., 2] K; 0 inside."""
    low, high = RECOMMENDED_C
    return np.maximum(0.0, np.maximum(low + margin_k - inlet_c, inlet_c - high + margin_k))


def usual_w(it_w: NDArray[np.float64], wet_bulb_c: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cooling power that trim and respond takes for servers of [...] W in air of that wet-bulb temperature, [...] W.

    Least squares over 28 runs of three days, drawn from the training cities and the year: R² 0.90, 2.7 kW off (root
    mean square) where the power itself varies by 8.7 kW. Water from the tower alone cools below some 12 °C, the
    chiller alone above 16 °C.
    """
    partly, wholly = np.maximum(0.0, wet_bulb_c - 12.0), np.maximum(0.0, wet_bulb_c - 16.0)
    return -18.75e3 + 0.1421 * it_w + 164.0 * wet_bulb_c + 3513.0 * partly - 2882.0 * wholly


def reward(
    hvac_w: NDArray[np.float64],
    inlet_c: NDArray[np.float64],
    it_w: NDArray[np.float64],
    wet_bulb_c: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Of cooling power, servers' power [...] W, inlet air [..., 2] °C and outdoor wet bulb [...] °C: [...].

    Cooling power counts from what is usual in that weather under that load. No command changes either, so the best
    policy is that of the plain power; a critic need not tell July from April before it can tell two commands apart.
    """
    extra_w = hvac_w - usual_w(it_w, wet_bulb_c)
    return -extra_w / UNIT_W - PRICE_PER_K * outside_k(inlet_c, MARGIN_K).sum(-1)
