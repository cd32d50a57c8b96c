"""Imagined beside real, from the same states: the numbers that an audit judges and draws.

Shape letters: N states, H imagined steps, L numbers of a latent, S steps of all episodes, P reward terms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robot_wm.inspect.imagining import Imagined, imagine
from robot_wm.inspect.probe import Probe, fit_probe
from robot_wm.inspect.reliving import Lived
from robot_wm.learning.agent import Agent

Floats = NDArray[np.float64]


class State(NamedTuple):
    """A real state of which the policy's future is known."""

    lived: Lived
    step: int  # of its episode

    @property
    def group(self) -> int:
        """The stored episode that it comes from; what comes of states of one episode is not independent."""
        return self.lived.start.number


@dataclass(frozen=True)
class Comparison:
    """What was imagined from each state, and what the simulator gave. Real numbers are NaN where nobody knows them."""

    states: list[State]  # N
    group: NDArray[np.int64]  # [N]
    imagined: Imagined  # [H, N] each
    real_returns: Floats  # [H, N] discounted sums of the rewards of steps 1..h
    value: Floats  # [N] the critic's
    real_value: Floats  # [N] discounted return of all steps that were lived, and the critic's word for what follows
    bootstrapped: Floats  # [N] that word's weight: 0 where the episode ended for good
    probe: Probe | None  # of reward terms
    real_terms: Floats  # [H, N, P] discounted sums

    @property
    def horizon(self) -> int:
        """H."""
        return len(self.real_returns)


class OneStep(NamedTuple):
    """Every step of every restored episode: what the model said of it a step ahead, and what came."""

    predicted_reward: Floats  # [S]
    reward: Floats  # [S]
    goes_on: Floats  # [S] predicted chance that the episode goes on; a head that errs says more than 1, too
    went_on: Floats  # [S] 1 or 0
    surprise: Floats  # [S]
    group: NDArray[np.int64]  # [S]


def compare(
    agent: Agent,
    lived: Sequence[Lived],
    *,
    horizon: int,
    draws: int,
    seed: int,
    discount: float,
    greedy: bool = True,
) -> Comparison:
    """Imagine ``horizon`` steps from every state that was lived by the policy and of which a latent was kept."""
    states = [State(one, step) for one in lived for step in sorted(one.latents) if one.start.step <= step < one.steps]
    probe, names = None, sorted({name for one in lived for name in one.terms})
    group = np.array([state.group for state in states], np.int64)
    if names and len(np.unique([one.start.number for one in lived])) > 1:
        probe = _term_probe(names, lived)
    latents = np.stack([state.lived.latents[state.step] for state in states])  # [N, L]
    imagined = imagine(agent, latents, horizon=horizon, draws=draws, seed=seed, greedy=greedy, probe=probe)
    values = np.array([_value(state, discount) for state in states])  # [N, 3]
    return Comparison(
        states=states,
        group=group,
        imagined=imagined,
        real_returns=np.stack([_returns(s.lived.reward, s, horizon, discount) for s in states], 1),
        value=values[:, 0],
        real_value=values[:, 1],
        bootstrapped=values[:, 2],
        probe=probe,
        real_terms=np.stack(
            [
                np.stack([_returns(s.lived.terms[name], s, horizon, discount) for name in names], -1)
                if probe is not None
                else np.zeros((horizon, 0))
                for s in states
            ],
            1,
        ),
    )


def one_step(lived: Sequence[Lived], discount: float) -> OneStep:
    """All steps of ``lived``, joined."""

    def joined(column: Callable[[Lived], ArrayLike]) -> Floats:
        return np.concatenate([np.asarray(column(one), np.float64) for one in lived])

    return OneStep(
        predicted_reward=joined(lambda one: one.predicted_reward),
        reward=joined(lambda one: one.reward),
        goes_on=joined(lambda one: np.array(one.predicted_discount) / discount),
        went_on=joined(lambda one: 1.0 - (np.arange(one.steps) == one.steps - 1) * one.terminated),
        surprise=joined(lambda one: one.surprise[1:]),
        group=joined(lambda one: np.full(one.steps, one.start.number)).astype(np.int64),
    )


def _term_probe(names: Sequence[str], lived: Sequence[Lived]) -> Probe:
    """Reward terms of the step that led to each kept latent, read off it."""
    pairs = [(one, step) for one in lived for step in sorted(one.latents) if step > 0]
    return fit_probe(
        names,
        np.stack([one.latents[step] for one, step in pairs]),
        np.array([[one.terms[name][step - 1] for name in names] for one, step in pairs]),
        np.array([one.start.number for one, _ in pairs], np.int64),
    )


def _returns(values: Sequence[float], state: State, horizon: int, discount: float) -> Floats:
    """Discounted sums of the next 1..H ``values`` [H]; after a terminal step nothing comes, elsewhere nobody knows."""
    coming = np.asarray(values[state.step : state.step + horizon], np.float64)
    sums = np.cumsum(coming * discount ** np.arange(len(coming)))
    rest = sums[-1] if state.lived.terminated else np.nan
    return np.concatenate([sums, np.full(horizon - len(sums), rest)])


def _value(state: State, discount: float) -> tuple[float, float, float]:
    one, step = state
    rewards = np.asarray(one.reward[step:], np.float64)
    weight = 0.0 if one.terminated else discount ** len(rewards)
    earned = float((rewards * discount ** np.arange(len(rewards))).sum())
    return one.value[step], earned + weight * one.value[-1], weight
