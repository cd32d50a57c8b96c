"""The agent's tick on the robot: a sample or the watchdog in, a command, its trace and its record out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.clock import Clock

from robot_wm.runtime.command import Command
from robot_wm.runtime.controller import Controller
from robot_wm.runtime.decimation import Decimator, TickCap
from robot_wm.runtime.faults import Fault
from robot_wm.runtime.modes import Mode
from robot_wm.runtime.recorder import TickRecorder
from robot_wm_ros.arrivals import Arrivals
from robot_wm_ros.bindings import Input
from robot_wm_ros.commands import CommandPublisher
from robot_wm_ros.event_log import EventLog
from robot_wm_ros.lateness import Lateness
from robot_wm_ros.outputs import DampFlag, TracePublisher
from robot_wm_ros.sensor_frame import SensorFrame
from robot_wm_ros.watchdog import Watchdog

DAMP_TICKS = 5  # the damping command is published so often at the least before the agent falls silent
LOOK_S = 2.0  # an agent has at least so long to look at its robot before it drives it
SETTLE_S = 2.0  # so long a speed may take to come down to zero under its rate limit

_STALE, _STALLED = int(Fault.STALE), int(Fault.STALLED)
_LIMP = (Mode.INACTIVE, Mode.DAMP, Mode.ESTOP)
_LONGEST_QUEUE_NS = 1_000_000_000  # a sample that seems to have waited for longer tells of a clock that was set


class Ticker:
    """Ticks a controller for as long as ``driving`` is set; one thread calls everything here.

    Samples of ``trigger`` tick at the control rate by their stamps. Where none comes for its max_age_s, the watchdog
    ticks with a fault of its own making, on a steady clock, whatever the stamps and the ROS clock say.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        controller: Controller,
        frame: SensorFrame,
        trigger: Input,
        commands: CommandPublisher,
        damp: DampFlag,
        trace: TracePublisher,
        recorder: TickRecorder | None,
        lateness: Lateness,
        events: EventLog,
        sensor_wait_s: float = 0.0,
    ) -> None:
        self._clock, self._controller, self._frame, self._trigger = clock, controller, frame, trigger
        self._commands, self._damp, self._trace, self._recorder = commands, damp, trace, recorder
        self.lateness = lateness
        self.arrivals = Arrivals()
        self.tracing = False
        self.driving = False
        self.commanding = False  # the same until the command rests: what is needed of a guardian
        self.ticks = 0  # since the node was configured
        self.last: Command | None = None  # what the controller decided last, since it drives
        self.last_s = float("nan")  # when, on the steady clock
        self._events = events
        self._sensor_wait_s = sensor_wait_s
        self._wait_until_s = float("-inf")  # for fields that no message has filled yet, on the steady clock
        self._nothing: dict[str, NDArray[Any] | None] = dict.fromkeys(frame.observation)
        self._published_ns = 0
        self._period_s = controller.spec.control_period_s
        self._decimator = Decimator(self._period_s)
        self._cap = TickCap(self._period_s)
        self._watchdog = Watchdog(max_age_s=trigger.max_age_s, period_s=self._period_s)

    # -- driving ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Drive from now on; sensors that are not there yet have ``sensor_wait_s`` to come, nothing moving before."""
        self._decimator.restart()
        self.arrivals.clear()
        self.lateness.clear()
        live = self._controller.live
        wait_s = self._sensor_wait_s if live is None or live.is_decided else max(self._sensor_wait_s, LOOK_S)
        self._wait_until_s = time.monotonic() + wait_s
        self._watchdog.feed(self._wait_until_s)
        self._controller.start_episode()
        # What was commanded before is no command for a robot that may be elsewhere by now.
        self.last, self.last_s = None, float("nan")
        self.driving = self.commanding = True

    def sample(self, message: Any, info: Mapping[str, Any] | None = None) -> None:
        """A message of the trigger's topic has come."""
        receipt_ns, received_s = time.time_ns(), time.monotonic()
        now_s = self._clock.now().nanoseconds * 1e-9
        stamp_s = self._trigger.read(message, now_s)
        if math.isnan(stamp_s):
            return  # of other joints
        self.arrivals.add(info)
        if not self.driving:
            if self._controller.live is not None and self._decimator.due(stamp_s):
                self._look(now_s)
            return
        if not (self._decimator.due(stamp_s) and self._cap.allows(now_s)):
            self.arrivals.decimated += 1
            return
        if self._awaits_sensors(now_s):
            return
        self.arrivals.ticks += 1
        # Before this sample tells of the present: was anybody there to miss those before it?
        steady_s = time.monotonic()
        overdue_s = self._watchdog.overdue_s(steady_s)
        self._watchdog.feed(steady_s)
        self._frame.refresh(now_s)
        stamp_ns = _stamp_ns(message, receipt_ns)
        # From when the middleware had the sample: it may have waited while the node did something else.
        queue_ns = receipt_ns - (receipt_ns if info is None else info["received_timestamp"])
        queue_ns = queue_ns if 0 <= queue_ns < _LONGEST_QUEUE_NS else 0
        received_s -= queue_ns * 1e-9
        self._tick(self._frame.observation, now_s, stamp_ns, receipt_ns, received_s=received_s, overdue_s=overdue_s)
        self.lateness.add((self._published_ns - receipt_ns + queue_ns) * 1e-3)

    def _awaits_sensors(self, now_s: float) -> bool:
        """Whether the first tick can still wait: no command, ``~/damp`` true.

        For a field that no message has filled, and for a robot that the agent has not looked at for long enough.
        """
        if self._wait_until_s == float("-inf"):
            return False
        self._frame.refresh(now_s)
        is_complete = all(value is not None for value in self._frame.observation.values())
        live = self._controller.live
        if is_complete and live is not None:
            self._wait_until_s = min(self._wait_until_s, time.monotonic() + LOOK_S)
            self._look(now_s)
            # What was seen while the robot was still put down, or its world reset, may be over.
            is_complete = live.is_decided and not live.rest_problems()
        if is_complete or time.monotonic() >= self._wait_until_s:
            self._wait_until_s = float("-inf")
        return self._wait_until_s != float("-inf")

    def _look(self, now_s: float) -> None:
        """Show the agent the robot that nobody drives, as far as sensors have told of it."""
        self._frame.refresh(now_s)
        if all(value is not None for value in self._frame.observation.values()):
            self._controller.look(self._frame.observation, now_s, self._frame.stamps_s)

    def patience_s(self) -> float:
        """How long nothing but messages matters."""
        return self._watchdog.remaining_s(time.monotonic()) if self.driving else self._period_s

    def watch(self) -> None:
        """Tick if no sample did for too long."""
        steady_s = time.monotonic()
        overdue_s = self._watchdog.overdue_s(steady_s)
        if not self.driving or not self._watchdog.barks(steady_s):
            return
        now_ns = time.time_ns()
        now_s = self._clock.now().nanoseconds * 1e-9
        self._frame.refresh(now_s)
        why = f"{self._trigger.topic}: no new sample for {self._watchdog.silence_s(steady_s):.3g} s"
        self._tick(self._frame.observation, now_s, now_ns, now_ns, faults=_STALE, why=why, overdue_s=overdue_s)

    def tick_now(self) -> None:
        """Tick out of turn, so that a request such as an e-stop shows in a command at once."""
        if self.driving:
            now_ns, now_s = time.time_ns(), self._clock.now().nanoseconds * 1e-9
            self._tick(self._frame.observation, now_s, now_ns, now_ns)

    def _tick(
        self,
        observation: Mapping[str, NDArray[Any] | None],
        now_s: float,
        stamp_ns: int,
        receipt_ns: int,
        *,
        received_s: float | None = None,
        faults: int = 0,
        why: str = "",
        overdue_s: float = 0.0,
    ) -> Command:
        late = self.lateness
        if late.fault:
            faults, why = faults | late.fault, f"{why}; {late.why}" if why else late.why
        begin_ns, begin_s = time.time_ns(), time.monotonic()
        command = self._step(observation, now_s, faults, why, overdue_s, received_s)
        too_long_s = time.monotonic() - begin_s - self._watchdog.patience_s
        if self.driving and too_long_s > 0.0:
            # What was computed is of a robot that has moved on; it does not go out.
            command = self._step(observation, now_s, faults, why, too_long_s + self._period_s)
        if command.damp:
            self._damp.set(True)
        self._commands.publish(command.command)
        self._published_ns = publish_ns = time.time_ns()
        if not command.damp:
            self._damp.set(False)
        self.ticks += 1
        self.last, self.last_s = command, time.monotonic()
        if self.tracing:
            self._trace.publish(
                self.ticks,
                stamp_ns,
                receipt_ns,
                begin_ns + int((command.observe_us + command.infer_us + command.plan_us) * 1e3),
                begin_ns + int(command.total_us * 1e3),
                publish_ns,
            )
        if self._recorder is not None:
            self._recorder.add(observation, command, stamp_ns=stamp_ns, receipt_ns=receipt_ns, publish_ns=publish_ns)
        if self.driving:
            self._events.add(command, self._frame.problem if command.fault_bits else "", self.last_s)
        return command

    def _step(
        self,
        observation: Mapping[str, NDArray[Any] | None],
        now_s: float,
        faults: int,
        why: str,
        overdue_s: float,
        received_s: float | None = None,
    ) -> Command:
        """One step of the controller; more than a period overdue it is a fault, and so were the ticks before it."""
        missed_ticks = int(overdue_s / self._period_s)
        if missed_ticks:
            stall = f"this process did not tick for {overdue_s:.3g} s longer than it may"
            faults, why = faults | _STALLED, f"{stall}; {why}" if why else stall
        return self._controller.step(
            observation,
            now_s,
            self._frame.stamps_s,
            received_s=received_s,
            faults=faults,
            why=why,
            missed_ticks=missed_ticks,
        )

    # -- stopping ---------------------------------------------------------------------------------------------------

    def stop(self, wait: Callable[[float], None], *, hold: bool, hurry: Callable[[], bool]) -> None:
        """Stop driving: hold for the controller's hold_s if asked, then damp, until the command rests.

        ``wait`` spends a control period in seconds; ``hurry`` says whether to skip what is left of the hold.
        Harmless if not driving.
        """
        if not self.driving:
            return
        self.driving = False
        if not hold:
            self._damp.insist()
        try:
            self._wind_down(wait, hold=hold, hurry=hurry)
        finally:
            # Also where a command could not be sent.
            self._controller.disable()
            if self._controller.live is not None:
                self._controller.live.forget_rest()
            self._events.mode = self._controller.mode
            self._damp.insist()
        self.commanding = False

    def _wind_down(self, wait: Callable[[float], None], *, hold: bool, hurry: Callable[[], bool]) -> None:
        controller = self._controller
        damped = 0  # ticks
        settle_s = float("inf")  # steady clock
        last: NDArray[np.float32] | None = None  # [A]
        while True:
            if not hold or hurry():
                controller.disable()  # an e-stop stays
            now_ns, now_s = time.time_ns(), self._clock.now().nanoseconds * 1e-9
            command = self._tick(self._nothing, now_s, now_ns, now_ns)
            if command.mode in _LIMP:
                damped += 1
                settle_s = min(settle_s, self.last_s + SETTLE_S)
            rests = last is not None and np.array_equal(command.command, last)
            if damped >= DAMP_TICKS and (rests or self.last_s >= settle_s):
                break
            last = command.command.copy()
            wait(self._period_s)


def _stamp_ns(message: Any, receipt_ns: int) -> int:
    """The header's stamp, exactly."""
    try:
        stamp = message.header.stamp
    except AttributeError:
        return receipt_ns
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
