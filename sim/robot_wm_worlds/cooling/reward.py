"""What a control step pays: less energy, and servers' air inside ASHRAE's recommended range."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Recommended dry-bulb range of servers' inlet air, ASHRAE TC 9.9, Thermal Guidelines for Data Processing Environments.
RECOMMENDED_C = (18.0, 27.0)
MARGIN_K = 0.5  # before its ends, where the price of leaving it begins
PRICE_PER_K = 2.0  # of each kelvin beyond that, reward units a control step
UNIT_W = 30e3  # cooling power that costs one reward unit a control step


def outside_k(inlet_c: NDArray[np.float64], margin_k: float = 0.0) -> NDArray[np.float64]:
    """How far each hall's inlet air [..., 2] °C is outside the range narrowed by a margin, [..., 2] K; 0 inside."""
    low, high = RECOMMENDED_C
    return np.maximum(0.0, np.maximum(low + margin_k - inlet_c, inlet_c - high + margin_k))


def reward(hvac_w: NDArray[np.float64], inlet_c: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of cooling power [...] W and inlet air [..., 2] °C: [...], never positive."""
    return -hvac_w / UNIT_W - PRICE_PER_K * outside_k(inlet_c, MARGIN_K).sum(-1)
