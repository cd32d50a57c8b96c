"""How hot the machine is, as the kernel's thermal zones tell it."""

from __future__ import annotations

from pathlib import Path

# Zones that are switched off say nonsense: a Jetson's idle GPU reads -256 °C.
_BELIEVABLE_C = (-40.0, 200.0)


def temperatures_c(root: Path = Path("/")) -> dict[str, float]:
    """Temperature of each readable thermal zone by its type, in °C; empty where there is none.

    Of zones with the same type the later ones carry their number: ``acpitz``, ``acpitz-1``.
    ``root`` is where /sys lies.
    """
    zones = (root / "sys/class/thermal").glob("thermal_zone*")
    found: dict[str, float] = {}
    for zone in sorted(zones, key=lambda path: (len(path.name), path.name)):
        try:
            name = (zone / "type").read_text().strip()
            celsius = int((zone / "temp").read_text()) / 1000
        except (OSError, ValueError):  # a zone may refuse while its part of the chip sleeps
            continue
        if _BELIEVABLE_C[0] <= celsius <= _BELIEVABLE_C[1]:
            number = zone.name.removeprefix("thermal_zone")
            found[f"{name}-{number}" if name in found else name] = celsius
    return found
