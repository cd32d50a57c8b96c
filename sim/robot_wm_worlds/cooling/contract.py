"""The AgentSpec of the cooling task: what an agent sees, what it may command, and how fast that may change."""

from __future__ import annotations

from robot_wm.spec import ActionSpec, AgentSpec, FirmwareProfile, JointLimits, ObservationField, Source
from robot_wm_worlds.cooling.plant import HALLS, TIMESTEP_MIN

TASK = "datacenter_cooling"
COMMANDS = ("supply_air", *(f"{hall}_fan" for hall in HALLS), "chilled_water")
COMMAND_UNITS = "°C, 1, 1, °C"  # flows as a share of what the hall's servers draw
# By command: as far as an engineer lets a building go, and by how much it may change in five minutes, as a building's
# management ramps its set-points.
RANGES = ((20.0, 26.0), (0.8, 1.2), (0.8, 1.2), (10.0, 21.0))
RAMPS = (1.0, 0.15, 0.15, 1.0)
# The zero action, and how far from it a policy goes. Trim and respond stands near it all year (25.6 °C, 0.99, 20 °C),
# as a quadruped's actions count from the posture that it stands in; any weather and any load can bear it.
HOME = (25.0, 1.0, 1.0, 19.0)
REACHES = (1.0, 0.08, 0.08, 2.0)


def agent_spec(control_minutes: int) -> AgentSpec:
    """The contract for one command every ``control_minutes``, a multiple of the plant's five."""
    period_s = control_minutes * 60.0
    max_age_s = 3 * period_s

    def field(
        name: str, unit: str, labels: tuple[str, ...], offset: float, reach: float, source: Source = Source.SENSOR
    ) -> ObservationField:
        return ObservationField(
            name=name,
            shape=(len(labels),),
            unit=unit,
            labels=labels,
            offset=(offset,),
            scale=(1.0 / reach,),
            clip=5.0,
            source=source,
            topic=f"bms/{name}",
            max_age_s=max_age_s,
        )

    observations = (
        field("inlet_temperature", "°C", HALLS, 25.0, 3.0),
        field("hall_temperature", "°C", HALLS, 32.0, 5.0),
        field("supply_temperature", "°C", HALLS, 22.0, 4.0),
        field("it_power", "W", HALLS, 100e3, 30e3),
        field("weather", "°C", ("dry_bulb", "wet_bulb"), 15.0, 15.0),
        field("chilled_water_temperature", "°C", ("supply",), 15.0, 5.0),
        field("valve", "1", HALLS, 0.5, 0.5),
        field("power", "W", ("fans", "chilled_water_pump", "condenser_water_pump", "chiller", "tower"), 5e3, 10e3),
        field("time_of_day", "1", ("sin", "cos"), 0.0, 1.0),
        ObservationField(
            name="set_points",
            shape=(len(COMMANDS),),
            unit=COMMAND_UNITS,
            labels=COMMANDS,
            offset=HOME,
            scale=tuple(1.0 / reach for reach in REACHES),
            source=Source.LAST_ACTION,
            max_age_s=max_age_s,
        ),
    )
    limits = tuple(
        JointLimits(position=span, rate=ramp / (TIMESTEP_MIN * 60.0)) for span, ramp in zip(RANGES, RAMPS, strict=True)
    )
    return AgentSpec(
        task=TASK,
        robot="data_halls",
        control_rate_hz=1.0 / period_s,
        physics_rate_hz=round(control_minutes / TIMESTEP_MIN) / period_s,
        observations=observations,
        action=ActionSpec(
            mode="position", joints=COMMANDS, unit=COMMAND_UNITS, scale=REACHES, offset=HOME, limits=limits
        ),
        firmware=FirmwareProfile(name="building_management"),
    )
