"""The factory that `robot_wm.tasks` finds; see `robot_wm_worlds.cooling.env`."""

from __future__ import annotations

from typing import Literal

from robot_wm_worlds.cooling.env import DataCenterCooling
from robot_wm_worlds.cooling.weather import parse_cities


def datacenter_cooling(
    *,
    seed: int = 0,
    render_mode: str | None = None,
    observation: Literal["proprio"] = "proprio",
    weather: str = "training",
    days: int = 2,
    first_day: int | None = None,
    control_minutes: int = 5,
) -> DataCenterCooling:
    """Cool two data halls with little energy, servers' air within 18–27 °C (EnergyPlus; 2 days of 5 min steps).

    Args:
        seed: of the first episode; it fixes city, first day and IT load.
        render_mode: of no use: there is no picture of a plant.
        observation: ``proprio``, all that there is.
        weather: cities joined by commas (see `robot_wm_worlds.cooling.weather`), ``training`` or ``held_out``.
        days: length of an episode.
        first_day: day of the year that every episode begins with, 0 is 1 January; none draws one.
        control_minutes: time between two commands, 5 or a multiple.

    Raises UserError for options out of range and where EnergyPlus is not installed.
    """
    return DataCenterCooling(
        cities=parse_cities(weather),
        days=days,
        first_day=first_day,
        control_minutes=control_minutes,
        seed=seed,
        render_mode=render_mode,
    )
