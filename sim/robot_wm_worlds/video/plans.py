"""What can be done with every curve known: a constant quantiser, one price for all bits, and the best there is.

A plan is a mode for each chunk, [N]: an index into the encoder's `MODES`. All keep to the link's budget and buffer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from robot_wm_worlds.video.encoder import MODES, QUANTISERS, SPREADS
from robot_wm_worlds.video.forecast import COARSEST_PROBE, Forecast
from robot_wm_worlds.video.link import Link, Sending, underflows
from robot_wm_worlds.video.programme import Programme

Plan = NDArray[np.int64]  # [N]
_PRICES = (1e-7, 1.0)  # quality points a byte
_HALVINGS = 40
_LATE = 1e6  # quality points that an underflow costs: one is planned only where every mode has it
_CELLS = 240  # that a buffer's fullness is told apart by, rounded down


def cost(programme: Programme, plan: Plan) -> int:
    """Bytes of a plan."""
    return int(programme.size[np.arange(len(plan)), plan].sum())


def quality(programme: Programme, plan: Plan) -> float:
    """Mean VMAF of a plan."""
    return float(programme.vmaf[np.arange(len(plan)), plan].mean())


def under_way(programme: Programme, link: Link, choose: Callable[[int, Sending], int]) -> Plan:
    """What becomes of choices, chunk by chunk, under the link's hard constraint."""
    sending = Sending(link, programme.size[:, COARSEST_PROBE])
    plan = np.zeros(len(programme), dtype=np.int64)
    for chunk, sizes in enumerate(programme.size.tolist()):
        plan[chunk] = index = sending.admit(sizes, choose(chunk, sending))
        sending.send(sizes[index])
    return plan


def constant(programme: Programme, link: Link, spread: str | None = None) -> Plan:
    """The finest constant quantiser within the budget, found by bisection; coarser where the buffer asks for it.

    Of a programme's best ``spread`` unless one is named.
    """
    plans = []
    for name in SPREADS if spread is None else (spread,):
        first = MODES.index((name, QUANTISERS[0]))
        costs = programme.size[:, first : first + len(QUANTISERS)].sum(0)  # [Q]
        step = int(np.searchsorted(-costs, -link.budget * (1 + 1e-9)))
        plans.append(under_way(programme, link, partial(_always, first + min(step, len(QUANTISERS) - 1))))
    return max(plans, key=lambda plan: quality(programme, plan))


def _always(mode: int, chunk: int, sending: Sending) -> int:
    return mode


def at_price(programme: Programme, price: float) -> Plan:
    """Each chunk's best quality less ``price`` (points a byte) times its bytes, buffer or no buffer."""
    return (programme.vmaf - price * programme.size).argmax(1)


def fair_price(programme: Programme, budget: float) -> float:
    """The price at which `at_price` costs as much as ``budget``, bytes, or just less; quality points a byte."""
    return _bisect(lambda price: cost(programme, at_price(programme, price)) <= budget)


def greedy(programme: Programme, link: Link) -> Plan:
    """The price at which the chunks so far, this one too, would have cost what is left a chunk: the future as the past.

    Knows every curve up to this chunk's, and none of a coming one's.
    """

    def choose(chunk: int, sending: Sending) -> int:
        share = sending.left / (len(programme) - chunk)
        seen = Programme(
            programme.parts[: chunk + 1],
            programme.size[: chunk + 1],
            programme.first[: chunk + 1],
            programme.vmaf[: chunk + 1],
            programme.psnr_db[: chunk + 1],
        )
        price = fair_price(seen, share * (chunk + 1))
        return int((programme.vmaf[chunk] - price * programme.size[chunk]).argmax())

    return under_way(programme, link, choose)


def forecast(programme: Programme, link: Link) -> Plan:
    """Each chunk's best mode at the fair price of what is left, all as the probes let expect: it knows no curve."""
    expected = Forecast(programme)
    sending = Sending(link, programme.size[:, COARSEST_PROBE])
    plan = []
    for chunk, sizes in enumerate(programme.size.tolist()):
        plan.append(sending.admit(sizes, int(expected.worth(chunk, max(sending.left, 1.0)).argmax())))
        expected.learn(chunk, plan[-1], sizes[plan[-1]])
        sending.send(sizes[plan[-1]])
    return np.array(plan)


def oracle(programme: Programme, link: Link) -> Plan:
    """The best plan: dynamic programming over the buffer's fullness, at the least price that keeps to the budget.

    What the price leaves of the budget is spent on the chunks that gain most by it. Fullness is rounded down to one of
    240 cells, so that what is called feasible is.
    """
    price = _bisect(lambda value: cost(programme, _best_at(programme, link, value)) <= link.budget)
    found = _fill_up(programme, link, _best_at(programme, link, price))
    return max((found, constant(programme, link)), key=lambda plan: quality(programme, plan))


def bound(programme: Programme, link: Link) -> float:
    """What no plan's mean VMAF within the budget exceeds, buffer or not: Lagrange's dual at the fair price."""
    price = fair_price(programme, link.budget)
    each = (programme.vmaf - price * programme.size).max(1)
    return float((each.sum() + price * link.budget) / len(programme))


def _best_at(programme: Programme, link: Link, price: float) -> Plan:
    """The best plan at one price for bytes, within the buffer."""
    cells = np.arange(_CELLS + 1) * (link.buffer / _CELLS)  # [G] bytes
    ahead = np.zeros(_CELLS + 1)  # [G] best that comes after this chunk
    choices = []
    worth = programme.vmaf - price * programme.size  # [N, M]
    for size, gain in zip(programme.size[::-1], worth[::-1], strict=True):
        left = cells[:, None] - size  # [G, M] bytes
        cell = _cell(link, np.minimum(link.buffer, np.maximum(left, 0.0) + link.brought))
        total = gain + ahead[cell] - np.where(left < 0, _LATE, 0.0)
        choices.append(total.argmax(1))
        ahead = total.max(1)
    fullness, plan = link.buffer, []
    for chunk, choice in enumerate(choices[::-1]):
        plan.append(int(choice[_cell(link, np.array(fullness))]))
        fullness = link.after(fullness, float(programme.size[chunk, plan[-1]]))
    return np.array(plan)


def _cell(link: Link, fullness: NDArray[np.float64]) -> NDArray[np.int64]:
    cells: NDArray[np.int64] = (fullness / link.buffer * _CELLS + 1e-9).astype(np.int64)
    return cells


def _fill_up(programme: Programme, link: Link, plan: Plan) -> Plan:
    """Single changes of a chunk's mode, the most quality a byte first, while budget and buffer allow one."""
    plan, rows = plan.copy(), np.arange(len(plan))
    while True:
        size, vmaf = programme.size[rows, plan], programme.vmaf[rows, plan]
        more, gain = programme.size - size[:, None], programme.vmaf - vmaf[:, None]  # [N, M]
        useful = np.argwhere((gain > 0) & (more <= link.budget - size.sum()))
        rate = gain[tuple(useful.T)] / np.maximum(more[tuple(useful.T)], 1)
        for chunk, mode in useful[np.argsort(-rate)]:
            changed = np.where(rows == chunk, programme.size[chunk, mode], size)
            if underflows(link, changed.tolist()) <= underflows(link, size.tolist()):
                plan[chunk] = mode
                break
        else:
            return plan


def _bisect(fits: Callable[[float], bool]) -> float:
    """The least price, to within rounding, for which ``fits`` says yes."""
    low, high = np.log(_PRICES)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(float(np.exp(middle))) else (middle, high)
    return float(np.exp(high))
