"""How long before the ground an alarm came, and how many episodes had one: plain counting.

Shape letters: T ticks of an episode.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm_bench.monitor.trace import Trace

LEAD_S = 1.5  # an alarm longer before the ground is one of something else
AHEAD_MS = (200, 100)  # that a fall is to be told before it


def is_alarmed(scores: NDArray[np.float64], limit: float) -> bool:
    """Whether any of the scores [T], NaN where there is none, is above the limit."""
    return bool((scores > limit).any())


def lead_ticks(scores: NDArray[np.float64], limit: float, window: int) -> int:
    """Ticks from the first score above ``limit`` in the last ``window`` of [T] to the end; 0 where none is.

    A score of tick t is known before its action, and the last action is the one that ends on the ground: an alarm in
    the last tick leads by one.
    """
    late = scores[-window:]
    above = np.flatnonzero(late > limit)
    return 0 if not len(above) else len(late) - int(above[0])


def lead_ms(traces: Sequence[Trace], told_by: str, limit: float, rate_hz: float) -> NDArray[np.float64]:
    """Of every fall among the episodes, ms; 0 where nothing told of it."""
    window = round(LEAD_S * rate_hz)
    leads = [lead_ticks(trace.scores[told_by], limit, window) for trace in traces if trace.down]
    return np.array(leads, np.float64) * 1000.0 / rate_hz


def counts(traces: Sequence[Trace], told_by: str, limit: float, rate_hz: float) -> dict[str, Any]:
    """What one score and its limit make of a world's episodes: falls told ahead, and alarms where nobody falls."""
    leads = lead_ms(traces, told_by, limit, rate_hz)
    standing = [trace for trace in traces if not trace.down]
    return {
        "episodes": len(traces),
        "falls": len(leads),
        **{f"falls_{ahead}_ms_ahead": int((leads >= ahead - 1e-6).sum()) for ahead in AHEAD_MS},
        "median_lead_ms": float(np.median(leads)) if len(leads) else None,
        "standing": len(standing),
        "standing_flagged": sum(is_alarmed(trace.scores[told_by], limit) for trace in standing),
    }
