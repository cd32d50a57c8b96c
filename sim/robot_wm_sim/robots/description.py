"""Where robots' description files are: ours, and those that other packages bring."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import robot_wm_sim
from robot_wm.errors import UserError


@dataclass(frozen=True)
class PackageFile:
    """A file of an installed package, looked for when its path is asked for: who loads another robot needs none."""

    package: str
    relative: str  # to the package's folder

    def path(self) -> Path:
        """Where it is. UserError where the package is not installed; the package is not imported."""
        found = find_spec(self.package)
        if found is None or found.origin is None:
            lies = f"{self.relative} lies in {self.package}"
            raise UserError(f"{lies}, which is not installed: pip install 'robot-wm[sim]'")
        return Path(found.origin).parent / self.relative


def own_description(file_name: str) -> Path:
    """Path of a file of our ``descriptions`` folder."""
    return Path(robot_wm_sim.__file__).parent / "descriptions" / file_name


def pybullet_description(relative: str) -> PackageFile:
    """A file of pybullet_data, such as ``a1/a1.urdf``; they suit every backend."""
    return PackageFile("pybullet_data", relative)
