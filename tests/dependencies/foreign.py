"""Somebody else's distribution, installed into a folder."""

from collections.abc import Mapping
from pathlib import Path


def install(folder: Path, name: str, version: str, entry_points: Mapping[str, str]) -> None:
    """What an installer leaves beside modules in ``folder``: metadata, and lines of entry points by group."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text("\n".join(f"[{group}]\n{lines}\n" for group, lines in entry_points.items()))
