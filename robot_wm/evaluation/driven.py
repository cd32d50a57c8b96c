"""From a bundle's name to a running controller and the simulated robot that it is to drive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from robot_wm.errors import UserError
from robot_wm.evaluation.closed_loop import Env
from robot_wm.evaluation.task_flags import short_options, task_options
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.controller import Controller
from robot_wm.runtime.engines import EngineKind, make_engine
from robot_wm.runtime.parity_section import Precision
from robot_wm.runtime.planning.config import ALWAYS, PlanningConfig
from robot_wm.runtime.planning.planner import Planner
from robot_wm.runtime.planning.request import PlannerRequest
from robot_wm.runtime.safety import SafetyConfig
from robot_wm.runtime.start import start_controller
from robot_wm.spec import require_same
from robot_wm.tasks import agent_spec, backend_names, make_env, parse_options
from robot_wm.zoo.catalog import locate_bundle


@dataclass(frozen=True)
class Driven:
    """What `run_closed_loop` takes, and what it is called."""

    controller: Controller
    env: Env
    task: str
    backend: str
    env_steps: int | None  # that the agent had learned from; None where its bundle does not say


@contextmanager
def driven(
    bundle: Path,
    public_key: Path | None = None,
    *,
    config: SafetyConfig,
    task: str | None = None,
    option: Mapping[str, Any] | None = None,
    backend: str | None = None,
    command: str | None = None,
    seed: int = 0,
    render: bool | Literal["window"] = False,
    engine: EngineKind = "onnx",
    precision: Precision = "fp32",
    noise_seed: int | None = None,
    planner: bool | Planner = False,
    force_planner: bool = False,
    planning: PlanningConfig = ALWAYS,
) -> Iterator[Driven]:
    """Verify a bundle (or zoo:NAME), build its task as it was trained but for what is given, and start the controller.

    With ``planner`` the simulator stands still for every plan of the bundle's planner (from noise of ``seed``), also of
    one that does not pay if it is forced, or of a planner made elsewhere, which is the controller's then; ``planning``
    says when it thinks, by default at every tick. Both end with the block. Raises UserError for what does not fit,
    before the controller starts.
    """
    given = dict(option or {})
    if "," in (backend or str(given.get("backend", ""))):
        raise UserError(f"backend {backend or given['backend']}: a controller drives one robot, in one engine")
    with Bundle.open(*locate_bundle(bundle, public_key)) as opened:
        name = task or opened.spec.task
        options = task_options(opened.manifest.lineage.config, name) | parse_options(given)
        options |= short_options(name, opened.spec, given, backend=backend, command=command)
        env = make_env(name, seed=seed, render=render, **options)
        try:
            require_same(opened.spec, agent_spec(env), origin=f"{bundle}: task {name}")
            tick = make_engine(engine, opened, precision=precision)
            patient = replace(planning, patient=True, seed=seed)
            thinking = planner or None
            if thinking is True:
                thinking = _planner(opened, engine, force_planner, patient)
            controller = start_controller(
                opened,
                engine=tick,
                precision=precision,
                config=config,
                noise_seed=noise_seed,
                planner=thinking,
                planning=None if thinking is None else patient,
            )
            with controller:
                yield Driven(controller, env, name, backend_names(name, options)[0], opened.manifest.lineage.steps)
        finally:
            env.close()


def _planner(bundle: Bundle, engine: EngineKind, forced: bool, config: PlanningConfig) -> Planner:
    request = PlannerRequest(name=bundle.manifest.kind, forced=forced, config=config)
    planner = request.open(bundle, kind=engine)
    assert planner is not None  # it was asked for
    return planner
