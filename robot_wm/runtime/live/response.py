"""What the joints made of a small motion that one of them was told to make, on a stand.

How much of it arrived is the ratio of two areas under the curve, and how late is the distance of their centroids: for
drives that are linear both are exact whatever the drive's shape is (the gain and the mean of its impulse response), so
that nothing has to be known of inertias. A position drive lags by kd / kp; friction adds to that, and rounds the gain.
Shape letters: T ticks of one joint's turn, A actions, P joints whose position is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

DEAD = 0.1  # of what it was told: less is none
MOVES = 0.3  # of it, and a joint counts as moving
LEAST_GAIN, MOST_GAIN = 0.5, 1.6  # with as much friction as motors have, and noise, 0.6 to 1.2 were seen
OFFSET = 0.15  # rad (m): between where a joint rests and where it was told to, on a stand
LATE_S = 0.1  # beyond what the drive's gains make
LATER_S = 0.06  # beyond the other joints


@dataclass(frozen=True)
class Response:
    """Of one joint's turn."""

    gains: Float64  # [P] how far each joint went, of what this one was told
    offset: float  # rad (m), where it rested before, less where it was told to be
    lag_s: float  # NaN where it hardly moved


def response(told: Float64, positions: Float64, own: int, rest_ticks: int, period_s: float) -> Response:
    """Measure.

    ``told`` [T] is what the joint was told, ``positions`` [T, P] what came of it a tick later, ``own`` its place in P,
    ``rest_ticks`` how many of T come before it moves.
    """
    # What the last joint still did at the turn's beginning is not this one's.
    quiet = slice(rest_ticks // 2, rest_ticks)
    base = positions[quiet].mean(axis=0)  # [P]
    out = told - told[quiet].mean()  # [T]
    went = positions - base  # [T, P]
    moving = slice(rest_ticks, None)
    area = out[moving].sum()
    gains = went[moving].sum(axis=0) / area
    ticks = np.arange(len(told))[moving] * period_s
    lag_s = np.nan
    if abs(gains[own]) >= LEAST_GAIN:
        centre = (ticks * went[moving, own]).sum() / went[moving, own].sum()
        lag_s = float(centre - (ticks * out[moving]).sum() / area)
    return Response(gains, float(base[own] - told[quiet].mean()), lag_s)


def response_problem(found: Response, own: int, names: Sequence[str], field: str, unit: str) -> str:
    """What is wrong with one joint's response, "" if nothing is; ``names`` [P]."""
    gain, name = float(found.gains[own]), names[own]
    others = np.abs(found.gains)
    others[own] = 0.0
    other = int(others.argmax())
    if abs(gain) < MOVES and others[other] >= MOVES:
        sign = "" if found.gains[other] > 0 else ", the other way,"
        return (
            f"{field}: {name} was moved and {names[other]}{sign} followed instead: joints or legs are swapped, in"
            " commands or in what is measured"
        )
    if gain <= -MOVES:
        return f"{field}: {name} moved by {gain:.2f} of what it was told: its sign is wrong, in commands or measured"
    if gain < DEAD:
        return (
            f"{field}: {name} moved by {gain:.2f} of what it was told, expected 1: a motor without power, or commands"
            " that reach no drive"
        )
    if not LEAST_GAIN <= gain <= MOST_GAIN:
        return (
            f"{field}: {name} moved by {gain:.2f} of what it was told, expected 1: a scale that is applied twice, or"
            " not, or the drive's gains"
        )
    if others[other] >= LEAST_GAIN:
        return f"{field}: {name} was moved and {names[other]} moved, too, by {found.gains[other]:.2f} of it"
    if abs(found.offset) > OFFSET:
        return (
            f"{field}: {name} rests {found.offset:.3g} {unit} from where it was told to, expected at most {OFFSET:g}"
            f" {unit}: its zero is off, or its kp"
        )
    return ""


def lag_problem(lags_s: Float64, expected_s: Float64, names: Sequence[str], field: str) -> str:
    """What is wrong with how late the joints [P] are, "" if nothing is; ``expected_s`` [P] is kd / kp, 0 if unknown."""
    late_s = lags_s - expected_s
    common_s = float(np.median(late_s))
    if common_s > LATE_S:
        return (
            f"{field}: is {common_s * 1e3:.0f} ms later behind commands than the drives make it, expected at most"
            f" {LATE_S * 1e3:.0f} ms: sensors or commands are delayed"
        )
    worst = int(np.abs(late_s - common_s).argmax())
    if abs(late_s[worst] - common_s) > LATER_S:
        return (
            f"{field}: {names[worst]} lags by {lags_s[worst] * 1e3:.0f} ms, expected"
            f" {(expected_s[worst] + common_s) * 1e3:.0f} ms by kd / kp and the other joints: its gains are others"
        )
    return ""


def summary(found: Sequence[Response], expected_s: Float64, unit: str) -> str:
    """What all joints [P] showed, in a line; ``expected_s`` [P] as above."""
    gains = [float(np.abs(each.gains).max()) for each in found]
    offsets = [abs(each.offset) for each in found]
    late_s = float(np.median(np.array([each.lag_s for each in found]) - expected_s))
    return (
        f"check on a stand passed: {len(found)} joints moved by {min(gains):.2f} to {max(gains):.2f} of what they were"
        f" told, rested within {max(offsets):.3f} {unit} of it, {late_s * 1e3:.0f} ms later than their drives make it"
    )
