"""Many worlds tried at once: each process has a world of its own, and the stretches to replay in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_wm.spec import AgentSpec
from robot_wm_sim.backend import load_backend
from robot_wm_sim.identification.joint_log import Stretch
from robot_wm_sim.identification.parameters import World
from robot_wm_sim.identification.replay import Replay
from robot_wm_sim.scene import Scene

Float64 = NDArray[np.float64]
Told = list[tuple[Float64, Float64]]  # positions and velocities [T, N] of each stretch


class Setting(NamedTuple):
    """What is replayed, and in what."""

    backend: str
    scene: Scene  # in the air
    spec: AgentSpec
    joints: tuple[str, ...]
    stretches: tuple[Stretch, ...]


@contextmanager
def player(setting: Setting) -> Iterator[Callable[[World], Told]]:
    """Tells of a world what joints say in each stretch."""
    sim = load_backend(setting.backend)(setting.scene)
    try:
        replays = [Replay(sim, setting.spec, setting.joints, one) for one in setting.stretches]
        yield lambda world: [replay.run(world) for replay in replays]
    finally:
        sim.close()
