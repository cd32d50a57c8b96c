"""How busy the machine was while something was measured: latencies of a loaded machine are not those of a quiet one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

_IDLE = slice(3, 5)  # of the counters after "cpu": idle and waiting for a disk
_COUNTED = slice(0, 8)  # what follows is in user's time already


class LoadMeter:
    """Counts what runs on this computer since it was made, the measurement's own processes among it."""

    def __init__(self, stat: Path = Path("/proc/stat")) -> None:
        self._stat = stat
        self._start = self._ticks()

    def read(self) -> dict[str, Any]:
        """``cpu_busy``, a share of all CPUs' time, None where it cannot be told, and ``load_average`` of a minute."""
        busy, total = (now - then for now, then in zip(self._ticks(), self._start, strict=True))
        return {"cpu_busy": busy / total if total > 0 else None, "load_average": os.getloadavg()[0]}

    def _ticks(self) -> tuple[int, int]:
        """Of all CPUs: busy, and altogether."""
        try:
            counters = [int(part) for part in self._stat.read_text().split("\n", 1)[0].split()[1:]][_COUNTED]
        except (OSError, ValueError):
            return 0, 0
        return sum(counters) - sum(counters[_IDLE]), sum(counters)
