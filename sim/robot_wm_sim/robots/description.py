"""Where robots' description files are: ours, and those of pybullet_data, which suit every backend."""

from __future__ import annotations

from pathlib import Path

import pybullet_data

import robot_wm_sim


def own_description(file_name: str) -> Path:
    """Path of a file of our ``descriptions`` folder."""
    return Path(robot_wm_sim.__file__).parent / "descriptions" / file_name


def pybullet_description(relative: str) -> Path:
    """Path of a file of pybullet_data, such as ``a1/a1.urdf``."""
    return Path(pybullet_data.getDataPath()) / relative
