"""From a bundle to a controller that may be enabled: the one way on a robot, in a simulator and in a test bench."""

from __future__ import annotations

import logging
from collections.abc import Callable

from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.controller import Controller
from robot_wm.runtime.engine import Engine
from robot_wm.runtime.engines import make_engine
from robot_wm.runtime.history_order import require_history_order
from robot_wm.runtime.live.check import LiveCheck, LiveConfig
from robot_wm.runtime.live.trained import trained_ranges
from robot_wm.runtime.parity import check_parity, free_run
from robot_wm.runtime.parity_section import Precision
from robot_wm.runtime.planning.config import PlanningConfig
from robot_wm.runtime.planning.planner import Planner
from robot_wm.runtime.safety import SafetyConfig

_log = logging.getLogger(__name__)


def start_controller(
    bundle: Bundle,
    *,
    engine: Engine | None = None,
    precision: Precision = "fp32",
    config: SafetyConfig | None = None,
    noise_seed: int | None = None,
    threads: int = 1,
    live: LiveConfig | None = None,
    planner: Planner | None = None,
    planning: PlanningConfig | None = None,
    tell: Callable[[str], object] = _log.info,
) -> Controller:
    """Activate an engine (default: ONNX Runtime on ``threads``), check it, and return the active controller.

    ``Bundle.open`` has checked hashes and signature; here the engine replays the ticks that were recorded at export,
    and must be as near to them as its ``precision`` is. Raises UserError for an engine that computes anything else;
    nothing stays active then. With ``live`` the controller also judges the robot that it is shown (its ``look``).
    ``planner`` may better the policy's action, as ``planning`` says; the controller owns it, and closes it.
    ``tell`` gets how near it came, step by step and with a state of its own.
    The caller owns the controller and deactivates it (or uses it as a context manager).
    """
    engine = engine or make_engine("onnx", bundle, precision=precision, threads=threads)
    engine.activate()
    try:
        if reason := getattr(engine, "graph_error", None):
            _log.warning("ticks are queued call by call, which is slower: no CUDA graph was captured: %s", reason)
        recording = bundle.recording()
        found = check_parity(engine, bundle, precision, recording)
        require_history_order(bundle.spec, recording, origin=str(bundle.path))
        tell(f"{precision} engine: {found}; {free_run(engine, bundle, recording)}")
        check = None if live is None else LiveCheck(bundle.spec, trained_ranges(bundle.spec, recording), live)
        controller = Controller(
            bundle,
            engine=engine,
            config=config,
            noise_seed=noise_seed,
            live=check,
            planner=planner,
            planning=planning,
        )
        controller.activate()
    except BaseException:
        engine.deactivate()
        if planner is not None:
            planner.close()
        raise
    return controller
