"""A robot at rest, compared with what the spec says and with what the agent saw where it was trained.

====================  =======================================================================================
what                  is wrong where
====================  =======================================================================================
rate of ticks         below 0.6 or above 1 / 0.6 of the control rate (the median interval)
rate of measurements  a joint's or the IMU's new stamps come at less than 0.55 of it (the median interval)
length of gravity     not within 0.1 of 1: m/s², or a quaternion that is none
direction of gravity  while still, further from the mean of the training data than the data themselves and 30° more
speeds of joints      while still, beyond 0.2 rad/s (m/s) and 5 standard errors from how the positions change
rates of turning      while still, beyond 0.3 rad/s and 5 standard errors from zero
other sensors         beyond the training data by more than the width of their range
====================  =======================================================================================

A robot that moves is not judged by what is asked of one at rest. Turned about the vertical an IMU reads the same
gravity where the base is level: only a base that is tilted, and ``rest_gravity``, show that. Shape letters: W samples,
O elements of all vector fields, K joints.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from robot_wm.runtime.live.fields import LiveFields, Placed
from robot_wm.runtime.live.samples import SampleRing, StampCount
from robot_wm.runtime.live.trained import TrainedRange
from robot_wm.spec import AgentSpec

Float32 = NDArray[np.float32]

RATE_TOLERANCE = 0.4  # of the control rate; a busy computer is not another rate
STALE_SHARE = 0.55  # of the control rate
LENGTH_TOLERANCE = 0.1
TILT_DEG = 30.0  # beyond what the training data have
TOLD_TILT_DEG = 10.0  # from a direction that was told
STILL = 0.02  # rad (m) that joints may move, and length that gravity may, in a window
IDLE_SPEED = 0.2  # rad/s (m/s)
IDLE_TURN_RAD_S = 0.3
STANDARD_ERRORS = 5.0


def rest_problems(
    spec: AgentSpec,
    fields: LiveFields,
    ring: SampleRing,
    stamps: Mapping[str, StampCount],
    trained: Mapping[str, TrainedRange],
    told_gravity: Float32 | None,
) -> list[str]:
    """What is wrong, each naming field, value, unit and what is expected. ``told_gravity`` [3] is of length 1."""
    values = ring.values  # [W, O]
    noise = noise_of(values)  # [O]
    still = is_still(fields, values, noise)
    found = [*_rates(spec, ring.times_s, stamps)]
    if fields.gravity is not None:
        found += _gravity(fields.gravity, values, still, trained, told_gravity)
    if still:
        found += _speeds(spec, fields, ring, noise)
        found += _turning(fields, values, noise)
    for placed in fields.others:
        if placed.field.name in trained:
            found += _range(placed, values, trained[placed.field.name])
    return found


def noise_of(values: Float32) -> Float32:
    """Standard deviation [O] of white noise in samples [W, O], whatever slower motion or single jolt is beside.

    By the median of second differences, which smooth motion hardly has: of normal noise 0.6745 of their deviation, and
    they have six times the variance of a sample (1 + 4 + 1).
    """
    typical = np.median(np.abs(np.diff(values, n=2, axis=0)), axis=0)  # [O]
    deviation: Float32 = (typical / np.float32(0.6745 * math.sqrt(6.0))).astype(np.float32)
    return deviation


def is_still(fields: LiveFields, values: Float32, noise: Float32) -> bool:
    """Whether neither joints nor base moved in the window, as far as the noise lets one see."""
    places = list(fields.position.places)
    if fields.gravity is not None:
        places += range(fields.gravity.where.start, fields.gravity.where.stop)
    third = max(1, len(values) // 3)
    moved = np.abs(values[-third:].mean(axis=0) - values[:third].mean(axis=0))[places]
    allowed = STILL + STANDARD_ERRORS * noise[places] * math.sqrt(2.0 / third)
    return bool((moved <= allowed).all())


def _rates(spec: AgentSpec, times_s: NDArray[np.float64], stamps: Mapping[str, StampCount]) -> Iterator[str]:
    interval_s = float(np.median(np.diff(times_s)))
    period_s = spec.control_period_s
    if not (1.0 - RATE_TOLERANCE) * period_s <= interval_s <= period_s / (1.0 - RATE_TOLERANCE):
        rate = f"{1.0 / interval_s:.4g} Hz" if interval_s > 0 else "no rate, all at once"
        yield f"control_rate_hz: ticks come at {rate}, the agent was trained at {spec.control_rate_hz:g} Hz"
    for name, count in stamps.items():
        if count.interval_s > period_s / STALE_SHARE:
            yield (
                f"{name}: is measured at {1.0 / count.interval_s:.4g} Hz by its stamps, the agent was trained at"
                f" {spec.control_rate_hz:g} Hz"
            )


def _gravity(
    placed: Placed,
    values: Float32,
    still: bool,
    trained: Mapping[str, TrainedRange],
    told: Float32 | None,
) -> Iterator[str]:
    name = placed.field.name
    mean = values[:, placed.where].mean(axis=0)  # [3]
    length = float(np.linalg.norm(mean))
    if abs(length - 1.0) > LENGTH_TOLERANCE:
        yield f"{name}: its length is {length:.4g}, expected 1: a direction, neither m/s² nor g"
        return
    if not still or (told is None and name not in trained):
        return
    if told is not None:
        expected, allowed_deg, whose = told, TOLD_TILT_DEG, "rest_gravity"
    else:
        recorded = trained[name].values  # [N, 3]
        expected = recorded.mean(axis=0)
        expected /= max(float(np.linalg.norm(expected)), 1e-6)
        allowed_deg, whose = float(angles_deg(recorded, expected).max()) + TILT_DEG, "the training data"
    angle_deg = float(angles_deg(mean[None], expected)[0])
    if angle_deg > allowed_deg:
        yield (
            f"{name}: points along {_vector(mean)} at rest, expected {_vector(expected)} of {whose} within"
            f" {allowed_deg:.0f}°, it is off by {angle_deg:.0f}°: the IMU's mounting, gravity's sign, or the order of a"
            " quaternion"
        )


def angles_deg(vectors: Float32, direction: Float32) -> NDArray[np.float64]:
    """Angle of each of [N, 3] to a direction [3]."""
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(direction)
    cosines = vectors @ direction / np.maximum(lengths, 1e-9)
    angles: NDArray[np.float64] = np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))
    return angles


def _speeds(spec: AgentSpec, fields: LiveFields, ring: SampleRing, noise: Float32) -> Iterator[str]:
    if not len(fields.joints):
        return
    values, times_s = ring.values, ring.times_s
    elapsed_s = times_s[-1] - times_s[0]
    if not elapsed_s > 0:
        return
    moved = (values[-1] - values[0])[fields.position_places] / elapsed_s  # [K]
    told = values[:, fields.velocity_places].mean(axis=0)  # [K]
    error = np.abs(told - moved)
    spread = noise[fields.velocity_places] / math.sqrt(len(values)) + noise[fields.position_places] * 2.0 / elapsed_s
    worst = int((error - STANDARD_ERRORS * spread).argmax())
    if error[worst] > IDLE_SPEED + STANDARD_ERRORS * spread[worst]:
        joint = spec.action.joints[fields.joints[worst]]
        unit = fields.velocity.units[fields.velocity.joints.index(int(fields.joints[worst]))]
        yield (
            f"{fields.velocity.field}: {joint} reads {told[worst]:.3g} {unit} at rest, expected {moved[worst]:.3g}"
            f" {unit}, as {fields.position.field} changes"
        )


def _turning(fields: LiveFields, values: Float32, noise: Float32) -> Iterator[str]:
    if fields.gyro is None:
        return
    mean = values[:, fields.gyro.where].mean(axis=0)  # [3]
    allowed = IDLE_TURN_RAD_S + STANDARD_ERRORS * noise[fields.gyro.where] / math.sqrt(len(values))
    worst = int((np.abs(mean) - allowed).argmax())
    if abs(mean[worst]) > allowed[worst]:
        yield (
            f"{fields.gyro.field.name}: {fields.gyro.field.labels[worst]} reads {mean[worst]:.3g} rad/s at rest,"
            " expected 0"
        )


def _range(placed: Placed, values: Float32, trained: TrainedRange) -> Iterator[str]:
    mean = values[:, placed.where].mean(axis=0)
    largest = np.maximum(np.abs(trained.low), np.abs(trained.high))
    with np.errstate(invalid="ignore"):  # of a range without ends
        margin = np.maximum(trained.high - trained.low, 0.5 * largest)
        beyond = np.maximum(trained.low - margin - mean, mean - trained.high - margin)
    beyond = np.nan_to_num(beyond, nan=-1.0)
    worst = int(beyond.argmax())
    if beyond[worst] > 0:
        field = placed.field
        label = f"{field.labels[worst]} " if len(field.labels) > worst else ""
        units = field.element_units()
        unit = units[worst] if units else field.unit
        yield (
            f"{field.name}: {label}reads {mean[worst]:.4g} {unit}, the training data have {trained.low[worst]:.4g} to"
            f" {trained.high[worst]:.4g} {unit}"
        )


def _vector(values: Float32) -> str:
    return "(" + ", ".join(f"{value:.2f}" for value in values) + ")"
