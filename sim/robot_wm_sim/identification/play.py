"""Records a simulated robot as a robot's node does: under a plan in the air, or under its agent on the ground."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.evaluation.driven import Driven
from robot_wm.runtime.command import Command
from robot_wm.runtime.modes import Mode
from robot_wm.runtime.recorder import TickRecorder
from robot_wm.spec import AgentSpec
from robot_wm_sim.env import RobotEnv
from robot_wm_sim.identification.plan import Plan

NO_BUNDLE = "0" * 64  # in place of a bundle's checksum: who recorded is not known by it
BEGIN_NS = 10**18  # of the recording's clock: simulated time has no date


def play(env: RobotEnv, plan: Plan, folder: Path, *, seed: int = 0) -> tuple[Path, dict[str, float]]:
    """Record ``env`` (of a HungTask) under a plan; the file, and the numbers of its world where one was drawn.

    Raises UserError where it cannot be recorded.
    """
    spec = env.agent_spec
    nothing = np.full(spec.action_dim, np.nan, np.float32)
    observation, info = env.reset(seed=seed)
    with _recorder(spec, folder, len(plan.command)) as recorder:
        for index, wanted in enumerate(plan.command):
            told = Command(wanted.astype(np.float32), nothing, nothing, tick=index + 1, mode=Mode.ACTIVE, damp=False)
            _add(recorder, observation, told, index * spec.control_period_s)
            observation, *_ = env.step(told.command)
    return recorder.path, dict(info.get("randomisation", {}))


def walk(it: Driven, folder: Path, *, duration_s: float, seed: int = 0) -> tuple[Path, dict[str, float]]:
    """Record an agent that drives its own simulated robot, until it falls at most; the same as of ``play``."""
    spec, controller = it.controller.spec, it.controller
    ticks = round(duration_s * spec.control_rate_hz)
    observation, info = it.env.reset(seed=seed)
    controller.disable()
    controller.enable()
    controller.start_episode()
    with _recorder(spec, folder, ticks) as recorder:
        for index in range(ticks):
            now_s = index * spec.control_period_s
            told = controller.step(observation, now_s)
            _add(recorder, observation, told, now_s)
            observation, _, terminated, _, _ = it.env.step(told.command)
            if terminated:
                break
    return recorder.path, dict(info.get("randomisation", {}))


@contextmanager
def _recorder(spec: AgentSpec, folder: Path, ticks: int) -> Iterator[TickRecorder]:
    recorder = TickRecorder(folder, spec, bundle_sha256=NO_BUNDLE, queue_ticks=ticks)
    try:
        yield recorder
    finally:
        recorder.close()
    if recorder.error:
        raise UserError(recorder.error)


def _add(recorder: TickRecorder, observation: Mapping[str, NDArray[Any]], told: Command, now_s: float) -> None:
    stamp_ns = BEGIN_NS + round(now_s * 1e9)
    recorder.add(observation, told, stamp_ns=stamp_ns, receipt_ns=stamp_ns, publish_ns=stamp_ns)
