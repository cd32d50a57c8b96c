"""The loop of a node that must answer one topic fast and everything else in good time.

rclpy's executor looks at every entity of a node and builds a new wait set for each message, in Python: that takes
several times as long as the message itself. Here subscriptions are waited for in one persistent wait set and taken
directly. Services, timers and QoS events are left to rclpy's own executor, one callback at a time, in the slack after
a tick. One thread does it all: a second one would hold the interpreter just when a sample comes.

Where the direct way is not to be had (its names are rclpy's own, the same in Humble, Jazzy and Kilted), rclpy's
executor does everything. Nothing here waits without a time-out: some builds never come back from that.
"""

from __future__ import annotations

import inspect
import time
import traceback
from collections.abc import Callable
from typing import Any, Protocol

from rclpy.executors import SingleThreadedExecutor, TimeoutException
from rclpy.impl import implementation_singleton
from rclpy.node import Node
from rclpy.subscription import Subscription

IDLE_S = 0.02  # so long a service waits at most while nothing ticks
EVENTS_S = 1.0  # between two looks at QoS events, which nobody waits for

# handle, message type, callback, whether it wants the info, too, how many messages are taken at once, whether as bytes
_Take = tuple[Any, type, Callable[..., None], bool, int, bool]


class Work(Protocol):
    """What the loop runs for."""

    @property
    def ticks(self) -> int:
        """How many there were: after one there is slack."""

    @property
    def stopping(self) -> bool:
        """Whether the loop is to end."""

    def patience_s(self) -> float:
        """How long nothing but messages matters."""

    def watch(self) -> None:
        """Do what no message asks for."""

    def report(self) -> None:
        """Do what is not urgent; called in the slack."""


class Spinner(SingleThreadedExecutor):
    """An executor for one node, on one thread."""

    def __init__(self, node: Node) -> None:
        super().__init__(context=node.context)
        self._node = node
        self._takes: list[_Take] = []
        self._services: list[Any] = []  # handles
        self._waiting: Any = None  # wait sets of rclpy's own for these two, None where there is nothing to wait for
        self._asked: Any = None
        self._changed = True  # entities were made or destroyed since the wait sets were built
        self._more = False  # rclpy's executor has callbacks left from its last look
        self._is_serving = False
        self._look_s = self._events_s = 0.0  # steady clock
        self.direct = _is_direct(node)
        self.add_node(node)
        if not self.direct:
            node.get_logger().warning("this rclpy gives no direct way to messages: its own executor takes them, slower")

    # -- what rclpy asks and tells ----------------------------------------------------------------------------------

    def wake(self) -> None:
        """Entities were made or destroyed."""
        self._changed = True
        super().wake()

    def can_execute(self, entity: Any) -> bool:
        """Whether rclpy's part is to serve it: subscriptions are ours."""
        return not (self.direct and isinstance(entity, Subscription)) and super().can_execute(entity)

    # -- the loop ---------------------------------------------------------------------------------------------------

    def run(self, work: Work) -> None:
        """Serve the node until ``work.stopping``; whatever a subscription's callback or ``work`` raises comes out."""
        while not work.stopping:
            ticks = work.ticks
            self.listen(0.0 if self._more else min(work.patience_s(), IDLE_S))
            work.watch()
            now_s = time.monotonic()
            if work.ticks != ticks or self._more or now_s >= self._look_s:
                self._look_s = now_s + IDLE_S
                self._serve(now_s)
                work.report()

    def listen(self, timeout_s: float) -> None:
        """Wait for messages, at most so long, and hand what each topic's queue holds to its callback, in their order.

        A service's callback may call this, too, to stay in touch while it takes its time.
        """
        if self._changed:
            self._rebuild()
        if not self._takes:
            if self.direct or self._is_serving:
                time.sleep(max(0.0, timeout_s))
            else:
                self._serve_one(timeout_s)
            return
        waiting = self._waiting
        waiting.clear_entities()
        for handle, *_ in self._takes:
            waiting.add_subscription(handle)
        waiting.wait(max(0, int(timeout_s * 1e9)))
        for index, (handle, message_type, callback, with_info, depth, raw) in enumerate(self._takes):
            if not waiting.is_ready("subscription", index):
                continue
            for _ in range(depth):
                taken = handle.take_message(message_type, raw)
                if taken is None:
                    break
                callback(*(taken if with_info else taken[:1]))
                if self._changed:  # the callback may have destroyed what is left of the list
                    return

    def _rebuild(self) -> None:
        self._changed = False
        node, library = self._node, _library()
        subscriptions = list(node.subscriptions) if self.direct else []
        self._takes = [
            (s.handle, s.msg_type, s.callback, _wants_info(s.callback), max(1, s.qos_profile.depth), s.raw)
            for s in subscriptions
        ]
        self._services = [service.handle for service in node.services] if self.direct else []
        handle = node.context.handle
        self._waiting = library.WaitSet(len(self._takes), 0, 0, 0, 0, 0, handle) if self._takes else None
        self._asked = library.WaitSet(0, 0, 0, 0, len(self._services), 0, handle) if self._services else None

    def _serve(self, now_s: float) -> None:
        """Run one callback of rclpy's part, if there may be one."""
        if not self.direct:
            return
        if self._changed:
            self._rebuild()
        if now_s >= self._events_s:
            self._events_s = now_s + EVENTS_S
            self._more = True
        if self._more or self._is_asked():
            self._more = self._serve_one(0.0)

    def _is_asked(self) -> bool:
        """Whether a service has a request."""
        asked = self._asked
        if asked is None:
            return False
        asked.clear_entities()
        for handle in self._services:
            asked.add_service(handle)
        asked.wait(0)
        return bool(asked.get_ready_entities("service"))

    def _serve_one(self, timeout_s: float) -> bool:
        """Let rclpy find a callback and run it; whether there may be another."""
        try:
            handler, *_ = self.wait_for_ready_callbacks(timeout_sec=timeout_s)
        except TimeoutException:
            return False
        self._is_serving = True
        try:
            handler()
        finally:
            self._is_serving = False
        if (error := handler.exception()) is not None:
            # A client that is gone before its answer is no reason to let a robot fall.
            told = "".join(traceback.format_exception(type(error), error, error.__traceback__))
            self._node.get_logger().error(f"a service or an event failed:\n{told}")
        return True


def _library() -> Any:
    return implementation_singleton.rclpy_implementation


def _is_direct(node: Node) -> bool:
    """Whether this rclpy has the names of its own that the direct way uses."""
    library = _library()
    try:
        library.WaitSet(1, 0, 0, 0, 1, 0, node.context.handle)
        return callable(library.Subscription.take_message)
    except (AttributeError, TypeError):
        return False


def _wants_info(callback: Callable[..., None]) -> bool:
    try:
        inspect.signature(callback).bind(object(), object())
    except TypeError:
        return False
    return True
