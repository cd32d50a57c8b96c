"""The agent's tick on the robot: a sample or the watchdog in, a command, its trace and its record out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.clock import Clock

from robot_wm.runtime.controller import Command, Controller
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
SETTLE_S = 2.0  # so long a speed may take to come down to zero under its rate limit

_STALE = int(Fault.STALE)
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
        self.ticks = 0  # since the node was configured
        self.last: Command | None = None  # what the controller decided last
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
        self._wait_until_s = time.monotonic() + self._sensor_wait_s
        self._watchdog.feed(self._wait_until_s)
        self._controller.start_episode()
        self.driving = True

    def sample(self, message: Any, info: Mapping[str, Any] | None = None) -> None:
        """A message of the trigger's topic has come."""
        receipt_ns = time.time_ns()
        self.arrivals.add(info)
        now_s = self._clock.now().nanoseconds * 1e-9
        stamp_s = self._trigger.read(message, now_s)
        if not self.driving:
            return
        if not (self._decimator.due(stamp_s) and self._cap.allows(now_s)):
            self.arrivals.decimated += 1
            return
        if self._awaits_sensors(now_s):
            return
        self.arrivals.ticks += 1
        self._watchdog.feed(time.monotonic())
        self._frame.refresh(now_s)
        self._tick(self._frame.observation, now_s, _stamp_ns(message, receipt_ns), receipt_ns)
        # From when the middleware had the sample: it may have waited while the node did something else.
        queue_ns = receipt_ns - (receipt_ns if info is None else info["received_timestamp"])
        queue_ns = queue_ns if 0 <= queue_ns < _LONGEST_QUEUE_NS else 0
        self.lateness.add((self._published_ns - receipt_ns + queue_ns) * 1e-3)

    def _awaits_sensors(self, now_s: float) -> bool:
        """Whether the first tick can still wait for a field that no message has filled: no command, ``~/damp`` true."""
        if self._wait_until_s == float("-inf"):
            return False
        self._frame.refresh(now_s)
        is_complete = all(value is not None for value in self._frame.observation.values())
        if is_complete or time.monotonic() >= self._wait_until_s:
            self._wait_until_s = float("-inf")
        return self._wait_until_s != float("-inf")

    def patience_s(self) -> float:
        """How long nothing but messages matters."""
        return self._watchdog.remaining_s(time.monotonic()) if self.driving else self._period_s

    def watch(self) -> None:
        """Tick if no sample did for too long."""
        steady_s = time.monotonic()
        if not self.driving or not self._watchdog.barks(steady_s):
            return
        now_ns = time.time_ns()
        now_s = self._clock.now().nanoseconds * 1e-9
        self._frame.refresh(now_s)
        why = f"{self._trigger.topic}: no new sample for {self._watchdog.silence_s(steady_s):.3g} s"
        self._tick(self._frame.observation, now_s, now_ns, now_ns, faults=_STALE, why=why)

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
        faults: int = 0,
        why: str = "",
    ) -> Command:
        late = self.lateness
        if late.fault:
            faults, why = faults | late.fault, f"{why}; {late.why}" if why else late.why
        begin_ns = time.time_ns()
        command = self._controller.step(observation, now_s, self._frame.stamps_s, faults=faults, why=why)
        self._commands.publish(command.command)
        self._published_ns = publish_ns = time.time_ns()
        self._damp.set(command.damp)
        self.ticks += 1
        self.last, self.last_s = command, time.monotonic()
        if self.tracing:
            self._trace.publish(
                self.ticks,
                stamp_ns,
                receipt_ns,
                begin_ns + int((command.observe_us + command.infer_us) * 1e3),
                begin_ns + int(command.total_us * 1e3),
                publish_ns,
            )
        if self._recorder is not None:
            self._recorder.add(observation, command, stamp_ns=stamp_ns, receipt_ns=receipt_ns, publish_ns=publish_ns)
        if self.driving:
            self._events.add(command, self._frame.problem if command.fault_bits else "", self.last_s)
        return command

    # -- stopping ---------------------------------------------------------------------------------------------------

    def stop(self, wait: Callable[[float], None], *, hold: bool, hurry: Callable[[], bool]) -> None:
        """Stop driving: hold for the controller's hold_s if asked, then damp, until the command rests.

        ``wait`` spends a control period in seconds; ``hurry`` says whether to skip what is left of the hold.
        Harmless if not driving.
        """
        if not self.driving:
            return
        self.driving = False
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
        controller.disable()
        self._events.mode = controller.mode
        self._damp.settle()


def _stamp_ns(message: Any, receipt_ns: int) -> int:
    """The header's stamp, exactly."""
    try:
        stamp = message.header.stamp
    except AttributeError:
        return receipt_ns
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
