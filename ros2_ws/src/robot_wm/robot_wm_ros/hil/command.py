"""`robot-wm hil`: latency of an agent with a simulated robot in the loop, beside a bare echo's."""

from __future__ import annotations

import json as json_format
import os
import platform
import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from robot_wm.console import emit, messages
from robot_wm.errors import UserError
from robot_wm.runtime.engines import EngineKind
from robot_wm.runtime.parity_section import Precision

if TYPE_CHECKING:
    from robot_wm_ros.hil.measure import Measurement
    from robot_wm_ros.hil.rig import RigConfig

Positive = Annotated[float, Parameter(validator=Number(gt=0))]
# ROS 2 domains whose ports are below those that Linux hands out, less the few that people choose by hand.
_DOMAINS = range(20, 100)
_MET = {True: "met", False: "MISSED", None: "not measured"}


def hil(
    *,
    bundle: Path,
    rate: Positive | None = None,
    rates: str = "",
    seconds: Positive = 60.0,
    out: Path | None = None,
    deadline_ms: Positive | None = None,
    sensor_rate: Positive | None = None,
    priority: Annotated[int, Parameter(validator=Number(gte=0, lte=99))] = 50,
    cpus: str = "",
    engine: EngineKind = "onnx",
    precision: Precision = "fp32",
    planner: str = "none",
    planner_budget_ms: Annotated[float, Parameter(validator=Number(gte=0))] = 0.0,
    robot_config: str = "",
    public_key: Path | None = None,
    echo: bool = True,
    robot_host: str | None = None,
    robot_python: str = "python3",
    robot_bundle: str | None = None,
    agent_external: Annotated[bool, Parameter(negative="")] = False,
    domain_id: Annotated[int | None, Parameter(validator=Number(gte=0, lte=232))] = None,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Measure an agent's latency over DDS with a simulated robot: stage by stage, and end to end.

    End to end is from a sample's stamp to the receipt of its command by the robot. A bare echo node takes turns with
    the agent and shows the physical limit of the machine. For an agent like the ones that the goals are for:

        robot-wm train --task a1_velocity --size 1m --steps 2000 --run-dir runs/a1
        robot-wm export --checkpoint runs/a1 --out a1_1m.rwm
        robot-wm hil --bundle a1_1m.rwm --rate 200 --seconds 60 --out hil

    Parameters
    ----------
    bundle
        Folder agent.rwm, agent.rwm.zip, or zoo:NAME (see `robot-wm zoo list`).
    rate
        Control rate in Hz, for the measurement only; by default the bundle's own.
    rates
        Several control rates, such as 50,100,200,500: one run each, and a table.
    seconds
        Time measured of the agent, in s, at each rate; the echo takes as long again.
    out
        Folder for hil.json and hil.png (with --rates hil_<rate>hz.png).
    deadline_ms
        A command that arrives later than this after its sample's stamp is a miss; by default the control period.
    sensor_rate
        Samples a second, in Hz; by default the control rate. With more the agent decimates.
    priority
        SCHED_FIFO priority of robot, agent and echo; 0 leaves the scheduler alone.
    cpus
        CPUs for agent and echo, such as 2,3; by default any.
    engine
        The agent's engine: onnx, or tensorrt, which is built first where it is missing.
    precision
        Of the policy's graph: fp32, fp16 or int8; the bundle must have it.
    planner
        What looks ahead before acting: none, the bundle's kind (dreamer, muzero), or auto. Also one that did not pay
        at export: it is to be measured.
    planner_budget_ms
        Time that one search may take, in ms; 0: what the planner was exported for.
    robot_config
        Name or path of the robot's firmware YAML that the agent must fit; an agent of speeds that does not see its
        joints' positions, only a camera, runs with no less.
    public_key
        Ed25519 public key (PEM) that the bundle must be signed for.
    echo
        Measure the bare echo, too.
    robot_host
        Run agent and echo on this computer, over ssh without a password; the simulator stays here. Latency is then
        a round trip on the clock of this computer.
    robot_python
        Python on that computer which finds ROS 2 and robot_wm: ssh reads no profile, so usually a two-line script
        that sources both and ends in exec python3 "$@".
    robot_bundle
        Path of the same bundle on that computer; by default as here.
    agent_external
        Wait for an agent that somebody starts by hand on another computer; what to type there is shown.
    domain_id
        ROS 2 domain; by default one that is drawn.
    json
        Print the result as one JSON object.
    """
    wanted = _rates(rates) if rates else [rate]
    if rates and rate is not None:
        raise UserError("--rate and --rates: give one of them")
    if agent_external and (robot_host is not None or rates):
        raise UserError("--agent-external: an agent started by hand runs at one rate, and not over --robot-host")
    try:
        import rclpy  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"hil needs ROS 2 ({error}): source /opt/ros/<distro>/setup.bash, or pip install 'robot-wm[ros-wheels]'"
        ) from None
    from robot_wm.evaluation.task_flags import task_options
    from robot_wm.runtime.bundle import Bundle
    from robot_wm.zoo.catalog import locate_bundle
    from robot_wm_ros.hil.report import row
    from robot_wm_ros.hil.rig import RigConfig

    path, key = locate_bundle(bundle, public_key)
    with Bundle.open(path, key) as opened:
        spec, sha256 = opened.spec, opened.manifest_sha256
        options = task_options(opened.manifest.lineage.config, spec.task)
    config = RigConfig(
        bundle=path.resolve(),
        spec=spec,
        rate_hz=spec.control_rate_hz,
        sensor_rate_hz=spec.control_rate_hz,
        seconds=seconds,
        domain_id=random.choice(_DOMAINS) if domain_id is None else domain_id,
        task_options=options,
        # A machine that is too slow for the rate is to be measured, not refused.
        agent={"engine": engine, "precision": precision, "planner": planner, "robot_config": robot_config}
        | {"live_check": False, "planner_force": True, "planner_budget_ms": planner_budget_ms}
        | ({"public_key": str(key.resolve())} if key else {"allow_unsigned": True}),
        priority=priority,
        cpus=_cpus(cpus),
        robot_host=robot_host,
        robot_python=robot_python,
        robot_bundle=robot_bundle,
        by_hand=agent_external,
    )
    about = {
        "bundle": str(bundle),
        "bundle_sha256": sha256,
        "task": spec.task,
        "spec_sha256": spec.content_hash(),
        "engine": engine,
        "precision": precision,
        "host": _host(),
        "robot_host": robot_host,
    }
    runs = []
    for each in wanted:
        rate_hz = each or spec.control_rate_hz
        picture = out and out / ("hil.png" if not rates else f"hil_{rate_hz:g}hz.png")
        runs.append(
            _run(
                replace(config, rate_hz=rate_hz, sensor_rate_hz=sensor_rate or rate_hz),
                deadline_ms=deadline_ms or 1e3 / rate_hz,
                echo=echo and not agent_external,
                picture=picture,
                about=about,
            )
        )
        result = about | ({"rows": [row(run) for run in runs], "runs": runs} if rates else runs[0])
        if out is not None:  # after each rate: minutes that were measured are not lost with the next rate's
            _write(out / "hil.json", result)
    if json:
        emit(result, as_json=True)
        return
    emit(_for_people(result), as_json=False, title=f"hil {bundle.name}")


def _for_people(result: dict[str, Any]) -> dict[str, Any]:
    """What fits into two tables: plain values and goals, then rates or distributions."""
    from robot_wm_ros.hil.report import quantities

    shown = {name: value for name, value in result.items() if not isinstance(value, dict | list)}
    shown |= result.get("load", {})
    shown |= {f"plans: {name}": value for name, value in (result.get("planner") or {}).items()}
    for name, goal in result.get("goals", {}).items():
        measured, limit = (value if value is None else f"{value:.4g}" for value in (goal["measured"], goal["limit"]))
        shown[f"goal: {name}"] = f"{measured} <= {limit}: {_MET[goal['met']]}"
    return shown | {"rows": result.get("rows") or quantities(result)}


def _run(
    config: RigConfig, *, deadline_ms: float, echo: bool, picture: Path | None, about: dict[str, Any]
) -> dict[str, Any]:
    """Measure at one rate."""
    from robot_wm_ros.hil.load import LoadMeter
    from robot_wm_ros.hil.measure import Measurement
    from robot_wm_ros.hil.plans import planner_figures
    from robot_wm_ros.hil.report import figures
    from robot_wm_ros.hil.rig import SEGMENT_S, Rig

    segments = max(1, round(config.seconds / SEGMENT_S))
    agent, bare = Measurement(), Measurement() if echo else None
    with Rig(config) as rig, messages().status("") as status:
        meter = LoadMeter()
        for number in range(segments):
            status.update(f"{config.rate_hz:g} Hz: agent, segment {number + 1} of {segments}")
            agent += rig.measure_agent(config.seconds / segments)
            if bare is not None:
                status.update(f"{config.rate_hz:g} Hz: bare echo, segment {number + 1} of {segments}")
                bare += rig.measure_echo(config.seconds / segments)
        load = meter.read()
        realtime, modes, plans = rig.realtime, rig.modes, planner_figures(rig.reports)
    if set(modes) - {"active"}:
        messages().print(f"warning: the agent ended in {', '.join(modes)}: in hold and damp it may not ask its policy")
    for process, answer in realtime.items():
        if "REFUSED" in answer:
            messages().print(f"warning: {process}: {answer}")
    result = {
        "rate_hz": config.rate_hz,
        "rate_overridden": config.rate_hz != config.spec.control_rate_hz,
        "spec_rate_hz": config.spec.control_rate_hz,
        "sensor_rate_hz": config.sensor_rate_hz,
        "seconds": config.seconds,
        "segments": segments,
        "clock": "one host: stages and end to end" if config.one_clock else "robot's: end to end is a round trip",
        "sched_fifo": bool(realtime) and all("REFUSED" not in answer for answer in realtime.values()),
        "realtime": realtime,
        "load": load,
        "agent_modes": modes,
        "planner": plans,
        **figures(agent, bare, deadline_ms=deadline_ms),
    }
    if picture is not None:
        _plot(picture, agent, bare, result, about)
    return result


def _plot(
    path: Path, agent: Measurement, echo: Measurement | None, result: dict[str, Any], about: dict[str, Any]
) -> None:
    from robot_wm_ros.hil.plot import plot_histograms
    from robot_wm_ros.hil.report import conditions, missed

    distributions = {"end to end": agent.end_to_end, "policy": agent.policy}
    plot_histograms(
        path,
        distributions | ({"bare echo": echo.end_to_end} if echo else {}),
        title=f"{about['task']} at {result['rate_hz']:g} Hz",
        deadline_ms=result["deadline_ms"],
        missed=missed(result),
        conditions=conditions(result, about),
    )


def _write(path: Path, result: dict[str, Any]) -> None:
    from robot_wm.atomic import atomic_file

    with atomic_file(path) as temporary:
        temporary.write_text(json_format.dumps(result, indent=2))


def _rates(text: str) -> list[float | None]:
    try:
        rates = [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--rates {text}: expected numbers in Hz with commas, such as 50,100,200,500") from None
    for rate in rates:
        if not 0 < rate < float("inf"):
            raise UserError(f"--rates {text}: {rate:g} Hz is not positive")
    return list(rates)


def _cpus(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if text)
    except ValueError:
        raise UserError(f"--cpus {text}: expected CPU numbers with commas, such as 2,3") from None


def _host() -> dict[str, Any]:
    from rclpy.utilities import get_rmw_implementation_identifier

    return {
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "preempt_rt": Path("/sys/kernel/realtime").exists(),
        "python": platform.python_version(),
        "ros_distro": os.environ.get("ROS_DISTRO"),
        "rmw": get_rmw_implementation_identifier(),
    }
