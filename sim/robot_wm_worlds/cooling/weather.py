"""The typical years that come with EnergyPlus's wheel, by the name of the city."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from robot_wm.errors import UserError

# City and the start of its file's name; TMY3 of NREL.
_FILES = {
    "boulder": "USA_CO_Boulder",
    "champaign": "USA_IL_University.of.Illinois",
    "chicago": "USA_IL_Chicago-OHare",
    "colorado_springs": "USA_CO_Colorado.Springs",
    "denver": "USA_CO_Denver-Aurora",
    "fresno": "USA_CA_Fresno",
    "golden": "USA_CO_Golden",
    "las_vegas": "USA_NV_Las.Vegas",
    "miami": "USA_FL_Miami",
    "newark": "USA_NJ_Newark",
    "oklahoma_city": "USA_OK_Oklahoma.City",
    "orlando": "USA_FL_Orlando",
    "phoenix": "USA_AZ_Phoenix",
    "san_francisco": "USA_CA_San.Francisco",
    "sterling": "USA_VA_Sterling",
    "tampa": "USA_FL_Tampa",
}
CITIES = tuple(_FILES)
HELD_OUT = ("chicago", "miami")  # cool and humid (ASHRAE climate 5A), hot and humid (1A): nothing is learned there
TRAINING = tuple(city for city in CITIES if city not in HELD_OUT)


def parse_cities(text: str) -> tuple[str, ...]:
    """Cities joined by commas; ``training`` and ``held_out`` stand for theirs. Raises UserError for an unknown one."""
    named = {"training": TRAINING, "held_out": HELD_OUT}
    found = tuple(city for part in text.split(",") for city in named.get(part.strip(), (part.strip(),)))
    for city in found:
        if city not in _FILES:
            raise UserError(
                f"task datacenter_cooling: weather {city!r} is not one of training, held_out, {', '.join(CITIES)}"
            )
    return found


def weather_file(city: str) -> Path:
    """The EPW file of a city; UserError where EnergyPlus is not installed."""
    (path,) = (engine_folder() / "data" / "weather").glob(f"{_FILES[city]}*.epw")
    return path


def engine_folder() -> Path:
    """Where the package pyenergyplus lies; UserError where it is not installed. It is not imported."""
    spec = find_spec("pyenergyplus")
    if spec is None or spec.origin is None:
        raise UserError("task datacenter_cooling: EnergyPlus is not installed: pip install 'robot-wm[cooling]'")
    return Path(spec.origin).parent
