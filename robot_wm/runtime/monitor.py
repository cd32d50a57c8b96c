"""Two questions at every tick: has the world changed, and is the robot about to fall?

**Changed.** Surprise, averaged over about a second, rises in a world that the model does not know (noise, delay,
another ground); a robot may walk on in it. Neither a start nor a new command can be predicted: for ``settle_ticks``
after either surprise does not count. Belief is restless then: at first it is not asked, and then has another limit.

**Falling.** Surprise cannot tell a robot that stumbles from one that goes down, nor the critic early enough. What the
model believes can: a linear readout of its posterior, fitted at export to episodes that ended on the ground,

    fall = mean over ``ticks`` of (weights · output + bias),    log-odds of a fall within ``horizon_s``

Limits are quantiles of what episodes without a fall reach (`robot_wm_export.monitor`), frozen in the manifest.
Shape letters: U numbers of the operator's command, F numbers of the output that is read.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from robot_wm.errors import UserError
from robot_wm.runtime.graph_tensors import Frozen, TensorName
from robot_wm.spec import AgentSpec, Finite, ObservationField, Positive, Source

MAX_TICKS = 10_000  # of a window, and
MAX_WEIGHTS = 8192  # of a readout: a manifest is read before anything vouches for it

Ticks = Annotated[int, Field(ge=1, le=MAX_TICKS)]
Count = Annotated[int, Field(ge=0)]


class Calibration(Frozen):
    """Whose quantile a limit is: of episodes without a fall."""

    false_alarm_rate: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        description="share of new ones of the same kind in which it gives an alarm, at most"
    )
    episodes: Annotated[int, Field(ge=1)]
    episode_s: Positive
    backend: str
    randomisation: str


class ChangeLimit(Frozen):
    """When surprise says that the world is another one."""

    ticks: Ticks = Field(description="surprise is averaged over so many settled ticks")
    limit: Positive = Field(description="in the manifest's surprise_unit")
    settle_ticks: Ticks = Field(description="after a start and a new command that do not count")
    command_step: tuple[Positive, ...] = Field(
        default=(), description="of each command field, in its unit: more is a new command"
    )
    calibration: Calibration


class FallReadout(Frozen):
    """When the model's belief says that the robot is about to fall."""

    output: TensorName = Field(description="of the tick graph")
    weights: tuple[Finite, ...] = Field(min_length=1, max_length=MAX_WEIGHTS, description="[F], in the output's order")
    bias: Finite
    ticks: Ticks = Field(description="the log-odds are averaged over so many ticks")
    limit: Finite = Field(description="log-odds")
    restless_limit: Finite = Field(description="log-odds, in its place while a start or a new command settles")
    blind_ticks: Ticks = Field(description="at the beginning of which belief jumps, and tells nothing")
    horizon_s: Positive = Field(description="s before the ground that counted as about to fall")
    falls: Count = Field(description="that it was fitted to")
    calibration: Calibration


class MonitorSection(Frozen):
    """``monitor`` of a manifest; without ``fall`` only changes are found: at that task nobody was seen to fall."""

    change: ChangeLimit
    fall: FallReadout | None = None

    def require_fit(self, spec: AgentSpec, outputs: Mapping[str, tuple[int, ...]]) -> None:
        """Raise ValueError unless it fits the operator's commands and the tick's outputs, shapes by name."""
        steps, numbers = len(self.change.command_step), sum(field.shape[0] for field in command_fields(spec))
        if steps != numbers:
            raise ValueError(f"monitor: command_step has {steps} entries for {numbers} of the operator's numbers")
        if self.fall is not None:
            shape = outputs.get(self.fall.output)
            if shape is None or math.prod(shape) != len(self.fall.weights):
                raise ValueError(
                    f"monitor: fall has {len(self.fall.weights)} weights for the output {self.fall.output} {shape}"
                )


class Scores(NamedTuple):
    """Of one tick; NaN where there is none."""

    change: float = math.nan  # surprise_unit
    fall: float = math.nan  # log-odds
    restless: bool = False  # a start or a new command settles


