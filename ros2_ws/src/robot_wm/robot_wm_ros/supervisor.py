"""Life signs to systemd (sd_notify): with ``WatchdogSec`` in the unit it kills an agent whose loop stands still.

The protocol is a datagram to the socket that the environment names; nothing happens where it names none. See
sd_notify(3). The unit wants ``NotifyAccess=all``, as its main process is ros2 launch.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

LONG_S = 1800.0  # a configuration may build an engine


class Supervisor:
    """Tells the service manager that the loop runs, half a watchdog time apart."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        path = environment.get("NOTIFY_SOCKET", "")
        watchdog = environment.get("WATCHDOG_USEC", "")
        self._watchdog_us = int(watchdog) if watchdog.isdecimal() else 0
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) if self._wanted else None
        self._told_s = float("-inf")

    @property
    def _wanted(self) -> bool:
        return bool(self._address and self._watchdog_us)

    def alive(self, now_s: float) -> None:
        """The loop runs, at ``now_s`` of the steady clock."""
        if self._wanted and now_s - self._told_s >= 0.5e-6 * self._watchdog_us:
            self._told_s = now_s
            self._tell("WATCHDOG=1")

    @contextmanager
    def patient(self) -> Iterator[None]:
        """For what takes minutes and moves nothing."""
        self._tell(f"WATCHDOG_USEC={int(LONG_S * 1e6)}\nWATCHDOG=1")
        try:
            yield
        finally:
            self._tell(f"WATCHDOG_USEC={self._watchdog_us}\nWATCHDOG=1")

    def _tell(self, text: str) -> None:
        if self._socket is not None:
            with suppress(OSError):  # a manager that is gone or busy is no reason to let a robot fall
                self._socket.sendto(text.encode(), self._address)

    def close(self) -> None:
        """Give the socket back."""
        if self._socket is not None:
            self._socket.close()
