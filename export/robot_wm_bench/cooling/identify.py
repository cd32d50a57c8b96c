"""A linear model of inlet air and valves, and convex quadratic ones of power, from what a plant has recorded.

Power is another function where the economiser carries all, some or nothing of the heat, so it is fitted by itself in
each of three ranges of the wet bulb: gain scheduling, by what is measured.

Shape letters: L recorded steps, A set-points (policy units in [-1, 1]), W what is not commanded (servers' power of both
halls and the wet bulb, each scaled), H halls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot_wm.runtime.transform import to_command, to_policy
from robot_wm.spec import AgentSpec
from robot_wm_bench.cooling.controller import Observation
from robot_wm_bench.cooling.rollout import Env, run_episode
from robot_wm_worlds.cooling.plant import HALLS

Array = NDArray[np.float64]

WET_BULB_EDGES_C = (7.0, 15.0)
_HOT_C = 28.0  # inlet air that the linear maps are for, at most
_OPEN = 0.97  # share of a valve's water
_LEAST_CURVATURE = 1e-3  # kW; keeps the quadratic's minimum unique


@dataclass(frozen=True)
class Recording:
    """Steps of a plant: the halls before, the set-points that it ran under, and what was after."""

    action: Array  # [L, A] policy units, after ranges and ramps
    other: Array  # [L, W]
    hall_c: Array  # [L, H] before
    hall_after_c: Array  # [L, H]
    inlet_after_c: Array  # [L, H]
    valve_after: Array  # [L, H]
    power_kw: Array  # [L] after


@dataclass(frozen=True)
class LinearMap:
    """``hall * y + gain @ u + feed @ w + rest`` of each hall, from its temperature y before the step."""

    hall: Array  # [H]
    gain: Array  # [H, A]
    feed: Array  # [H, W]
    rest: Array  # [H]
    high_error: float  # that the truth is above the prediction by, in 0.1 % of the steps


@dataclass(frozen=True)
class PowerModel:
    """``u @ hessian @ u / 2 + (slope + cross @ w) @ u`` and a part that no set-point changes, kW."""

    hessian: Array  # [A, A] positive definite
    slope: Array  # [A]
    cross: Array  # [A, W]
    error_kw: float  # root mean square


@dataclass(frozen=True)
class PlantModel:
    """One state a hall, its temperature; inlet air and valves follow from it, the set-points and the load."""

    hall: LinearMap  # °C, after the step
    inlet: LinearMap  # °C
    valve: LinearMap  # 1
    power: tuple[PowerModel, ...]  # of the ranges between WET_BULB_EDGES_C
    span: Array  # [2, A] least and largest set-points that it was learned from, policy units


def other_inputs(observation: Observation) -> Array:
    """What is not commanded, [W]: servers' power of both halls in 30 kW from 100 kW, wet bulb in 15 K from 15 °C."""
    it = (observation["it_power"].astype(np.float64) - 100e3) / 30e3
    return np.array([*it, (float(observation["weather"][1]) - 15.0) / 15.0])


def season_of(wet_bulb_c: float) -> int:
    """Which of the power models holds."""
    return int(np.searchsorted(WET_BULB_EDGES_C, wet_bulb_c))


class Excitation:
    """Set-points to learn a plant from: all are drawn anew after up to an hour, about where a plant is run."""

    def __init__(self, rng: np.random.Generator, longest_steps: int = 12) -> None:
        self._rng, self._longest_steps = rng, longest_steps
        self.reset()

    def reset(self) -> None:
        """Draw anew at the next step."""
        self._left = 0

    def act(self, observation: Observation) -> Array:
        """[A] set-points."""
        if self._left == 0:
            self._left = int(self._rng.integers(1, self._longest_steps + 1))
            self._supply_c = self._rng.uniform(22.5, 26.0)
            self._ratio = self._rng.uniform(0.85, 1.05, len(HALLS))
            self._chilled_c = self._supply_c - self._rng.uniform(3.0, 8.0)
        self._left -= 1
        return np.array([self._supply_c, *self._ratio, self._chilled_c])


def record(env: Env, spec: AgentSpec, *, episodes: int, seed: int) -> Recording:
    """Episodes of an excited plant; ``spec`` is that of `over_ranges`."""
    rows: list[tuple[Array, ...]] = []

    def keep(before: Observation, action: NDArray[np.float32], after: Observation) -> None:
        rows.append(
            (
                to_policy(spec.action, after["set_points"]).astype(np.float64),
                other_inputs(after),
                before["hall_temperature"].astype(np.float64),
                after["hall_temperature"].astype(np.float64),
                after["inlet_temperature"].astype(np.float64),
                after["valve"].astype(np.float64),
                np.array(after["power"].sum() / 1e3, np.float64),
            )
        )

    excitation = Excitation(np.random.default_rng(seed))
    for episode in range(episodes):
        run_episode(env, excitation, seed=seed + episode, on_step=keep)
    return Recording(*(np.array(column) for column in zip(*rows, strict=True)))


