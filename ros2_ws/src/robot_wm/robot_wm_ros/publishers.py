"""Who publishes what the agent reads: two drivers of one sensor would be believed in turns.

A sensor's topic has one publisher. ``joint_states`` may have several whose messages name other joints each, as
``JointStateBinding`` puts them together; as many as there are such lists of joints. What operators say may come from
anywhere. Publishers of another message type reach nobody here and do not count.
"""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.node import Node

from robot_wm.spec import AgentSpec, Source
from robot_wm_ros.bindings import Input


class Publishers:
    """Finds sensors' topics with too many publishers."""

    def __init__(self, node: Node, spec: AgentSpec, inputs: Sequence[Input]) -> None:
        self._node = node
        sensors = {field.name for field in spec.observations if field.source is Source.SENSOR}
        self._inputs = [entry for entry in inputs if sensors.intersection(entry.fields)]

    def rivals(self) -> tuple[str, ...]:
        """One line for each topic that has more publishers than may be, naming their nodes."""
        return tuple(line for entry in self._inputs if (line := self._rivals(entry)))

    def _rivals(self, entry: Input) -> str:
        topic = self._node.resolve_topic_name(entry.topic)
        kind = f"{entry.message_type.__module__.split('.')[0]}/msg/{entry.message_type.__name__}"
        found = [info for info in self._node.get_publishers_info_by_topic(topic) if info.topic_type == kind]
        # None at all where no message has come: then nothing says yet whose joints whose are.
        allowed = entry.sources()
        if not allowed or len(found) <= allowed:
            return ""
        nodes = sorted(f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in found)
        which = "one sensor has one" if allowed == 1 else f"they publish {allowed} different lists of joints"
        return f"{entry.topic} has {len(found)} publishers ({', '.join(nodes)}), {which}"
