"""What the way of steps and weights through a cluster takes: the cluster's own serialisation, store and calls."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from robot_wm_bench.scale.spent import tree_cpu_s


class Wire:
    """A cluster of this machine, started for it and stopped with it."""

    def __enter__(self) -> Wire:
        from robot_wm.training.cluster.connection import joined

        self._joined = joined("local", cpus=1)
        self._ray = self._joined.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._joined.__exit__(kind, error, trace)

    def put(self, value: Any) -> Any:
        """Into the cluster's store, as what a collector answers; a reference to it."""
        return self._ray.put(value)

    def get(self, reference: Any) -> Any:
        """Out of the store again."""
        return self._ray.get(reference)

    def size(self, value: Any) -> int:
        """Bytes of it on the way."""
        buffers: list[Any] = []
        body = self._ray.cloudpickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        return len(body) + sum(buffer.raw().nbytes for buffer in buffers)

    def idle_cores(self, seconds: float) -> float:
        """Cores that the cluster keeps busy while nothing is asked of it."""
        before_s, begun = tree_cpu_s(), time.monotonic()
        time.sleep(seconds)
        return (tree_cpu_s() - before_s) / (time.monotonic() - begun)

    def call_s(self, answer: Any, seconds: float, idle_s: float) -> tuple[float, float]:
        """Processor time, in all processes, of a call of an actor that answers with ``answer``.

        And the cores that the cluster keeps busy with that actor idle.
        """

        class Echo:
            def __init__(self, answer: Any) -> None:
                self._answer = answer

            def tell(self) -> Any:
                return self._answer

        echo = self._ray.remote(num_cpus=1)(Echo).remote(answer)
        call: Callable[[], Any] = lambda: self._ray.get(echo.tell.remote())  # noqa: E731
        for _ in range(20):
            call()
        before_s, begun, calls = tree_cpu_s(), time.monotonic(), 0
        while time.monotonic() < begun + seconds or calls < 20:
            call()
            calls += 1
        spent_s = tree_cpu_s() - before_s
        idle_cores = self.idle_cores(idle_s)
        self._ray.kill(echo)
        return spent_s / calls, idle_cores
