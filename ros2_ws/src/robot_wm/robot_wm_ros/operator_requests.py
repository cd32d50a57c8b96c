"""What a person asks of the agent: ``~/enable``, ``~/enable_planner``, ``~/estop``, ``~/reset``; the e-stop as a topic.

They are there as long as the node, so that an e-stop is heard in every state of it and outlives a new configuration.
"""

from __future__ import annotations

from typing import Protocol

from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_msgs.msg import Bool
from std_srvs.srv import SetBool, Trigger

from robot_wm.runtime.modes import Mode
from robot_wm_ros.qos import LATCHED_PULSES, PULSES, RELIABLE_PULSES
from robot_wm_ros.running_agent import RunningAgent, SubscriptionEventCallbacks


class HasAgent(Protocol):
    """A node that may be configured."""

    agent: RunningAgent | None

    def tell_mode(self, *, anew: bool = False) -> None:
        """Publish the mode, if it is a change, or in any case ``anew``."""


class Operator:
    """Serves people's requests to the agent that a node has at the time."""

    def __init__(self, node: Node, owner: HasAgent) -> None:
        self._log, self._owner = node.get_logger(), owner
        self.estopped = False  # latched until ~/reset
        node.create_service(SetBool, "~/enable", self._on_enable)
        node.create_service(SetBool, "~/enable_planner", self._on_enable_planner)
        node.create_service(Trigger, "~/estop", self._on_estop)
        node.create_service(Trigger, "~/reset", self._on_reset)
        # A latched subscription hears a latched publisher's last words, and nobody else's; a reliable one hears no
        # best-effort publisher, and a best-effort one may lose a pulse: so there are three.
        for qos in (LATCHED_PULSES, RELIABLE_PULSES, PULSES):
            self._listen(node, qos)

    def _listen(self, node: Node, qos: QoSProfile) -> None:
        node.create_subscription(
            Bool, "estop", self._on_topic, qos, event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False)
        )

    def estop(self, by: str) -> None:
        """Stop, at once and until ``~/reset``."""
        if not self.estopped:
            self._log.error(f"e-stop by {by}: latched until ~/reset")
        self.estopped = True
        agent = self._owner.agent
        if agent is not None and agent.controller.mode is not Mode.ESTOP:
            agent.controller.estop()
            agent.ticker.tick_now()
        # Also where it changes nothing: whoever pressed, as a guardian does, learns that it was heard.
        self._owner.tell_mode(anew=True)

    def _on_topic(self, message: Bool) -> None:
        if message.data:
            self.estop("topic")

    def _on_estop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.estop("service")
        response.success, response.message = True, "stopped; ~/reset leaves this"
        return response

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.estopped = False
        agent = self._owner.agent
        mode = Mode.INACTIVE if agent is None else agent.controller.reset()
        response.success, response.message = True, f"{mode.value}; ~/enable drives again"
        self._log.info(f"reset by service: {mode.value}")
        return response

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.success, response.message = self._enable() if request.data else self._disable()
        self._log.info(f"enable {request.data} by service: {response.message}")
        return response

    def _enable(self) -> tuple[bool, str]:
        agent = self._owner.agent
        if agent is None or not agent.ticker.driving:
            return False, "the node is not active: change_state first"
        if self.estopped:
            return False, "e-stop is latched: ~/reset first"
        if reason := agent.controller.refusal():
            return False, f"a fault stands: {reason}"
        agent.ticker.lateness.clear()
        return True, agent.controller.enable().value

    def _disable(self) -> tuple[bool, str]:
        agent = self._owner.agent
        if agent is None:
            return True, "the node is not configured"
        mode = agent.controller.disable()
        agent.ticker.tick_now()
        return True, mode.value

    def _on_enable_planner(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.success, response.message = self._enable_planner(request.data)
        self._log.info(f"enable_planner {request.data} by service: {response.message}")
        return response

    def _enable_planner(self, on: bool) -> tuple[bool, str]:
        agent = self._owner.agent
        thinker = None if agent is None else agent.controller.thinker
        if thinker is None:
            what = "is not configured" if agent is None else "runs without a planner: parameter planner"
            return not on, f"the node {what}"
        thinker.switch.turn(on)
        return True, "it plans again" if on else "the actor acts alone"
