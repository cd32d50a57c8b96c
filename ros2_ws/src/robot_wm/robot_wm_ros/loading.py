"""From a bundle's path to a controller that is checked, warm and ready to be enabled."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from robot_wm.errors import UserError
from robot_wm.firmware.check import require_ends, require_robot
from robot_wm.firmware.loading import load_robot
from robot_wm.firmware.robot_model import RobotConfig
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.controller import Controller
from robot_wm.runtime.engines import make_engine
from robot_wm.runtime.safety import SafetyConfig
from robot_wm.runtime.start import start_controller
from robot_wm.spec import AgentSpec
from robot_wm_ros.parameters import AgentParameters

WARM_UP_TICKS = 50


@dataclass(frozen=True)
class LoadedAgent:
    """A verified bundle and its running controller."""

    bundle: Bundle
    controller: Controller
    spec: AgentSpec  # the bundle's own; the controller's has another rate where that is overridden


def load_agent(parameters: AgentParameters, undo: ExitStack, tell: Callable[[str], object]) -> LoadedAgent:
    """Open, verify and check the bundle, start its engine and warm it up; ``undo`` gets what gives all of it back.

    ``tell`` gets a line on how near the engine is to what was exported. Raises UserError in one line that names the
    cause.
    """
    if not parameters.bundle:
        raise UserError("parameter bundle: is not set; it takes the path of an agent.rwm or agent.rwm.zip")
    if not parameters.public_key and not parameters.allow_unsigned:
        raise UserError(
            "parameter public_key: is not set; a robot runs what somebody has signed. For a bundle of your own in"
            " simulation or development: allow_unsigned"
        )
    bundle = undo.enter_context(Bundle.open(parameters.bundle, parameters.public_key or None))
    spec = bundle.spec
    robot = load_robot(parameters.robot_config) if parameters.robot_config else None
    minimum = max(parameters.min_bundle_version, robot.min_bundle_version if robot else 0)
    bundle.manifest.require_version(minimum, origin=parameters.bundle)
    if robot is not None:
        require_robot(spec, robot, origin=parameters.bundle)
    require_ends(spec, robot, origin=parameters.bundle)
    if parameters.rate_override_hz:
        bundle = _at_rate(bundle, parameters.rate_override_hz)
    engine_dir = Path(parameters.engine_dir) if parameters.engine_dir else None
    engine = make_engine(
        parameters.engine,
        bundle,
        precision=parameters.precision,
        threads=parameters.threads,
        engine_dir=engine_dir,
    )
    planner = parameters.planner.open(
        bundle, kind=parameters.engine, threads=parameters.threads, engine_dir=engine_dir, tell=tell
    )
    if planner is not None:
        undo.callback(planner.close)
    controller = start_controller(
        bundle,
        engine=engine,
        precision=parameters.precision,
        config=_of_robot(parameters.safety_for(spec.action), robot, spec),
        live=parameters.live,
        planner=planner,
        planning=parameters.planner.config,
        tell=tell,
    )
    undo.callback(controller.deactivate)
    warm_up(controller)
    return LoadedAgent(bundle, controller, spec)


def _of_robot(config: SafetyConfig, robot: RobotConfig | None, spec: AgentSpec) -> SafetyConfig:
    """The same with what the robot's file says; the shipped defaults without one."""
    if robot is None:
        return config
    return replace(
        config,
        hold_when_stopped=robot.when_stopped == "hold_and_brake",
        following_s=robot.following_s,
        following_errors=robot.following_errors(spec.action.joints),
        leans={str(name): ways for name, ways in robot.leans.items()},
    )


def warm_up(controller: Controller, ticks: int = WARM_UP_TICKS) -> None:
    """Run ticks on zeros, so that the first real one is not a slow one; nothing of them stays.

    The engine has replayed the bundle's recording by now; the tick around it has not run yet.
    """
    spec = controller.spec
    zeros = {field.name: np.zeros(field.shape, dtype=field.dtype) for field in spec.observations}
    controller.enable()
    for tick in range(ticks):
        command = controller.step(zeros, tick * spec.control_period_s)
    controller.disable()
    controller.engine.clear_state()
    controller.start_episode()
    controller.latency.clear()
    if controller.thinker is not None:
        controller.thinker.clear()
    command.tick = 0


def _at_rate(bundle: Bundle, rate_hz: float) -> Bundle:
    """The same bundle with a spec that runs at another rate; opened and verified already."""
    spec = bundle.spec
    steps = max(1, round(spec.physics_rate_hz / rate_hz))
    changed = spec.model_copy(update={"control_rate_hz": rate_hz, "physics_rate_hz": rate_hz * steps})
    manifest = bundle.manifest.model_copy(update={"spec": changed})
    return Bundle(bundle.path, manifest, bundle.manifest_sha256, signature_checked=bundle.signature_checked)
