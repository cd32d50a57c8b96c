"""A plant in closed form, in place of EnergyPlus: halls that are always settled, a chiller of one COP."""

from __future__ import annotations

import numpy as np

from robot_wm_worlds.cooling.env import DataCenterCooling
from robot_wm_worlds.cooling.plant import (
    AIR_DENSITY,
    AIR_HEAT_CAPACITY,
    COIL_DESIGN_FLOW,
    DESIGN_FLOW,
    VARIABLES,
    Reading,
)

COP, FAN_W, PUMP_W = 5.0, 12e3, 4e3  # the fan's and the pump's at design flow
WET_BULB_C = 12.0


class ClosedFormEngine:
    """`Engine` by formula; it keeps what it was told, [T][8]."""

    def __init__(self) -> None:
        self.told: list[np.ndarray] = []
        self.started: list[tuple[str, int, int]] = []

    def start(self, city: str, *, first_day: int, days: int, values: np.ndarray) -> Reading:
        self.started.append((city, first_day, days))
        self.told.clear()
        return self.advance(values)

    def advance(self, values: np.ndarray) -> Reading:
        self.told.append(np.array(values))
        supply_c, east, west, chilled_c, _, _, *it = values
        flow = np.array([east, west]) * DESIGN_FLOW  # m³/s
        it_w = np.array(it)
        hall_c = supply_c + it_w / (AIR_DENSITY * AIR_HEAT_CAPACITY * flow)
        water = np.clip(it_w / (4186.0 * np.maximum(hall_c - chilled_c, 1.0)), 0.0, COIL_DESIGN_FLOW)
        fans = FAN_W * (flow / DESIGN_FLOW) ** 3
        pump = PUMP_W * (water.sum() / (2 * COIL_DESIGN_FLOW)) ** 3
        named = {
            "Site Outdoor Air Drybulb Temperature": [18.0],
            "Site Outdoor Air Wetbulb Temperature": [WET_BULB_C],
            "Zone Mean Air Temperature": hall_c,
            "Cooling Coil Total Cooling Rate": it_w,
            "Fan Electricity Rate": fans,
            "Pump Electricity Rate": [pump, 1000.0],
            "Chiller Electricity Rate": [it_w.sum() / COP],
            "Cooling Tower Fan Electricity Rate": [500.0],
            "Chiller Evaporator Cooling Rate": [it_w.sum()],
            "Fluid Heat Exchanger Heat Transfer Rate": [0.0],
        }
        nodes = {
            "East Supply": (supply_c, flow[0] * AIR_DENSITY),
            "West Supply": (supply_c, flow[1] * AIR_DENSITY),
            "East Coil Water Inlet": (chilled_c, water[0]),
            "West Coil Water Inlet": (chilled_c, water[1]),
            "CHW Supply Outlet": (chilled_c, water.sum()),
        }
        values_of = {name: iter(one) for name, one in named.items()}
        return Reading(
            np.array([nodes[key]["Mass" in name] if key in nodes else next(values_of[name]) for name, key in VARIABLES])
        )

    def close(self) -> None:
        pass


def closed_form_env(**options) -> DataCenterCooling:
    """The task over that plant."""
    given = {"cities": ("chicago", "miami"), "days": 1, "first_day": None, "control_minutes": 5, "seed": 0}
    return DataCenterCooling(**{**given, **options}, engine=ClosedFormEngine())  # type: ignore[arg-type]
