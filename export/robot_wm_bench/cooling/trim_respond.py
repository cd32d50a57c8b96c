"""Trim and respond: the set-point resets of ASHRAE Guideline 36-2021, with a PI loop for each hall's air.

§5.1.14.4 gives the logic and its numbers. Each hall's loop of inlet temperature drives its air; a loop that runs out of
air asks for colder air (§5.16.2), a coil that runs out of water for colder water (§5.20.5), and whoever is not asked
trims. The guideline trims supply air every two minutes and the plant every five; both are five here, the plant's own
timestep.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot_wm_bench.cooling.controller import Observation


@dataclass(frozen=True)
class TrimRespondConfig:
    """What an engineer tunes. The increments are the guideline's.

    Target and warmest supply air are tuned on training weather, so that nobody beats a plant that is left too cold: of
    25.5/24.5, 26/25, 26.2/25.4 and 26.4/25.6 °C over four weeks of newark and tampa the warmest had no hour outside,
    too, and took the least.
    """

    inlet_target_c: float = 26.4  # of each hall's cooling loop
    supply_max_c: float = 25.6
    supply_min_c: float = 20.0
    chilled_max_c: float = 20.0
    chilled_min_c: float = 10.0
    flow_min: float = 0.8  # of what the servers draw
    flow_max: float = 1.2
    proportional: float = 0.02  # of the same, per K
    integral: float = 0.01  # of the same, per K and five minutes
    ignored: int = 0  # requests; the guideline suggests 2 of a building's dozens of zones, and there are two halls
    supply_trim_k: float = 0.1
    supply_respond_k: float = -0.2  # a request
    supply_respond_most_k: float = -0.6
    plant_trim: float = -0.02  # share of the plant's reset
    plant_respond: float = 0.03  # a request
    plant_respond_most: float = 0.07


def trim_and_respond(value: float, requests: int, *, ignored: int, trim: float, respond: float, most: float) -> float:
    """One step of the logic: trim, and for requests beyond the ignored ones respond, at most ``most``."""
    counted = max(0, requests - ignored)
    response = min(abs(respond) * counted, abs(most)) * np.sign(respond)
    return value + trim + response


class _Latch:
    """One request from where a signal passes 95 % until it falls below 85 %."""

    def __init__(self) -> None:
        self.is_on = False

    def update(self, signal: float) -> bool:
        self.is_on = signal > 0.95 or (self.is_on and signal >= 0.85)
        return self.is_on


class TrimRespond:
    """Supply air, both flows and chilled water by the guideline's sequences."""

    def __init__(self, config: TrimRespondConfig | None = None) -> None:
        self.config = config or TrimRespondConfig()
        self.reset()

    def reset(self) -> None:
        """Begin at the coldest of both resets, as the guideline does, with as much air as the servers draw."""
        self._supply_c = self.config.supply_min_c
        self._plant = 1.0  # 1: coldest water, 0: warmest
        self._integral = np.ones(2)  # of what the servers draw
        self._air, self._water = (_Latch(), _Latch()), (_Latch(), _Latch())

    def act(self, observation: Observation) -> NDArray[np.float64]:
        """[A] set-points."""
        config = self.config
        error = observation["inlet_temperature"].astype(np.float64) - config.inlet_target_c  # [2] K
        least, most = config.flow_min, config.flow_max
        self._integral = np.clip(self._integral + config.integral * error, least, most)
        ratio = np.clip(self._integral + config.proportional * error, least, most)
        loop = (ratio - least) / (most - least)
        colder_air = sum(map(self._air_requests, error.tolist(), loop.tolist(), self._air))
        self._supply_c = float(
            np.clip(
                trim_and_respond(
                    self._supply_c,
                    colder_air,
                    ignored=config.ignored,
                    trim=config.supply_trim_k,
                    respond=config.supply_respond_k,
                    most=config.supply_respond_most_k,
                ),
                config.supply_min_c,
                config.supply_max_c,
            )
        )
        above = observation["supply_temperature"].astype(np.float64) - self._supply_c
        valve = observation["valve"].tolist()
        colder_water = sum(map(self._water_requests, above.tolist(), valve, self._water))
        self._plant = float(
            np.clip(
                trim_and_respond(
                    self._plant,
                    colder_water,
                    ignored=config.ignored,
                    trim=config.plant_trim,
                    respond=config.plant_respond,
                    most=config.plant_respond_most,
                ),
                0.0,
                1.0,
            )
        )
        chilled_c = config.chilled_max_c - self._plant * (config.chilled_max_c - config.chilled_min_c)
        return np.array([self._supply_c, *ratio, chilled_c])

    @staticmethod
    def _air_requests(error_k: float, loop: float, latch: _Latch) -> int:
        one = latch.update(loop)
        return 3 if error_k > 3.0 else 2 if error_k > 2.0 else int(one)

    @staticmethod
    def _water_requests(above_k: float, valve: float, latch: _Latch) -> int:
        one = latch.update(valve)
        return 3 if above_k > 3.0 else 2 if above_k > 2.0 else int(one)
