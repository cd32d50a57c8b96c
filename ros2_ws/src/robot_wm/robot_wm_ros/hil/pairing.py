"""Which command answers which sample, and what became of every sample: pure functions of times and stamps.

Samples are known by their stamps, which the agent's trace repeats. Commands carry no stamp, so they are paired with
what caused them by order. Shape letters: S samples, K ticks of the agent, R commands received.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot_wm.runtime.decimation import Decimator

Int64 = NDArray[np.int64]


def pair_in_order(sent_ns: Int64, received_ns: Int64) -> Int64:
    """For each receipt [R] the index of what was sent [K], or -1.

    Both arrays ascend. Nothing is received before it was sent, nothing twice, and nothing overtakes. As many are paired
    as can be under these rules, with the least delay: from the last receipt backwards, each takes the latest command
    that is still free. Exact when nothing was lost (first in, first out), and also beside a loss as long as delays
    are shorter than the time between two commands.
    """
    order = np.arange(received_ns.size)
    latest = np.searchsorted(sent_ns, received_ns, side="right") - 1  # [R]
    # Receipt k takes at most latest[k], and stays below what every later receipt j takes: latest[j] - (j - k).
    taken = np.minimum.accumulate((latest - order)[::-1])[::-1] + order
    return np.maximum(taken, -1).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class SampleAccount:
    """What became of the samples that a robot published: the six add up to ``published``."""

    published: int = 0
    processed: int = 0  # the agent ticked for it
    decimated: int = 0  # came, and was not due at the control rate
    superseded: int = 0  # came, and a newer one was there before the agent could tick for it
    lost: int = 0  # never reached the agent
    unaccounted: int = 0  # due, not processed, and nothing above explains it

    def __add__(self, other: SampleAccount) -> SampleAccount:
        return SampleAccount(**{name: value + getattr(other, name) for name, value in vars(self).items()})


def account(stamps_ns: Int64, processed_ns: Int64, *, superseded: int, lost: int, period_s: float) -> SampleAccount:
    """Account for samples with stamps [S], ascending, of which those with stamps [K] were processed.

    ``superseded`` and ``lost`` are what the agent's own counters say. ``period_s`` is the control period: samples
    that were not processed are put through the same ``Decimator`` as on the robot, which tells those that were due
    from those that were not. Its grid hangs on the agent's first tick, so the first sample must be that one's. Only
    samples that were not due can have been decimated; a due one that is neither superseded nor lost is unaccounted for.
    """
    processed = np.isin(stamps_ns, processed_ns)
    missing = int(np.count_nonzero(~processed))
    not_due = missing - int(np.count_nonzero(due(stamps_ns, processed, period_s=period_s) & ~processed))
    # The counters may tell of a sample more than is missing: one that came after the last tick.
    lost = min(max(lost, 0), missing)
    superseded = min(max(superseded, 0), missing - lost)
    decimated = min(not_due, missing - lost - superseded)
    return SampleAccount(
        published=int(stamps_ns.size),
        processed=int(stamps_ns.size) - missing,
        decimated=decimated,
        superseded=superseded,
        lost=lost,
        unaccounted=missing - lost - superseded - decimated,
    )


def due(stamps_ns: Int64, processed: NDArray[np.bool_], *, period_s: float) -> NDArray[np.bool_]:
    """Which samples [S] were due: the agent ticked for them, or would have, had they been the next to arrive."""
    decimator = Decimator(period_s)
    found = np.ones(stamps_ns.size, dtype=bool)  # [S]
    for index, (stamp_ns, was_processed) in enumerate(zip(stamps_ns.tolist(), processed.tolist(), strict=True)):
        if was_processed:
            decimator.due(stamp_ns * 1e-9)
        else:
            found[index] = copy(decimator).due(stamp_ns * 1e-9)
    return found
