"""What is commanded of the plant and read from it, by the names in data_hall.idf, and its own fixed sequence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HALLS = ("east", "west")
TIMESTEP_MIN = 5  # of EnergyPlus, minutes
AIR_DENSITY = 1.2  # kg/m³, at which flows are told; at 1,600 m it is a fifth less
AIR_HEAT_CAPACITY = 1006.0  # J/(kg·K)
DESIGN_FLOW, LEAST_FLOW = 13.0, 3.0  # m³/s of each hall's air handler
IT_RISE_K = 12.0  # by which servers warm the air that they draw, whatever they do
LEAKAGE = 0.06  # share of a server's air that has gone round once, however much air is supplied

# Schedules of data_hall.idf that are written before every timestep of EnergyPlus, in the order of `Orders.values`.
SCHEDULES = (
    "Supply Air",
    "East Fan",
    "West Fan",
    "Chilled Water",
    "Economiser Water",
    "Condenser Water",
    "East IT",
    "West IT",
)
# EnergyPlus's output variables with their keys, in the order of a reading.
VARIABLES = (
    ("Site Outdoor Air Drybulb Temperature", "Environment"),  # °C
    ("Site Outdoor Air Wetbulb Temperature", "Environment"),  # °C
    ("Zone Mean Air Temperature", "East Hall"),  # °C
    ("Zone Mean Air Temperature", "West Hall"),
    ("System Node Temperature", "East Supply"),  # °C
    ("System Node Temperature", "West Supply"),
    ("System Node Mass Flow Rate", "East Supply"),  # kg/s
    ("System Node Mass Flow Rate", "West Supply"),
    ("System Node Mass Flow Rate", "East Coil Water Inlet"),  # kg/s
    ("System Node Mass Flow Rate", "West Coil Water Inlet"),
    ("System Node Temperature", "CHW Supply Outlet"),  # °C
    ("Fan Electricity Rate", "East Blower"),  # W
    ("Fan Electricity Rate", "West Blower"),
    ("Pump Electricity Rate", "CHW Pump"),
    ("Pump Electricity Rate", "CW Pump"),
    ("Chiller Electricity Rate", "Chiller"),
    ("Cooling Tower Fan Electricity Rate", "Tower"),
    ("Chiller Evaporator Cooling Rate", "Chiller"),
    ("Fluid Heat Exchanger Heat Transfer Rate", "Economiser"),
    ("Cooling Coil Total Cooling Rate", "East Coil"),
    ("Cooling Coil Total Cooling Rate", "West Coil"),
)
COIL_DESIGN_FLOW = 7.5  # kg/s of water with the valve open
DRYING_SUPPLY_C, DRYING_WATER_C, DRYING_TIMESTEPS = 16.0, 6.0, 24
HALL_RANGE_C = (-20.0, 90.0)  # a hall outside is no hall: the engine has diverged


@dataclass(frozen=True)
class Reading:
    """One timestep of EnergyPlus, or the mean of several: ``values`` [V] in the order of VARIABLES."""

    values: NDArray[np.float64]

    @property
    def outdoor_c(self) -> NDArray[np.float64]:
        """Dry-bulb and wet-bulb temperature, [2] °C."""
        return self.values[0:2]

    @property
    def hall_c(self) -> NDArray[np.float64]:
        """Mixed air of each hall, which is what returns to its air handler, [2] °C."""
        return self.values[2:4]

    @property
    def supply_c(self) -> NDArray[np.float64]:
        """What each air handler supplies, [2] °C."""
        return self.values[4:6]

    @property
    def supply_flow(self) -> NDArray[np.float64]:
        """Air of each air handler, [2] m³/s at AIR_DENSITY, wherever the plant is."""
        return self.values[6:8] / AIR_DENSITY

    @property
    def valve(self) -> NDArray[np.float64]:
        """Water of each coil as a share of its design flow, [2]."""
        return self.values[8:10] / COIL_DESIGN_FLOW

    @property
    def chilled_water_c(self) -> float:
        """What the plant supplies, °C."""
        return float(self.values[10])

    @property
    def power_w(self) -> NDArray[np.float64]:
        """Fans, chilled-water pump, condenser-water pump, chiller and tower, [5] W."""
        return np.array([self.values[11] + self.values[12], *self.values[13:17]])

    @property
    def hvac_w(self) -> float:
        """All of that together, W."""
        return float(self.values[11:17].sum())

    @property
    def chiller_heat_w(self) -> float:
        """Heat that the chiller takes from the water, W."""
        return float(self.values[17])

    @property
    def economiser_heat_w(self) -> float:
        """Heat that the economiser takes from the water, W."""
        return float(self.values[18])

    @property
    def coil_heat_w(self) -> NDArray[np.float64]:
        """Heat that each coil takes from the air, [2] W."""
        return self.values[19:21]


def orders(
    command: NDArray[np.float64], it_w: NDArray[np.float64], wet_bulb_c: float, air_density: float = AIR_DENSITY
) -> NDArray[np.float64]:
    """Values of SCHEDULES [8]: of a command [4] and the IT load [2] W, in air of a density, kg/m³.

    The command is supply air °C, the air of each hall as a share of what its servers draw, and chilled water °C. A
    fan's own loop of the aisle's pressure holds that share, in seconds, as far as the fan goes. The condenser water has
    a sequence of its own, which nobody commands: 3 K above the wet bulb, as cold as the tower makes it for the chiller;
    and no colder than 3 K below the chilled water, where the economiser carries all.
    """
    supply_c, east, west, chilled_c = command
    condenser_c = min(max(wet_bulb_c + 3.0, chilled_c - 3.0, 6.0), 32.0)
    flow = np.array([east, west]) * it_flow(it_w) * AIR_DENSITY / air_density  # [2] m³/s
    flow = np.clip(flow, LEAST_FLOW, DESIGN_FLOW)
    # The economiser cools a little further than asked, so that a chiller that is not needed stays off.
    return np.array([supply_c, *(flow / DESIGN_FLOW), chilled_c, chilled_c - 0.3, condenser_c, *it_w])


def drying(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values of SCHEDULES [8] for the first DRYING_TIMESTEPS of the warm-up, which are then the run's first ``values``.

    Nothing brings moisture into the halls or takes it out but a coil that is colder than the air's dew point, and
    EnergyPlus fills them with the first day's outdoor air. A summer's is beyond ASHRAE's 15 °C of dew point, and the
    coil's model then asks for twice the water where that is colder than the dew point: a state that nobody sees. After
    two hours of cold air and colder water the dew point is below 14 °C.
    """
    cold = values.copy()
    cold[SCHEDULES.index("Supply Air")] = DRYING_SUPPLY_C
    cold[SCHEDULES.index("Chilled Water")] = DRYING_WATER_C
    cold[SCHEDULES.index("Economiser Water")] = DRYING_WATER_C
    return cold


def it_flow(it_w: NDArray[np.float64]) -> NDArray[np.float64]:
    """Air that the servers of each hall draw, [..., 2] m³/s, of their power [..., 2] W."""
    return it_w / (AIR_DENSITY * AIR_HEAT_CAPACITY * IT_RISE_K)


def inlet_temperature(
    supply_c: NDArray[np.float64],
    hall_c: NDArray[np.float64],
    flow: NDArray[np.float64],
    it_w: NDArray[np.float64],
) -> NDArray[np.float64]:
    """What the servers of each hall draw, [..., 2] °C: supplied air, and what goes round for lack of it.

    A mass balance of the cold aisle: servers draw `it_flow`; where less is supplied (``flow`` [..., 2] m³/s), the rest
    is air of the hall, and some of it always is (LEAKAGE).
    """
    short = np.maximum(0.0, 1.0 - flow / it_flow(it_w))
    share = LEAKAGE + (1.0 - LEAKAGE) * short
    return supply_c + share * (hall_c - supply_c)
