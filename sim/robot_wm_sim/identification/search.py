"""Finds the parameters with which a replay comes closest to a log, in the mean square, and how sure they are.

MuJoCo's own box-bounded Gauss-Newton search (`mujoco.minimize`, which `mujoco.sysid` goes by) over whatever engine
replays: a log in the air has a smooth cost with one valley from a start within the bounds, and its derivatives cost
less than a generation of CMA-ES, which PACE takes with 4096 simulations at once. With the base held, limbs do not feel
each other: one replay moves a parameter of a joint in each limb at once, so that a quadruped of 50 parameters has its
derivatives from 14 replays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from mujoco import minimize
from numpy.typing import NDArray

from robot_wm_sim.identification.certainty import posterior
from robot_wm_sim.identification.joint_log import Stretch
from robot_wm_sim.identification.parameters import Parameters, World
from robot_wm_sim.identification.player import Told
from robot_wm_sim.identification.processes import AnswerAll
from robot_wm_sim.identification.residual import Units, misfit

Float64 = NDArray[np.float64]
STEP = 2e-3  # of a derivative, along [0, 1]
MOST_ITERATIONS = 20
ENOUGH = 1e-3  # relative step that ends the search
DELAYS_S = (0.0, 0.05)  # that searches begin with: a wrong one by half a joint's period may hold a search up


@dataclass(frozen=True)
class Fit:
    """What was found."""

    share: Float64  # [P] in [0, 1]
    deviation: Float64  # [P] standard deviation of each share; inf where the log tells nothing
    cost: float  # mean square of the misfit, units²
    replays: int


class Search:
    """One log's. Shape letter: R residuals of a joint."""

    def __init__(
        self, parameters: Parameters, play: AnswerAll[World, Told], stretches: Sequence[Stretch], units: Units
    ) -> None:
        """``play`` tells what joints would have said in each of several worlds."""
        self._parameters, self._play = parameters, play
        self._stretches, self._units = stretches, units
        self._moves = self._moved_at_once()
        self.replays = 0

    def misfits(self, shares: Sequence[Float64]) -> list[Float64]:
        """[R, N] at each of several points [P]."""
        self.replays += len(shares)
        worlds = [self._parameters.world(share) for share in shares]
        return [self._misfit(told) for told in self._play(worlds)]

    def _misfit(self, told: Told) -> Float64:
        both = zip(self._stretches, told, strict=True)
        return np.concatenate([misfit(stretch, self._units, *said) for stretch, said in both])

    def _moved_at_once(self) -> list[list[tuple[int, list[int]]]]:
        """For each replay of a derivative: parameters, and of each the joints [N] that feel it."""
        parameters, n = self._parameters, len(self._parameters.joints)
        moves = []
        for kind in parameters.kinds:
            for rank in range(max(map(len, parameters.limbs))):
                limbs = [limb for limb in parameters.limbs if rank < len(limb)]
                moves.append([(parameters.place(kind.name, limb[rank]), list(limb)) for limb in limbs])
        shared = range(len(parameters) - 2, len(parameters))
        return moves + [[(place, list(range(n)))] for place in shared]

    def derivative(self, share: Float64, here: Float64) -> Float64:
        """[R * N, P] of the misfit ``here`` [R, N]."""
        points, steps = [], np.where(share > 0.5, -STEP, STEP)
        for move in self._moves:
            point = share.copy()
            places = [place for place, _ in move]
            point[places] += steps[places]
            points.append(point)
        found = np.zeros((*here.shape, len(share)))
        for move, there in zip(self._moves, self.misfits(points), strict=True):
            for place, joints in move:
                found[:, joints, place] = (there - here)[:, joints] / steps[place]
        return found.reshape(-1, len(share))

    def run(self, on_step: Callable[[int, float], None] = lambda step, cost: None) -> Fit:
        """Search from each of the starting delays, and go on from the best."""
        parameters = self._parameters
        starts = []
        for delay_s in DELAYS_S:
            start = parameters.start.copy()
            place = parameters.place("delay")
            start[place] = parameters.all[place].share(delay_s)
            starts.append(self._descend(start, iterations=3, on_step=on_step))
        best = min(starts, key=lambda found: found[1])
        share, cost = self._descend(best[0], iterations=MOST_ITERATIONS, on_step=on_step)
        (here,) = self.misfits([share])
        sure = posterior(share, here, self.derivative(share, here), parameters.known)
        return Fit(*sure, cost, self.replays)

    def _descend(
        self, start: Float64, *, iterations: int, on_step: Callable[[int, float], None]
    ) -> tuple[Float64, float]:
        shape: list[tuple[int, ...]] = []

        # What is known beforehand is a residual more a parameter, so that what the log does not tell stays there.
        weight = 1.0 / self._parameters.known  # [P]

        def residual(points: Float64) -> Float64:  # [P, K] -> [R * N + P, K]
            found = self.misfits([np.clip(column, 0.0, 1.0) for column in points.T])
            shape[:] = [found[0].shape]
            rows = np.stack([one.reshape(-1) for one in found], axis=1)
            return np.concatenate([rows, weight[:, None] * (points - 0.5)])

        def jacobian(point: Float64, here: Float64) -> Float64:
            of_log = self.derivative(point[:, 0], here[: -len(weight)].reshape(shape[0]))
            return np.concatenate([of_log, np.diag(weight)])

        def told(trace: list[minimize.IterLog]) -> None:
            on_step(len(trace), float(trace[-1].objective))

        zeros, ones = np.zeros_like(start), np.ones_like(start)
        share, trace = minimize.least_squares(
            start,
            residual,
            bounds=[zeros, ones],
            jacobian=jacobian,
            max_iter=iterations,
            xtol=ENOUGH,
            gtol=1e-3,
            # In place of 10 and of 1e8: once derivatives are as coarse as the step that is left, it ends soon.
            mu_factor=10.0,
            mu_max=1e2,
            x_scale="jac",
            verbose=minimize.Verbosity.SILENT,
            iter_callback=told,
        )
        return share, 2.0 * float(trace[-1].objective) / np.prod(shape[0])