def identify(recording: Recording) -> PlantModel:
    """Least squares; raises ValueError for too few steps to tell the parameters apart."""
    season = np.searchsorted(WET_BULB_EDGES_C, recording.other[:, -1] * 15.0 + 15.0)  # [L]
    power = tuple(_power(recording, season == one) for one in range(len(WET_BULB_EDGES_C) + 1))
    return PlantModel(
        hall=_linear(recording, recording.hall_after_c),
        inlet=_linear(recording, recording.inlet_after_c),
        valve=_linear(recording, recording.valve_after),
        power=power,
        span=np.quantile(recording.action, (0.01, 0.99), axis=0),
    )


def _linear(recording: Recording, after: Array) -> LinearMap:
    """Fit ``after`` [L, H], hall by hall.

    A coil whose valve is open as far as it goes no longer holds what it is told: another plant, and left out.
    """
    used = (recording.valve_after < _OPEN).all(1) & (recording.inlet_after_c < _HOT_C).all(1)
    actions = recording.action.shape[1]
    rows, errors = [], []
    for hall in range(after.shape[1]):
        inputs = np.hstack([recording.hall_c[used, hall : hall + 1], recording.action[used], recording.other[used]])
        inputs = np.hstack([inputs, np.ones((len(inputs), 1))])
        rows.append(_least_squares(inputs, after[used, hall]))
        errors.append(np.quantile(after[used, hall] - inputs @ rows[-1], 0.999))
    found = np.array(rows)  # [H, 1 + A + W + 1]
    return LinearMap(
        hall=found[:, 0],
        gain=found[:, 1 : 1 + actions],
        feed=found[:, 1 + actions : -1],
        rest=found[:, -1],
        high_error=float(max(errors)),
    )


def _power(recording: Recording, used: NDArray[np.bool_]) -> PowerModel:
    """Fit power on the ``used`` [L] steps.

    What the data bend downwards is made straight: eigenvalues below a small positive one are raised to it, and the rest
    is fitted again.
    """
    u, w, power_kw = recording.action[used], recording.other[used], recording.power_kw[used]
    first, second = np.triu_indices(u.shape[1])
    products = u[:, first] * u[:, second] * np.where(first == second, 0.5, 1.0)  # [L, A (A + 1) / 2]
    rest = np.hstack(
        [
            u,
            (u[:, :, None] * w[:, None, :]).reshape(len(u), -1),
            w,
            np.stack([w[:, i] * w[:, j] for i in range(w.shape[1]) for j in range(i, w.shape[1])], 1),
            np.ones((len(u), 1)),
        ]
    )
    found = _least_squares(np.hstack([products, rest]), power_kw)[: products.shape[1]]
    hessian = np.zeros((u.shape[1],) * 2)
    hessian[first, second] = hessian[second, first] = found
    values, vectors = np.linalg.eigh(hessian)
    hessian = (vectors * np.maximum(values, _LEAST_CURVATURE)) @ vectors.T
    curved = 0.5 * np.einsum("li,ij,lj->l", u, hessian, u)
    found = _least_squares(rest, power_kw - curved)
    error = power_kw - curved - rest @ found
    actions, others = u.shape[1], w.shape[1]
    slope, cross = found[:actions], found[actions : actions * (1 + others)].reshape(actions, others)
    return PowerModel(hessian, slope, cross, float(np.sqrt(np.mean(error**2))))


def _least_squares(inputs: Array, wanted: Array) -> Array:
    found, _, rank, _ = np.linalg.lstsq(inputs, wanted, rcond=None)
    if rank < inputs.shape[1]:
        raise ValueError(f"{len(inputs)} steps do not tell {inputs.shape[1]} parameters apart (rank {rank})")
    return np.asarray(found, np.float64)


def over_ranges(spec: AgentSpec) -> AgentSpec:
    """The contract of who commands all that the plant's limits allow, and not only what lies about an agent's home.

    A policy unit is half of a command's range then.
    """
    low, high = np.transpose([limits.position for limits in spec.action.limits])  # [A] each
    action = spec.action.model_copy(
        update={"offset": tuple(map(float, (low + high) / 2)), "scale": tuple(map(float, (high - low) / 2))}
    )
    return spec.model_copy(update={"action": action})


def command_of(spec: AgentSpec, action: Array) -> Array:
    """SI set-points [A] of policy units [A]."""
    return to_command(spec.action, action).astype(np.float64)
