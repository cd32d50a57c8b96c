"""Finds worlds in which a robot moves as it did in a log that no replay can follow: it walks, and its base is free.

CMA-ES (Hansen's `cma`): a walk is chaotic, so the cost has noise and no slope. What is sought are numbers of
`robot_wm_sim.randomisation`, the same for all joints: what each joint is, a walk does not tell apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_wm_sim.identification.distribution import Likeness
from robot_wm_sim.identification.processes import AnswerAll

Float64 = NDArray[np.float64]
Numbers = Mapping[str, float]


class Rollout(NamedTuple):
    """What a robot did in one world."""

    windows: Float64  # [W, N, F] of what is fitted
    judged: Float64  # [W, N, F] of what comes behind it
    stood: float  # share of the time before a fall


# Where to look, and where to begin: a sound robot with some of everything.
BOUNDS: Mapping[str, tuple[float, float, float]] = {
    "joint_friction": (0.0, 0.06, 0.01),
    "joint_damping_s": (0.0, 0.006, 0.001),
    "armature_s2": (0.0, 0.002, 0.0003),
    "motor_strength": (0.6, 1.3, 1.0),
    "action_latency_s": (0.0, 0.08, 0.015),
}
SPREAD = 0.25  # of the way between bounds that the first generation is spread over
ALIKE = (
    2.0  # standard deviations of a repeated rollout's distance: worlds no further than that from the best are as good
)
LEAST_ALIKE = 10  # worlds that the ranges hold in any case
REPEATS = 6
FAR = 10.0  # standard deviations: no two motions of one robot are
MOST_UNLIKE = 2.0  # times as far as one rollout of a world is from another


@dataclass(frozen=True)
class Matched:
    """What was found."""

    best: dict[str, float]
    ranges: dict[str, tuple[float, float]]  # that hold all worlds as good as the best
    distance: float  # of the best's rollouts to what was fitted
    held_out: float  # of their later part to what was not fitted
    before: float  # the same of the world as built
    luck: float  # of the best's rollouts from each other, in that part
    tried: int
    shown: Rollout  # one of the best world
    shown_before: Rollout  # and of the world as built

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why nothing should be deployed that learned in such worlds; empty where it may."""
        if self.held_out <= MOST_UNLIKE * self.luck:
            return ()
        return (
            f"the simulated motion is {self.held_out:.3g} from what was held out, and {self.luck:.3g} from itself in"
            f" another try (at most {MOST_UNLIKE:g} times as far)",
        )

    def is_informed(self, name: str) -> bool:
        """Whether worlds that are as good leave out half of what was looked at."""
        low, high, _ = BOUNDS[name]
        return self.ranges[name][1] - self.ranges[name][0] < 0.5 * (high - low)


def match(
    fit: Sequence[Float64],
    held_out: Sequence[Float64],
    rollouts: AnswerAll[tuple[Numbers, int], Rollout],
    *,
    names: Sequence[str],
    generations: int = 25,
    population: int = 10,
    seed: int = 0,
    on_step: Callable[[int, float], None] = lambda step, cost: None,
) -> Matched:
    """Search for numbers of ``names`` (keys of BOUNDS); ``fit`` and ``held_out`` are windows of the log.

    All worlds of one generation have the same seed, so that luck is the same for all of them.
    """
    import cma

    fitted, judged = Likeness(fit), Likeness(held_out)
    low, high, start = np.array([BOUNDS[name] for name in names]).T

    def numbers(point: Float64) -> dict[str, float]:
        return dict(zip(names, (low + np.clip(point, 0.0, 1.0) * (high - low)).tolist(), strict=True))

    def costs(worlds: Sequence[Numbers], seed: int) -> list[float]:
        return [_cost(fitted, told) for told in rollouts([(world, seed) for world in worlds])]

    options = {"bounds": [0.0, 1.0], "popsize": population, "seed": seed + 1, "verbose": -9}
    search = cma.CMAEvolutionStrategy((start - low) / (high - low), SPREAD, options)
    tried: list[tuple[Float64, float]] = []
    for generation in range(generations):
        points = [np.asarray(point) for point in search.ask()]
        found = costs([numbers(point) for point in points], seed + generation)
        search.tell(points, found)
        tried += zip(points, found, strict=True)
        on_step(generation + 1, min(found))
    middle = np.asarray(search.result.xfavorite)
    best = numbers(middle)
    others = [seed + 1000 + number for number in range(REPEATS)]
    repeated = rollouts([(best, other) for other in others])
    before = rollouts([({}, other) for other in others])
    again = [_cost(fitted, told) for told in repeated]
    bound = float(np.mean(again) + ALIKE * np.std(again))
    ranked = sorted(tried, key=lambda one: one[1])
    # No fewer than a few: a search that has not come to its end has seen too little to be sure.
    alike = np.stack([middle, *(p for n, (p, cost) in enumerate(ranked) if cost <= bound or n < LEAST_ALIKE)])
    ends = zip(alike.min(axis=0), alike.max(axis=0), strict=True)
    return Matched(
        best=best,
        ranges={
            name: (float(a + lower * (b - a)), float(a + upper * (b - a)))
            for name, a, b, (lower, upper) in zip(names, low, high, ends, strict=True)
        },
        distance=float(np.mean(again)),
        held_out=float(np.mean([_later(judged, told) for told in repeated])),
        before=float(np.mean([_later(judged, told) for told in before])),
        luck=_luck(repeated),
        tried=len(tried),
        shown=repeated[0],
        shown_before=before[0],
    )


def _cost(likeness: Likeness, told: Rollout) -> float:
    """A distance; who fell early has shown little, and none of it counts as alike."""
    return (likeness.distance([told.windows]) if len(told.windows) else FAR) + FAR * (1.0 - told.stood)


def _later(likeness: Likeness, told: Rollout) -> float:
    """Of the later part."""
    return likeness.distance([told.judged]) if len(told.judged) else FAR


def _luck(rollouts: Sequence[Rollout]) -> float:
    """How far rollouts of one world are from the first, where they got so far."""
    first, *others = [told.judged for told in rollouts if len(told.judged)] or [np.zeros((0, 1, 1))]
    return float(np.mean([Likeness([first]).distance([other]) for other in others])) if others else 0.0
