"""Calls of ROS services whose answers may get lost.

A server says that it is there before it has heard of who asks, and what it answers until then goes nowhere. So does
what is asked of a server that was killed, which is thought alive for a while. Nothing tells the one who asks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from rclpy.client import Client
from rclpy.node import Node

AGAIN_S = 1.0  # without an answer, before asking again; most answers take a few ms, those of a busy node longer

Result = TypeVar("Result")
Wait = Callable[[Callable[[], bool], str], None]  # has the node spun until the condition holds, or raises
Steps = Generator[None, None, Result]  # yields wherever there is nothing to do but wait a little


class Services:
    """A node's clients of other nodes' services. ``wait`` is how the node's owner waits, and for how long."""

    def __init__(self, node: Node, wait: Wait) -> None:
        self._node, self._wait = node, wait
        self._clients: dict[str, Client[Any, Any]] = {}

    def client(self, kind: Any, name: str) -> Client[Any, Any]:
        """The one client of a service, which is there. With one client, requests are served in their order."""
        if name not in self._clients:
            self._clients[name] = self._node.create_client(kind, name)
        client = self._clients[name]
        self._wait(client.service_is_ready, f"service {name}")
        return client

    def call(self, kind: Any, name: str, request: Any) -> Any:
        """The answer to a request that may be carried out more than once: see ``answer``."""
        return self.finish(answer(self.client(kind, name), request), f"an answer of {name}")

    def finish(self, steps: Steps[Result], what: str) -> Result:
        """Take the steps while waiting, all of them within the time that one wait has, and return their result."""
        results: list[Result] = []

        def is_over() -> bool:
            try:
                next(steps)
            except StopIteration as end:
                results.append(end.value)
            return bool(results)

        self._wait(is_over, what)
        return results[0]

    def close(self) -> None:
        """Give the clients back."""
        for client in self._clients.values():
            self._node.destroy_client(client)
        self._clients.clear()


def answer(client: Client[Any, Any], request: Any) -> Steps[Any]:
    """Ask until there is an answer, then wait for the last one: afterwards the server has none of the requests left.

    One that it found later would be carried out after whatever else has been asked of it by then.
    """
    asked: list[Any] = []
    while not is_answered(asked):
        asked.append(client.call_async(request))
        yield from moment(lambda: is_answered(asked))
    while not asked[-1].done():
        yield
    return asked[-1].result()


def is_answered(asked: list[Any]) -> bool:
    """Whether there is an answer to any of these: from the first one on, all of them arrive."""
    return any(future.done() for future in asked)


def moment(until: Callable[[], bool] = lambda: False) -> Steps[None]:
    """Let ``AGAIN_S`` pass, or less if the condition holds."""
    end_s = time.monotonic() + AGAIN_S
    while not until() and time.monotonic() < end_s:
        yield
