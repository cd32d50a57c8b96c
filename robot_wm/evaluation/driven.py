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
from robot_wm.runtime.planning.config import ALWAYS
from robot_wm.runtime.planning.planner import Planner
from robot_wm.runtime.planning.request import PlannerRequest
from robot_wm.runtime.safety import SafetyConfig
from robot_wm.runtime.start import start_controller
from robot_wm.spec import require_same
from robot_wm.tasks import agent_spec, backend_names, make_env, parse_options
from robot_wm.zoo.catalog import locate_bundle

_WAITS = replace(ALWAYS, patient=True)  # every tick plans, and the simulator stands still meanwhile


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
    planner: bool = False,
    force_planner: bool = False,
) -> Iterator[Driven]:
    """Verify a bundle (or zoo:NAME), build its task as it was trained but for what is given, and start the controller.

    With ``planner`` every tick waits for the bundle's planner (from noise of ``seed``), also for one that does not pay
    if it is forced. Both end with the block. Raises UserError for what does not fit, before the controller starts.
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
            thinking = _planner(opened, engine, force_planner, seed) if planner else None
            controller = start_controller(
                opened,
                engine=tick,
                precision=precision,
                config=config,
                noise_seed=noise_seed,
                planner=thinking,
                planning=None if thinking is None else replace(_WAITS, seed=seed),
            )
            with controller:
                yield Driven(controller, env, name, backend_names(name, options)[0], opened.manifest.lineage.steps)
        finally:
            env.close()


def _planner(bundle: Bundle, engine: EngineKind, forced: bool, seed: int) -> Planner:
    request = PlannerRequest(name=bundle.manifest.kind, forced=forced, config=replace(_WAITS, seed=seed))
    planner = request.open(bundle, kind=engine)
    assert planner is not None  # it was asked for
    return planner
