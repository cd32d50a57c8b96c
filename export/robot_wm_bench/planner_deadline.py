"""`robot-wm bench planner_deadline`: does a planner ever make a command late? Beside no planner, in one run.

A loop ticks a bundle's controller on a grid of absolute times while other processes keep every core busy. With and
without the planner take turns of some seconds, so that whatever else the machine does falls on both. A command's delay
is from when its sample was due, when it counts as received, until ``Controller.step`` is back.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from cyclopts import Parameter
from cyclopts.validators import Number

from robot_wm.console import emit, messages, progress
from robot_wm.errors import UserError
from robot_wm.options import Positive

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robot_wm.runtime.bundle import Bundle
    from robot_wm.runtime.controller import Controller

_TURN_S = 5.0
_SETTLE_TICKS = 20  # at the begin of a turn, which count for nothing
_BUSY = "while True: pass"


def bench_planner_deadline(
    *,
    bundle: Path,
    public_key: Path | None = None,
    planner: str = "auto",
    ticks: Annotated[int, Positive] = 20_000,
    rate: Annotated[float, Parameter(validator=Number(gt=0))] = 200.0,
    deadline_ms: Annotated[float, Parameter(validator=Number(gt=0))] = 5.0,
    budget_ms: Annotated[float, Parameter(validator=Number(gte=0))] = 0.0,
    margin_ms: Annotated[float, Parameter(validator=Number(gte=0))] = 0.0,
    share: Annotated[float, Parameter(validator=Number(gte=0, lte=1))] = 1.0,
    reuse_ticks: Annotated[int, Parameter(validator=Number(gte=0))] = 0,
    waits: bool = True,
    late_limit: Annotated[int, Parameter(validator=Number(gte=0))] = 0,
    load: Annotated[int | None, Parameter(validator=Number(gte=0))] = None,
    priority: Annotated[int, Parameter(validator=Number(gte=0, lte=99))] = 0,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Count the commands that come late with a bundle's planner, and without it.

    Every tick searches unless told otherwise: what a robot's gate lets through is a share of that. A command counts as
    late by planning if it was late and, less the time that was spent on planning, would not have been.

    Parameters
    ----------
    bundle
        Folder agent.rwm or agent.rwm.zip with a planner (`robot-wm export --planner`).
    public_key
        Ed25519 public key (PEM) that the bundle must be signed for.
    planner
        auto, or the bundle's kind.
    ticks
        Of each: with the planner, and without.
    rate
        Ticks a second.
    deadline_ms
        What a command may take from its sample, in ms.
    budget_ms
        What a search may take, in ms; 0: what it was exported for, and in any case up to the margin.
    margin_ms
        What is kept free before the deadline, in ms; 0: what a robot keeps free by itself.
    share
        Of the ticks that may search.
    reuse_ticks
        Ticks after its search that a plan is used.
    waits
        Ticks wait for the plan that they asked for.
    late_limit
        Failures in a row after which the planner is given up, as on a robot; 0: it never is.
    load
        Processes that keep a core busy each; if not given, one a core.
    priority
        SCHED_FIFO priority of the loop, whose planner runs one below; 0: ordinary scheduling, as the load's.
    json
        Print the result as one JSON object; durations are in microseconds.
    """
    from robot_wm.runtime.bundle import Bundle
    from robot_wm.runtime.planning.config import PlanningConfig

    config = PlanningConfig(
        budget_s=budget_ms * 1e-3 or None,
        margin_s=margin_ms * 1e-3 or None,
        share=share,
        burst=max(1, round(rate)),
        max_age=reuse_ticks,
        waits=waits,
        gain_limit=-float("inf"),
        look_ticks=1,
        surprise_limit=float("inf"),  # one frame shown again and again surprises a model, which is not the question
        late_limit=late_limit or 2**31,
    )
    with Bundle.open(bundle, public_key) as opened:
        result = measure(
            opened,
            planner=planner,
            config=config,
            ticks=ticks,
            rate_hz=rate,
            deadline_s=deadline_ms * 1e-3,
            load=(os.cpu_count() or 1) if load is None else load,
            priority=priority,
        )
    emit(result, as_json=json, title=f"commands later than {deadline_ms:g} ms after their sample, µs")


