"""Topics that are recorded beside the ticks: whatever is published there, serialised, at its own rate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from rclpy.subscription import Subscription

from robot_wm.errors import UserError
from robot_wm.runtime.message_queue import MessageQueue
from robot_wm.runtime.tick_log import IMAGE_TOPICS, INFO_TOPIC, LOG_TOPIC, PLAN_TOPIC, TICK_TOPIC, Topic
from robot_wm_ros.message_definition import definition, message_class
from robot_wm_ros.qos import BESIDE, LATCHED_BESIDE


class RecordedTopics:
    """Subscribes to ``names`` as soon as somebody publishes them, which is when their type is known.

    Raises UserError for a name that is none, or that the recording needs for itself. The node's own loop receives the
    messages, behind those that a tick waits for, and no message is looked into.
    """

    def __init__(self, node: Node, names: Iterable[str], queue: MessageQueue) -> None:
        self._node, self._queue = node, queue
        self._subscriptions: list[Subscription] = []
        self._awaited: list[str] = []
        for name in names:
            try:
                topic = node.resolve_topic_name(name)
            except Exception as error:  # rclpy has one for each rule
                told = " ".join(str(error).split())
                raise UserError(f"parameter record_topics: {name!r} is no topic's name: {told}") from None
            if topic in (TICK_TOPIC, INFO_TOPIC, LOG_TOPIC, PLAN_TOPIC) or topic.startswith(IMAGE_TOPICS):
                raise UserError(f"parameter record_topics: {topic} is what the recording calls a topic of its own")
            if topic not in self._awaited:
                self._awaited.append(topic)

    def look(self) -> None:
        """Subscribe to what is published now; to be called now and then."""
        if not self._awaited:
            return
        types = dict(self._node.get_topic_names_and_types())
        for topic in list(self._awaited):
            if topic in types and self._node.count_publishers(topic):
                self._awaited.remove(topic)
                self._begin(topic, types[topic])

    def _begin(self, topic: str, types: list[str]) -> None:
        log = self._node.get_logger()
        if len(types) != 1:
            log.warning(f"record_topics: {topic} is published in several types ({', '.join(types)}): not recorded")
            return
        try:
            kind = message_class(types[0])
            text = definition(kind)
        except ImportError as error:
            log.warning(f"record_topics: {topic} is not recorded, its type is not installed here: {error}")
            return
        key = self._queue.add_topic(Topic(topic, types[0], text))
        publishers = self._node.get_publishers_info_by_topic(topic)
        latched = all(found.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for found in publishers)
        qos = LATCHED_BESIDE if latched else BESIDE
        self._subscriptions.append(self._node.create_subscription(kind, topic, self._take(key), qos, raw=True))
        log.info(f"recording {topic} ({types[0]}) beside the ticks")

    def _take(self, key: int) -> Callable[[bytes], None]:
        queue = self._queue

        def callback(message: bytes) -> None:
            queue.put(key, message, time.time_ns())

        return callback

    def destroy(self) -> None:
        """Give every subscription back."""
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())
