"""Many worlds tried at once: each process has a world of its own, and the stretches to replay in it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from types import TracebackType
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


class Player:
    """Replays all stretches in one world of its own."""

    def __init__(self, setting: Setting) -> None:
        self._sim = load_backend(setting.backend)(setting.scene)
        self._replays = [Replay(self._sim, setting.spec, setting.joints, one) for one in setting.stretches]

    def play(self, world: World) -> Told:
        """What joints would have said in it."""
        return [replay.run(world) for replay in self._replays]

    def close(self) -> None:
        """Free the engine."""
        self._sim.close()


class Players:
    """As many players as processes; with one there is no other process than this."""

    def __init__(self, setting: Setting, processes: int) -> None:
        self._own: Player | None = None
        self._pool: ProcessPoolExecutor | None = None
        if processes == 1:
            self._own = Player(setting)
        else:
            # What is forked from a process with an engine's threads may hang.
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(processes, mp_context=spawn, initializer=_begin, initargs=(setting,))

    def play(self, worlds: Sequence[World]) -> Iterable[Told]:
        """What joints would have said in each, in order."""
        if self._pool is not None:
            return self._pool.map(_play, worlds)
        assert self._own is not None
        return map(self._own.play, worlds)

    def __enter__(self) -> Players:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        if self._own is not None:
            self._own.close()


_PLAYER: list[Player] = []  # of a worker's process, which has one


def _begin(setting: Setting) -> None:
    _PLAYER.append(Player(setting))


def _play(world: World) -> Told:
    return _PLAYER[0].play(world)
