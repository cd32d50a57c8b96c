"""What can draw without a display."""

from __future__ import annotations

import ctypes
import os

# What gives a context without a display, by MuJoCo's names for it, in order of preference, and its library.
LIBRARIES = {"egl": "libEGL.so.1", "osmesa": "libOSMesa.so.8"}
ADVICE = "install libegl1 (with a driver such as libgl1-mesa-dri), or libosmesa6 and set MUJOCO_GL=osmesa"


def installed() -> str:
    """The first of LIBRARIES that is installed; empty if none is."""
    return next(filter(_loads, LIBRARIES), "")


def choose_for_mujoco() -> None:
    """Without a display let MuJoCo draw by what is installed, unless MUJOCO_GL says by what.

    To be called before an environment's module is imported: dm_control chooses at import, and takes GLFW, which can be
    imported without a display and then cannot draw. MUJOCO_GL is the only way to tell it.
    """
    if any(os.environ.get(name) for name in ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY")):
        return
    if name := installed():
        os.environ["MUJOCO_GL"] = name


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(LIBRARIES[name])
    except OSError:
        return False
    return True