def measure(
    bundle: Bundle,
    *,
    planner: str,
    config: Any,
    ticks: int,
    rate_hz: float,
    deadline_s: float,
    load: int,
    priority: int,
) -> dict[str, Any]:
    """Both arms in turns; a row of plain values for each. Raises UserError for a bundle without a planner."""
    from robot_wm.runtime.planning.request import PlannerRequest
    from robot_wm.runtime.realtime import RealtimeConfig, apply_realtime
    from robot_wm.runtime.safety import SafetyConfig
    from robot_wm.runtime.start import start_controller
    from robot_wm.tasks import agent_spec, make_env

    safety = SafetyConfig(soft_start_s=0.0, deadline_s=deadline_s, following_s=float("inf"))
    env = make_env(bundle.spec.task)
    try:
        if agent_spec(env).content_hash() != bundle.spec.content_hash():
            raise UserError(f"{bundle.path}: its task {bundle.spec.task} is another one here; export the agent again")
        frame, _ = env.reset(seed=0)
    finally:
        env.close()
    with ExitStack() as undo:
        opened = PlannerRequest(planner, forced=True, config=config).open(bundle, tell=messages().print)
        if opened is None:
            raise UserError(f"{bundle.path}: has no planner to measure")
        planned = undo.enter_context(start_controller(bundle, config=safety, planner=opened, planning=config))
        alone = undo.enter_context(start_controller(bundle, config=safety))
        undo.enter_context(_busy(load))
        grants = apply_realtime(RealtimeConfig(fifo_priority=priority), background=(opened.thread_id,))
        undo.callback(gc.unfreeze)
        stolen_s = _stolen_s()
        arms = [_Arm(alone, frame, ticks), _Arm(planned, frame, ticks)]
        turn = max(1, round(_TURN_S * rate_hz))
        with progress() as bar:
            task = bar.add_task("ticks", total=2 * ticks, note="")
            while any(arm.done < ticks for arm in arms):
                for arm in arms:
                    bar.update(task, advance=arm.run(min(turn, ticks - arm.done), 1.0 / rate_hz), note="")
        rows = [
            {"planner": "none", **arms[0].figures(deadline_s)},
            {"planner": _report(planned).planner, **arms[1].figures(deadline_s), **_counts(planned)},
        ]
    return {
        "task": bundle.spec.task,
        "bundle_sha256": bundle.manifest_sha256,
        "cores": os.cpu_count(),
        "busy_processes": load,
        "rate_hz": rate_hz,
        "deadline_us": deadline_s * 1e6,
        "scheduler": "; ".join(map(str, grants)),
        "stolen_s": _stolen_s() - stolen_s,
        "late_beyond_none": max(0, rows[1]["late"] - rows[0]["late"]),
        "rows": rows,
    }


class _Arm:
    """One controller's ticks: what each took, from its sample's time on, and how much of that was planning."""

    def __init__(self, controller: Controller, frame: dict[str, NDArray[Any]], ticks: int) -> None:
        self._controller, self._frame = controller, frame
        self._delays_us, self._plans_us = np.zeros(ticks), np.zeros(ticks)  # [ticks] each
        self._now_s = 0.0  # of the robot, whose clock is its own: its rate may be another one
        self.done = 0
        self.skipped = 0  # ticks of the grid that were over before they could begin
        controller.enable()

    def run(self, ticks: int, period_s: float) -> int:
        """A turn of so many ticks after some that do not count; returns how many."""
        from robot_wm.runtime.pace import Pace

        pace = Pace(period_s)
        for number in range(-_SETTLE_TICKS, ticks):
            due_s = pace.due_s
            pace.wait()
            self._now_s += self._controller.spec.control_period_s
            command = self._controller.step(self._frame, self._now_s, received_s=due_s)
            delay_s = time.monotonic() - due_s
            if number >= 0:
                self._delays_us[self.done], self._plans_us[self.done] = delay_s * 1e6, command.plan_us
                self.done += 1
                self.skipped += max(0, int(delay_s / period_s) - 1)
            pace.done()
        if command.fault_bits:
            raise UserError(f"the agent does not drive: {command.detail}")
        return ticks

    def figures(self, deadline_s: float) -> dict[str, Any]:
        """Counts and percentiles."""
        delays_us, deadline_us = self._delays_us, deadline_s * 1e6
        late = delays_us > deadline_us
        p50, p99, p999 = np.percentile(delays_us, (50, 99, 99.9)).tolist()
        return {
            "ticks": self.done,
            "late": int(late.sum()),
            "late_by_planning": int((late & (delays_us - self._plans_us <= deadline_us)).sum()),
            "skipped_ticks": self.skipped,
            "p50_us": p50,
            "p99_us": p99,
            "p999_us": p999,
            "max_us": float(delays_us.max()),
        }


def _report(controller: Controller) -> Any:
    assert controller.thinker is not None
    return controller.thinker.report()


def _counts(controller: Controller) -> dict[str, Any]:
    report = _report(controller)
    plans = {f"plan_{name}": getattr(report.latency, name) for name in ("p50_us", "p99_us", "max_us")}
    shown = ("searches", "planned", "reused", "overtaken", "overslept", "refused", "hurried", "broken", "not_finite")
    return {"late_plans": report.counts["late"], **{name: report.counts[name] for name in shown}, **plans}


def _stolen_s() -> float:
    """Processor time that the machine's own host has taken from it so far; NaN where the kernel does not tell."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
        return int(fields[8]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return float("nan")


@contextmanager
def _busy(processes: int) -> Iterator[None]:
    """So many processes that only compute, as any other process may."""
    running = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()
