"""An exported agent as a controller of the plant, through the very runtime that runs it on an edge gateway."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.controller import Controller
from robot_wm.runtime.engines import make_engine
from robot_wm.runtime.safety import SafetyConfig
from robot_wm.runtime.start import start_controller
from robot_wm.spec import AgentSpec, require_same
from robot_wm.zoo.catalog import locate_bundle
from robot_wm_bench.cooling.controller import Observation

# A plant keeps its set-points where a robot would let go.
PLANT_SAFETY = SafetyConfig(soft_start_s=0.0, hold_s=3600.0, hold_when_stopped=True, following_s=float("inf"))


class BundledAgent:
    """`PlantController` of a running `Controller`."""

    def __init__(self, controller: Controller) -> None:
        self._controller, self._ticks = controller, 0

    def reset(self) -> None:
        """Begin an episode, with the safety filter's memory anew."""
        self._controller.disable()
        self._controller.enable()
        self._controller.start_episode()
        self._ticks = 0

    def act(self, observation: Observation) -> NDArray[np.float64]:
        """[A] set-points, as the safety filter lets them through."""
        now_s = self._ticks * self._controller.spec.control_period_s
        self._ticks += 1
        return self._controller.step(dict(observation), now_s).command.astype(np.float64)


@contextmanager
def bundled(path: Path, spec: AgentSpec, safety: SafetyConfig = PLANT_SAFETY) -> Iterator[BundledAgent]:
    """Verify a bundle and start it; raises UserError for one of another task."""
    with Bundle.open(*locate_bundle(path, None)) as opened:
        require_same(opened.spec, spec, origin=f"{path}: task {spec.task}")
        controller = start_controller(
            opened,
            engine=make_engine("onnx", opened, precision="fp32"),
            precision="fp32",
            config=safety,
            noise_seed=None,
            planner=None,
            planning=None,
        )
        with controller:
            yield BundledAgent(controller)
