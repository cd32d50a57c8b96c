"""How long before the ground an alarm came, and how many episodes had one: plain counting.

Shape letters: T ticks of an episode.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm_bench.monitor.trace import Trace, highest_score

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


def alarms_s(traces: Sequence[Trace], told_by: str, limit: float, rate_hz: float) -> NDArray[np.float64]:
    """When the first alarm came, s after the start, of every episode that has one."""
    first = [np.flatnonzero(trace.scores[told_by] > limit)[:1] for trace in traces]
    return np.concatenate([np.zeros(0), *first]) / rate_hz


def area(changed: Sequence[Trace], clean: Sequence[Trace], told_by: str) -> float | None:
    """Under the ROC curve: how often an episode of ``changed`` scores higher than one of ``clean``, ties by half.

    The statistic of Mann and Whitney (1947), over all pairs; None without any.
    """
    if not changed or not clean:
        return None
    ours, theirs = (np.array([highest_score(one, told_by) for one in traces]) for traces in (changed, clean))
    higher = (ours[:, None] > theirs).mean()
    return float(higher + 0.5 * (ours[:, None] == theirs).mean())


def _median(values: NDArray[np.float64]) -> float | None:
    return float(np.median(values)) if len(values) else None


def counts(traces: Sequence[Trace], told_by: str, limit: float, rate_hz: float) -> dict[str, Any]:
    """What one score and its limit make of a world's episodes: falls told ahead, and alarms where nobody falls."""
    leads = lead_ms(traces, told_by, limit, rate_hz)
    standing = [trace for trace in traces if not trace.down]
    return {
        "episodes": len(traces),
        "falls": len(leads),
        **{f"falls_{ahead}_ms_ahead": int((leads >= ahead - 1e-6).sum()) for ahead in AHEAD_MS},
        "median_lead_ms": _median(leads),
        "median_alarm_s": _median(alarms_s(traces, told_by, limit, rate_hz)),
        "standing": len(standing),
        "standing_flagged": sum(is_alarmed(trace.scores[told_by], limit) for trace in standing),
    }
