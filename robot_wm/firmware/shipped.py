"""Names of the files in firmware_configs, without reading one: nothing but the standard library is imported here."""

from __future__ import annotations

from importlib.resources import files

PACKAGE = "firmware_configs"


def known(room: str) -> list[str]:
    """Names of the ``robots`` or ``boards`` that come with the library."""
    folder = files(PACKAGE) / room
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))
