"""What an agent would find if it were activated now: sensors silent, broken, slow or double, controllers that do not
listen, others that command, and what nothing watches.
"""

from __future__ import annotations

import math

from robot_wm.errors import UserError
from robot_wm.runtime.controller import Controller
from robot_wm_ros.bindings import Input
from robot_wm_ros.commanders import Commanders
from robot_wm_ros.commands import CommandPublisher
from robot_wm_ros.controllers import ControllerWatch
from robot_wm_ros.heartbeat import Heartbeat
from robot_wm_ros.publishers import Publishers
from robot_wm_ros.sensor_frame import SensorFrame

SLOW = 0.9  # of the control rate; a sensor that is slower cannot make the agent tick at its own


class Preflight:
    """Looks at the sensors that have come since the node was configured, whether or not it drives."""

    def __init__(
        self,
        frame: SensorFrame,
        inputs: tuple[Input, ...],
        commands: CommandPublisher,
        controller: Controller,
        publishers: Publishers,
        watch: ControllerWatch,
        commanders: Commanders,
        heartbeat: Heartbeat,
    ) -> None:
        self._frame, self._commands, self._controller = frame, commands, controller
        self._publishers, self._watch, self._commanders, self._heartbeat = publishers, watch, commanders, heartbeat
        self._wanted_rate_hz = controller.spec.control_rate_hz
        # What an operator has not said (yet) is a command of zero, and no sensor's fault.
        self._inputs = [entry for entry in inputs if any(frame.needs_message(name) for name in entry.fields)]

    def require_clear(self, *, allow_sensors: bool, allow_commanders: bool) -> None:
        """Refuse (UserError) to drive where two sensors would be believed in turns, two would command, other joints
        would move, or what the robot shows at rest is not what the agent knows.
        """
        rivals = () if allow_sensors else self._publishers.rivals()
        if rivals:
            raise UserError(f"{'; '.join(rivals)}: stop the others, or set allow_rival_sensors")
        if not allow_commanders and (others := self._commanders.rivals()):
            raise UserError(f"{others}: stop the others, or set allow_rival_commanders")
        if self._watch.mismatch:
            raise UserError(self._watch.mismatch)
        live = self._controller.live
        if live is not None and live.is_decided and (found := live.rest_problems()):
            raise UserError(f"the robot is not as the agent knows it: {'; '.join(found)}")

    def doubts(self) -> tuple[str, ...]:
        """What is wrong around the agent, whether or not it drives."""
        unheard = "" if self._commands.listeners else f"nobody listens to {self._commands.topic}"
        found = [
            unheard,
            self._watch.state,
            self._watch.mismatch,
            *self._publishers.rivals(),
            self._commanders.rivals(),
            self._heartbeat.doubt,
        ]
        return tuple(filter(None, found))

    @property
    def unwatched(self) -> tuple[str, ...]:
        """What would go unnoticed once the agent drives."""
        alone = "nobody hears ~/heartbeat: without a guardian nobody notices if this process hangs"
        return (*self._controller.unwatched, *(() if self._heartbeat.is_heard else (alone,)))

    def problems(self, now_s: float, trigger_rate_hz: float) -> tuple[str, ...]:
        """Of the sensors, in words; ``now_s`` is ROS time, ``trigger_rate_hz`` NaN where it is not known."""
        found = []
        for entry in self._inputs:
            stamps_s = [self._frame.stamps_s[name] for name in entry.fields if self._frame.needs_message(name)]
            age_s = now_s - min(stamps_s)
            if math.isnan(age_s):
                found.append(f"{entry.topic}: no message yet")
            elif problem := self._frame.problems[entry.topic]:
                found.append(f"{entry.topic}: {problem}")
            elif not -entry.max_age_s <= age_s <= entry.max_age_s:
                found.append(f"{entry.topic}: silent, the last message is {age_s:.3g} s old")
            elif entry.is_trigger and trigger_rate_hz < SLOW * self._wanted_rate_hz:
                found.append(f"{entry.topic} comes at {trigger_rate_hz:.3g} Hz, {self._wanted_rate_hz:g} Hz wanted")
        if not found and self._controller.live is not None:
            found = self._controller.live.rest_problems()
        return tuple(found)
