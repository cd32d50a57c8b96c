"""Linear model-predictive control of the plant: a quadratic programme every five minutes, solved by OSQP.

Minimise the identified power over the horizon, subject to ramps of the set-points, to where the plant was learned, to
inlet air below the limit by what the model errs, and to valves that still close. Load and weather are taken to stay as
they are, and so is what the last predictions were wrong by. Limits of inlet and valve are soft, at a price above any
energy, so that there always is a solution. Shape letters: N steps of the horizon, A set-points in policy units, H
halls, W other inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot_wm.runtime.limits import command_limits
from robot_wm.runtime.transform import to_policy
from robot_wm.spec import AgentSpec
from robot_wm_bench.cooling.controller import Observation
from robot_wm_bench.cooling.identify import LinearMap, PlantModel, command_of, other_inputs, season_of

Array = NDArray[np.float64]


@dataclass(frozen=True)
class MpcConfig:
    """What an engineer tunes."""

    horizon: int = 6  # N, control steps: half an hour
    inlet_limit_c: float = 27.0
    margin_k: float = 0.3  # beside the model's own error
    valve_limit: float = 0.8
    inlet_price: float = 20.0  # kW a K
    valve_price: float = 200.0  # kW a whole valve


class LinearMpc:
    """`PlantController` of an identified `PlantModel`."""

    def __init__(self, spec: AgentSpec, model: PlantModel, config: MpcConfig | None = None) -> None:
        self._spec, self._model, self.config = spec, model, config or MpcConfig()
        limits = command_limits(spec)
        reach = np.asarray(spec.action.scale) * spec.action.clip
        self._ramp = limits.step.astype(np.float64) / reach  # [A] policy units a step
        self._inlet = Horizon(model.hall, model.inlet, self._n)
        self._valve = Horizon(model.hall, model.valve, self._n)
        self.reset()
        self._solvers = [self._set_up(power.hessian) for power in model.power]

    @property
    def _n(self) -> int:
        return self.config.horizon

    def reset(self) -> None:
        """Forget by how much the model was wrong."""
        self._before_c: Array | None = None  # [H] halls at the last step
        self._wrong = np.zeros((2, len(self._model.hall.hall)))  # [inlet and valve, H]

    def _learn_offset(self, observation: Observation, u: Array, w: Array) -> None:
        """Take half of what the last prediction was wrong by for what the next ones are: offset-free tracking."""
        hall_c = observation["hall_temperature"].astype(np.float64)
        if self._before_c is not None:
            maps = zip((self._model.inlet, self._model.valve), ("inlet_temperature", "valve"), strict=True)
            for kind, (one, name) in enumerate(maps):
                told = one.hall * self._before_c + one.gain @ u + one.feed @ w + one.rest
                self._wrong[kind] += 0.5 * (observation[name] - told - self._wrong[kind])
        self._before_c = hall_c

    def act(self, observation: Observation) -> Array:
        """[A] set-points; those that are, should the solver find none."""
        now = to_policy(self._spec.action, observation["set_points"]).astype(np.float64)
        w = other_inputs(observation)
        config, n = self.config, self._n
        hall_c = observation["hall_temperature"].astype(np.float64)
        self._learn_offset(observation, now, w)
        inlet = self._inlet.free(hall_c, w) + self._wrong[0]  # [N, H]
        valve = self._valve.free(hall_c, w) + self._wrong[1]  # [N, H]
        limit_c = config.inlet_limit_c - config.margin_k - self._model.inlet.high_error
        season = season_of(float(observation["weather"][1]))
        power, solver = self._model.power[season], self._solvers[season]
        slope = power.slope + power.cross @ w  # [A]
        q = np.concatenate([np.tile(slope, n), self._prices])
        first = np.zeros((n, len(now)))
        first[0] = now
        slacks = 2 * n * inlet.shape[1]
        low = np.concatenate(
            [np.tile(self._model.span[0], n), (first - self._ramp).ravel(), np.full(slacks, -np.inf), np.zeros(slacks)]
        )
        high = np.concatenate(
            [
                np.tile(self._model.span[1], n),
                (first + self._ramp).ravel(),
                (limit_c - inlet).ravel(),
                (config.valve_limit - valve).ravel(),
                np.full(slacks, np.inf),
            ]
        )
        solver.update(q=q, l=low, u=high)
        solution = solver.solve(raise_error=False)
        if solution.info.status_val not in (1, 2):  # solved, or nearly
            return observation["set_points"].astype(np.float64)
        return command_of(self._spec, solution.x[: len(now)])

    def _set_up(self, hessian: Array):  # type: ignore[no-untyped-def]  # OSQP has no types
        import osqp
        from scipy import sparse

        n, halls, a = self._n, len(self._model.inlet.rest), self._spec.action_dim
        slacks = n * halls
        self._prices = np.repeat([self.config.inlet_price, self.config.valve_price], slacks)
        quadratic = sparse.block_diag(
            [sparse.kron(sparse.eye(n), hessian), 1e-3 * sparse.eye(2 * slacks)], format="csc"
        )
        difference = sparse.kron(sparse.eye(n) - sparse.eye(n, k=-1), sparse.eye(a))
        none = sparse.csc_matrix((n * a, 2 * slacks))
        limited = sparse.csc_matrix(np.vstack([self._inlet.forced, self._valve.forced]))
        constraints = sparse.vstack(
            [
                sparse.hstack([sparse.eye(n * a), none]),
                sparse.hstack([difference, none]),
                sparse.hstack([limited, -sparse.eye(2 * slacks)]),
                sparse.hstack([sparse.csc_matrix((2 * slacks, n * a)), sparse.eye(2 * slacks)]),
            ],
            format="csc",
        )
        rows = constraints.shape[0]
        solver = osqp.OSQP()
        solver.setup(
            sparse.triu(quadratic, format="csc"),
            np.zeros(quadratic.shape[0]),
            constraints,
            np.full(rows, -np.inf),
            np.full(rows, np.inf),
            verbose=False,
            eps_abs=1e-4,
            eps_rel=1e-4,
            max_iter=4000,
        )
        return solver


class Horizon:
    """Something over the horizon: ``forced @ u`` (u [N * A], result [N * H]) on top of `free`."""

    def __init__(self, hall: LinearMap, output: LinearMap, n: int) -> None:
        self._hall, self._output, self._n = hall, output, n
        halls, a = output.gain.shape
        self.forced = np.zeros((n * halls, n * a))
        for k in range(n):
            rows = slice(k * halls, (k + 1) * halls)
            self.forced[rows, k * a : (k + 1) * a] = output.gain
            for j in range(k):
                lag = (output.hall * hall.hall ** (k - 1 - j))[:, None]
                self.forced[rows, j * a : (j + 1) * a] = lag * hall.gain

    def free(self, hall_c: Array, w: Array) -> Array:
        """Without any set-point's part, [N, H], from the halls' temperatures [H] under other inputs [W]."""
        found = np.empty((self._n, len(hall_c)))
        for k in range(self._n):
            found[k] = self._output.hall * hall_c + self._output.feed @ w + self._output.rest
            hall_c = self._hall.hall * hall_c + self._hall.feed @ w + self._hall.rest
        return found