class Monitor:
    """What the two questions remember of an episode."""

    def __init__(self, section: MonitorSection) -> None:
        self.section = section
        fall = section.fall
        self._weights = np.zeros(0, np.float32) if fall is None else np.array(fall.weights, np.float32)  # [F]
        self._logits: deque[float] = deque(maxlen=1 if fall is None else fall.ticks)
        self._surprise: deque[float] = deque(maxlen=section.change.ticks)
        self._since = 0  # ticks since the start or the last new command
        self._wanted: Sequence[float] = ()  # [U] that command

    def scores(
        self, surprise: float, belief: NDArray[np.float32] | None, command: Sequence[float], *, is_first: bool
    ) -> Scores:
        """Those of the next tick.

        ``belief`` [F] is the output that is read, flat (None where none is); ``command`` [U] the operator's, SI. One
        that creeps away is a new one once it is a step from the last new one.
        """
        change, fall = self.section.change, self.section.fall
        stepped = (abs(a - b) > step for a, b, step in zip(command, self._wanted, change.command_step, strict=False))
        if is_first or any(stepped):
            self._since, self._wanted = 0, tuple(command)
            self._surprise.clear()
            self._logits.clear()
        self._since += 1
        if self._since > change.settle_ticks:
            self._surprise.append(surprise)
        if fall is not None and belief is not None and self._since > fall.blind_ticks:
            self._logits.append(float(self._weights @ belief) + fall.bias)
        return Scores(
            change=math.fsum(self._surprise) / change.ticks if len(self._surprise) == change.ticks else math.nan,
            fall=math.fsum(self._logits) / len(self._logits) if self._logits else math.nan,
            restless=self._since <= change.settle_ticks,
        )

    def text(self, scores: Scores) -> str:
        """What the scores say, in words; "" where they say nothing."""
        change, fall = self.section.change, self.section.fall
        found = []
        if fall is not None and self.is_falling(scores):
            limit = fall.restless_limit if scores.restless else fall.limit
            found.append(f"about to fall: log-odds {scores.fall:.3g}, limit {limit:.3g}")
        if self.is_changed(scores):
            found.append(f"the world has changed: mean surprise {scores.change:.3g}, limit {change.limit:.3g}")
        return "; ".join(found)

    def is_changed(self, scores: Scores) -> bool:
        """Whether the world is not the one that the model knows."""
        return scores.change > self.section.change.limit

    def is_falling(self, scores: Scores) -> bool:
        """Whether the robot is about to fall."""
        fall = self.section.fall
        return fall is not None and scores.fall > (fall.restless_limit if scores.restless else fall.limit)


def conformal_limit(scores: Sequence[float], rate: float, confidence: float = 0.0) -> float:
    """The score that a new episode, exchangeable with these n, exceeds with a probability of at most ``rate``.

    Split conformal prediction (Vovk, Gammerman and Shafer 2005; Lei et al. 2018): the ceil((n + 1)(1 - rate))-th
    smallest. UserError where n is too small for any to do: 1 / rate - 1 are needed.

    That holds for the mean of all monitors that might have been calibrated; of a single one about every second has a
    larger rate. With ``confidence`` above 0 the rate of this one is at most ``rate`` with that probability (Vovk,
    Conditional validity of inductive conformal predictors, 2012): of independent episodes the number above the true
    (1 - rate)-quantile is Bin(n, rate), so that m may be left above the limit where P(Bin(n, rate) <= m) is at most
    1 - confidence. Then log(1 - confidence) / log(1 - rate) episodes are needed.
    """
    count = len(scores)
    rank = math.ceil((count + 1) * (1.0 - rate) - 1e-9)
    needed = math.ceil(1 / rate - 1 - 1e-9)
    sure = ""
    if confidence > 0.0:
        rank = max(rank, count - _left_above(count, rate, 1.0 - confidence))
        needed = max(needed, math.ceil(math.log1p(-confidence) / math.log1p(-rate) - 1e-9))
        sure = f", with a confidence of {confidence:g},"
    if rank > count:
        raise UserError(f"a false alarm rate of {rate:g}{sure} needs {needed} episodes, got {count}")
    return sorted(scores)[rank - 1]


def _left_above(count: int, rate: float, risk: float) -> int:
    """The largest m with P(Bin(count, rate) <= m) <= risk; -1 where there is none."""
    total, m = 0.0, -1
    while m < count:
        log_ways = math.lgamma(count + 1) - math.lgamma(m + 2) - math.lgamma(count - m)
        total += math.exp(log_ways + (m + 1) * math.log(rate) + (count - m - 1) * math.log1p(-rate))
        if total > risk:
            break
        m += 1
    return m


def command_fields(spec: AgentSpec) -> tuple[ObservationField, ...]:
    """The observation fields that hold what the operator wants, U numbers in all."""
    return tuple(field for field in spec.observations if field.source is Source.COMMAND)
