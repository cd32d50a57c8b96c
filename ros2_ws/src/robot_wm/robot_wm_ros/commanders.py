"""Who else commands the joints: two agents of one name, or a console beside the agent, would be followed in turns.

A guardian publishes on the topic of the commands, too, and nothing before its agent is silent: it is known by
listening to the heartbeat.
"""

from __future__ import annotations

from rclpy.node import Node

from robot_wm_ros.commands import CommandPublisher
from robot_wm_ros.heartbeat import TOPIC


class Commanders:
    """Finds nodes that publish where this agent's commands go."""

    def __init__(self, node: Node, commands: CommandPublisher) -> None:
        self._node, self._commands = node, commands

    def rivals(self) -> str:
        """The topic and the other nodes' names, or ""."""
        node, topic = self._node, self._node.resolve_topic_name(self._commands.topic)
        if node.count_publishers(topic) <= 1:  # ours; to ask for names takes half a millisecond
            return ""
        guardians = {
            (info.node_namespace, info.node_name)
            for info in node.get_subscriptions_info_by_topic(node.resolve_topic_name(TOPIC))
        }
        found = [(info.node_namespace, info.node_name) for info in node.get_publishers_info_by_topic(topic)]
        others = [name for name in found if name not in guardians]
        ours = (node.get_namespace(), node.get_name())
        if ours in others:
            others.remove(ours)  # once: a second one of this name is another node
        if not others:
            return ""
        names = ", ".join(sorted(f"{space.rstrip('/')}/{name}" for space, name in others))
        return f"{self._commands.topic} is commanded by {names}, too, and joints would follow both in turns"
