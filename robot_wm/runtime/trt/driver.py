"""The NVIDIA driver that is loaded, read from the file system: no CUDA is needed to ask."""

from __future__ import annotations

import re
from pathlib import Path


def driver_version(root: Path = Path("/")) -> str | None:
    """Version of the kernel's driver, on a Jetson its L4T release; None if there is none. ``root`` is for tests."""
    release = _text(root / "etc/nv_tegra_release")
    if release is not None:
        return release.split(", GCID")[0].lstrip("# ")  # such as R36 (release), REVISION: 4.3
    version = _text(root / "proc/driver/nvidia/version")
    if version is None:
        return None
    number = re.search(r"\b\d+\.\d+(\.\d+)?\b", version)
    return number.group() if number else "version unknown"


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip("\0\n ")
    except OSError:
        return None
