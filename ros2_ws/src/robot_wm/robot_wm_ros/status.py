"""What the agent reports of itself once a second, gathered in one place."""

from __future__ import annotations

import math
import threading

from robot_wm.runtime.faults import fault_names
from robot_wm.runtime.planning.use import PlanningReport
from robot_wm.runtime.realtime import Grant
from robot_wm.runtime.recorder import TickRecorder
from robot_wm.runtime.thermal import temperatures_c
from robot_wm_ros.diagnostics import AgentStatus
from robot_wm_ros.loading import LoadedAgent
from robot_wm_ros.preflight import Preflight
from robot_wm_ros.tick import Ticker

THERMAL_S = 5.0


class StatusSource:
    """Turns counters into the rates and differences of one report after another."""

    def __init__(
        self,
        agent: LoadedAgent,
        ticker: Ticker,
        recorder: TickRecorder | None,
        preflight: Preflight,
        *,
        engine: str,
        surprise_limit: float | None,
    ) -> None:
        self._agent, self._ticker, self._recorder, self._preflight = agent, ticker, recorder, preflight
        self._engine, self._limit = engine, surprise_limit
        self._bundle_sha256, self._spec_hash = agent.bundle.manifest_sha256, agent.spec.content_hash()
        self._ticks = self._misses = self._received = 0
        self._last_s = math.nan

    def status(
        self,
        now_s: float,
        *,
        ros_now_s: float,
        lifecycle: str,
        temperatures: dict[str, float],
        realtime: tuple[Grant, ...],
    ) -> AgentStatus:
        """The status now; ``now_s`` is the steady clock's. Rates and new misses are those since the last call."""
        ticker, recorder, command = self._ticker, self._recorder, self._ticker.last
        thinker = self._agent.controller.thinker
        plans = None if thinker is None else thinker.report()
        arrivals, latency = ticker.arrivals, ticker.lateness.delays.summary()
        elapsed_s = now_s - self._last_s
        ticks, misses = ticker.ticks - self._ticks, latency.deadline_misses - self._misses
        self._ticks, self._misses, self._last_s = ticker.ticks, latency.deadline_misses, now_s
        # Counting began anew where it is less.
        received, self._received = arrivals.received - self._received, arrivals.received
        trigger_rate_hz = received / elapsed_s if received >= 0 and elapsed_s > 0 else math.nan
        return AgentStatus(
            mode=self._agent.controller.mode,
            lifecycle=lifecycle,
            rate_hz=ticks / elapsed_s if ticker.driving and elapsed_s > 0 else math.nan,
            wanted_rate_hz=self._agent.controller.spec.control_rate_hz,
            latency=latency,
            tick_age_s=now_s - ticker.last_s,
            deadline_misses=latency.deadline_misses,
            new_deadline_misses=misses,
            surprise=math.nan if command is None else command.surprise,
            surprise_limit=self._limit,
            surprise_unit=self._agent.bundle.manifest.surprise_unit,
            alarm="" if command is None or not ticker.driving else self._agent.controller.alarm,
            fault_names=() if command is None or not ticker.driving else fault_names(command.fault_bits),
            detail="" if command is None or not ticker.driving else command.detail,
            engine=self._engine,
            bundle_sha256=self._bundle_sha256,
            is_signed=self._agent.bundle.signature_checked,
            spec_hash=self._spec_hash,
            temperatures_c=temperatures,
            plans=plans,
            received=arrivals.received,
            decimated=arrivals.decimated,
            superseded=arrivals.superseded,
            lost=arrivals.lost,
            recorder_written=0 if recorder is None else recorder.written,
            recorder_dropped=0 if recorder is None else recorder.dropped,
            recorder_dropped_messages=0 if recorder is None else recorder.beside.dropped,
            recorder_rested=0 if recorder is None else recorder.rested,
            recorder_error="" if recorder is None else recorder.error,
            realtime=realtime,
            not_ready=self._preflight.problems(ros_now_s, trigger_rate_hz),
            unwatched=self._preflight.unwatched,
            doubts=(*self._preflight.doubts(), *_planner_doubts(plans)),
        )


def _planner_doubts(plans: PlanningReport | None) -> tuple[str, ...]:
    """What is wrong with a planner, but for what somebody has asked for."""
    if plans is None or not plans.by_failures:
        return ()
    return (f"the actor acts alone: {plans.why_off}; ~/enable_planner plans again",)


class Thermometer:
    """Reads the machine's temperatures on a thread of its own: some sensors take longer to answer than a tick."""

    def __init__(self) -> None:
        self.temperatures_c: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, name="thermometer", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while True:
            self.temperatures_c = temperatures_c()
            if self._stop.wait(THERMAL_S):
                return

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()
