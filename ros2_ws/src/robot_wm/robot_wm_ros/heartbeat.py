"""``~/heartbeat``: the agent's word to its guardian that it is alive, and what to send if that word stops."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from rclpy.duration import Duration
from rclpy.node import Node
from std_msgs.msg import String

from robot_wm.spec import ActionSpec
from robot_wm_ros.commands import CommandRoute
from robot_wm_ros.outputs import ACKNOWLEDGED_S
from robot_wm_ros.qos import HEARTBEAT

TOPIC = "~/heartbeat"
BEAT_S = 0.05
SILENCE_S = 0.5  # the least that a guardian bears: a busy machine holds a process up for longer than one thinks


class Beat(CommandRoute):
    """One heartbeat, as JSON in a ``std_msgs/String``: where safe commands are to go, and which ones."""

    is_driving: bool = Field(description="whether silence is to be answered: until the command rests")
    silence_s: float = Field(gt=0, description="longer is a dead agent")
    command: tuple[float, ...] = Field(description="[A] safe now, SI: the last position, or no velocity and no effort")
    action: ActionSpec


class Heartbeat:
    """Publishes beats while it is called often enough; a beat costs nothing in between."""

    def __init__(self, node: Node, action: ActionSpec, route: CommandRoute, *, patience_s: float) -> None:
        """``patience_s`` is after how long the agent itself would have damped its robot."""
        self._node = node
        self._publisher = node.create_publisher(String, TOPIC, HEARTBEAT)
        self._keeps = action.mode == "position"
        self._rest = (0.0,) * len(action.joints)
        self._common: dict[str, Any] = {
            "silence_s": max(SILENCE_S, patience_s),
            "action": action,
            **route.model_dump(),
        }
        self._sent_s = float("-inf")
        self._was_driving = self._was_heard = False

    def beat(self, now_s: float, is_driving: bool, command: NDArray[np.float32] | None) -> None:
        """Publish, if it is time or a change; ``command`` [A] is the agent's last, ``now_s`` the steady clock's."""
        if is_driving is self._was_driving and now_s - self._sent_s < BEAT_S:
            return
        self._sent_s, self._was_driving = now_s, is_driving
        safe = self._rest if command is None or not self._keeps else tuple(command.tolist())
        # A position that is not known yet is nothing to hold.
        beat = Beat.model_construct(is_driving=is_driving and command is not None, command=safe, **self._common)
        self._publisher.publish(String(data=beat.model_dump_json()))

    def rest(self) -> None:
        """Say that nothing is commanded any more, and wait until that is heard, if somebody listens."""
        self.beat(float("inf"), False, None)
        self._sent_s = float("-inf")
        with suppress(Exception):  # not every middleware knows; the robot rests in any case
            self._publisher.wait_for_all_acked(Duration(seconds=ACKNOWLEDGED_S))

    @property
    def is_heard(self) -> bool:
        """Whether there is a guardian."""
        is_heard = bool(self._publisher.get_subscription_count())
        self._was_heard |= is_heard
        return is_heard

    @property
    def doubt(self) -> str:
        """That the guardian is gone, if there was one; "" if not."""
        return "" if self.is_heard or not self._was_heard else "the guardian is gone: nobody hears ~/heartbeat"

    def destroy(self) -> None:
        """Take the publisher off the node."""
        self._node.destroy_publisher(self._publisher)
