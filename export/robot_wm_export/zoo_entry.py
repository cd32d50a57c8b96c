"""The files of an agent in the zoo that decide what it does: its checkpoint, and the bundle that is made of it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robot_wm.errors import UserError
from robot_wm.runtime.bundle_writer import write_zip
from robot_wm.runtime.manifest import POLICY_OP17
from robot_wm.runtime.monitor import MonitorSection
from robot_wm.tasks import make_env
from robot_wm.training.checkpoint import LoadedAgent, write_agent
from robot_wm_export.export import export_agent
from robot_wm_export.monitor.calibrate import Plan
from robot_wm_export.rollout import MIN_TICKS, record_task, require_task

_SEED = 0  # of the recording: the same weights give the same bundle


def write_checkpoint(folder: Path, loaded: LoadedAgent) -> None:
    """Write the agent's tensors, in half precision, and its state into ``folder``.

    Half of the bytes are saved, and more once zipped. Everything else of the entry is made of these rounded weights, so
    what is stored is what was evaluated. The run's folder is left out: it is a path of some machine.
    """
    config = loaded.state.config.model_copy(update={"run_dir": None})
    state = loaded.state.model_copy(update={"config": config})
    write_agent(folder, state, _halved(loaded.agent.state_dict(), origin=str(loaded.path)))


def require_present_task(name: str, loaded: LoadedAgent) -> None:
    """Refuse (UserError) an agent whose AgentSpec is not its task's any more, naming every field that differs."""
    config = loaded.state.config
    options: dict[str, Any] = dict(config.task_options)
    env = make_env(config.task, **options)
    try:
        require_task(env, loaded.spec, origin=f"zoo:{name}: task {config.task}")
    finally:
        env.close()


def write_bundle_zip(
    loaded: LoadedAgent,
    target: Path,
    sign_key: Path | None,
    *,
    monitor: Plan | MonitorSection | None = None,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> None:
    """Export the agent to ``target`` (a zip): its opset-17 graph alone, which is the one that robots run.

    Its monitor is calibrated as planned, under the options that it was trained with, or is the one given.
    """
    options: dict[str, Any] = dict(loaded.state.config.task_options)
    on_stage(f"recording {MIN_TICKS} ticks")
    spec, rollout = record_task(loaded, MIN_TICKS, _SEED)
    with tempfile.TemporaryDirectory(prefix="robot_wm_zoo_") as folder:
        report = export_agent(
            loaded.agent,
            spec,
            rollout,
            loaded.lineage | {"checkpoint": f"step_{loaded.state.progress:09d}"},
            Path(folder) / "agent.rwm",
            sign_key,
            profiles=(POLICY_OP17,),
            monitor=replace(monitor, options=options) if isinstance(monitor, Plan) else monitor,
            on_stage=on_stage,
        )
        shutil.copyfile(write_zip(report.path, compress=True), target)


def _halved(tensors: Mapping[str, Tensor], *, origin: str) -> dict[str, Tensor]:
    halved = {name: tensor.half() for name, tensor in tensors.items()}
    for name, tensor in halved.items():
        if not torch.isfinite(tensor).all():
            raise UserError(f"{origin}: {name} has weights beyond ±65504, which half precision cannot hold")
    return halved
