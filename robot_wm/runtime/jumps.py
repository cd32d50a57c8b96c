"""Readings that no joint can have made: farther from the last sound one than the joint's speed limit allows.

A glitch of one sample, a slipped encoder or a swapped cable shows as a position that jumps. Between two readings a
joint moves by its velocity limit times the time between them at most; twice that is allowed, for noise and for a robot
that is thrown about. What can be reached grows with the time since the last sound reading, so that a joint which
really did move while nobody looked is believed again. Shape letter: K positions watched.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from robot_wm.spec import AgentSpec, Source

Float32 = NDArray[np.float32]

_MARGIN = 2.0  # times the velocity limit
_POSITION_UNITS = ("rad", "m")


class JumpMonitor:
    """Watches every sensor element that is the position of a commanded joint with a velocity limit.

    Such an element is labelled with the joint's name, in rad or m; ``raw`` maps each field to its buffer [O].
    """

    def __init__(self, spec: AgentSpec, raw: Mapping[str, Float32]) -> None:
        limits = {
            joint: limit.velocity
            for joint, limit in zip(spec.action.joints, spec.action.limits, strict=False)
            if limit.velocity is not None
        }
        self._period_s = spec.control_period_s
        watched = [
            (field.name, index, label, limits[label])
            for field in spec.observations
            if field.source is Source.SENSOR and field.unit in _POSITION_UNITS and not field.is_image
            for index, label in enumerate(field.labels)
            if label in limits
        ]
        self._names = [f"{name}: {label}" for name, _, label, _ in watched]
        self._reach = np.array([_MARGIN * limit for *_, limit in watched], dtype=np.float32)  # [K] rad/s or m/s
        # A gather per field: most robots have one field of positions.
        self._gathers: list[tuple[Float32, NDArray[np.intp], Float32]] = []
        self._now = np.zeros(len(watched), dtype=np.float32)  # [K]
        self._last = np.zeros(len(watched), dtype=np.float32)  # [K] the last sound reading
        self._moved = np.zeros(len(watched), dtype=np.float32)  # [K]
        for name in dict.fromkeys(name for name, *_ in watched):
            places = [place for place, (other, *_) in enumerate(watched) if other == name]
            index = np.array([watched[place][1] for place in places], dtype=np.intp)
            self._gathers.append((raw[name], index, self._now[places[0] : places[-1] + 1]))
        self._last_s = -math.inf

    def forget(self) -> None:
        """Believe the next reading, wherever it is."""
        self._last_s = -math.inf

    def jumped(self, now_s: float) -> str:
        """Name what jumped, with both readings; "" for a sound frame, which the next one is then compared with."""
        if not self._gathers:
            return ""
        for buffer, index, part in self._gathers:
            buffer.take(index, out=part, mode="clip")
        # Two ticks may follow each other faster than the samples that they saw.
        elapsed_s = max(now_s - self._last_s, self._period_s)
        if elapsed_s != math.inf:
            np.subtract(self._now, self._last, out=self._moved)
            np.abs(self._moved, out=self._moved)
            np.divide(self._moved, self._reach, out=self._moved)
            worst = int(self._moved.argmax())
            if self._moved[worst] > elapsed_s:
                was, now = self._last[worst], self._now[worst]
                return f"{self._names[worst]} jumped from {was:.4g} to {now:.4g} in {elapsed_s:.3g} s"
        self._last[:] = self._now
        self._last_s = now_s
        return ""
