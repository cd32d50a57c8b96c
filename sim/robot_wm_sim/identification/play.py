"""Plays a plan to a simulated robot in the air, and records it as the node on a robot does."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np

from robot_wm.errors import UserError
from robot_wm.runtime.controller import Command
from robot_wm.runtime.manifest import Manifest
from robot_wm.runtime.modes import Mode
from robot_wm.runtime.recorder import TickRecorder
from robot_wm_sim.env import RobotEnv
from robot_wm_sim.identification.plan import Plan

NO_BUNDLE = "0" * 64  # in place of a bundle's checksum: none drives
BEGIN_NS = 10**18  # of the recording's clock: simulated time has no date


def play(env: RobotEnv, plan: Plan, folder: Path, *, seed: int = 0) -> tuple[Path, dict[str, float]]:
    """Record ``env`` (of a HungTask) under a plan; the file, and the numbers of its world where one was drawn.

    Raises UserError where it cannot be recorded.
    """
    spec = env.agent_spec
    recorder = TickRecorder(
        folder, cast(Manifest, SimpleNamespace(spec=spec)), bundle_sha256=NO_BUNDLE, queue_ticks=len(plan.command)
    )
    nothing = np.full(spec.action_dim, np.nan, np.float32)
    observation, info = env.reset(seed=seed)
    for index, wanted in enumerate(plan.command):
        told = Command(wanted.astype(np.float32), nothing, nothing, tick=index + 1, mode=Mode.ACTIVE, damp=False)
        stamp_ns = BEGIN_NS + round(index * spec.control_period_s * 1e9)
        recorder.add(observation, told, stamp_ns=stamp_ns, receipt_ns=stamp_ns, publish_ns=stamp_ns)
        observation, *_ = env.step(told.command)
    recorder.close()
    if recorder.error:
        raise UserError(recorder.error)
    return recorder.path, dict(info.get("randomisation", {}))
