"""What an audit finds wrong with a model, and the limits that it judges by.

Each limit is a share, so that it means the same for every task; what is random is given two standard errors.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from robot_wm.inspect.calibration import Mean, Reliability
from robot_wm.inspect.comparison import Comparison, OneStep

_SURE = 2.0  # standard errors
_VARIED = 0.05  # of their scale: returns that vary by less are those of states that are all as good


class Limits(BaseModel):
    """From where on something is a finding."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    gap: float = Field(default=0.1, gt=0, description="imagined less real return over the whole horizon, of its scale")
    states: float = Field(default=0.2, gt=0, description="how far states' gaps lie around that, of the same scale")
    resolution: float = Field(
        default=0.2, lt=1, description="least share of what states' real returns vary by that imagined ones tell"
    )
    reward: float = Field(default=0.1, gt=0, description="a step's predicted less real reward, of the rewards' scale")
    reward_error: float = Field(default=0.5, gt=0, description="root mean square error of that, of the same scale")
    value: float = Field(default=0.25, gt=0, description="value above real return, of its scale")
    ends: float = Field(default=0.01, gt=0, description="predicted less real chance that the episode goes on, a step")
    lag: float = Field(default=1.1, gt=1, description="variance of reward errors at no lag, over the least at another")


class Finding(NamedTuple):
    """One thing that is wrong, in one line."""

    name: str
    text: str


def scale(returns: np.ndarray) -> float:
    """What a gap of such returns is a share of: their mean magnitude or their spread, whichever is larger."""
    known = returns[~np.isnan(returns)]
    if not len(known):
        return 1.0
    return max(float(np.abs(known).mean()), float(known.std()), 1e-6)


def clearly(off: Mean) -> float:
    """How far a mean is from 0 at the least: less two standard errors, with its sign; 0 where it may be none."""
    error = 0.0 if math.isnan(off.error) else off.error
    return math.copysign(max(0.0, abs(off.value) - _SURE * error), off.value)


def state_error(compared: Comparison) -> float:
    """Standard deviation over states of imagined less real return over the whole horizon, reward units."""
    return float(np.nanstd(compared.imagined.returns[-1] - compared.real_returns[-1]))


def resolution(compared: Comparison) -> float:
    """Share of the variance of real returns over states that imagined ones tell; NaN where they do not vary."""
    variance = float(np.nanvar(compared.real_returns[-1]))
    return 1.0 - state_error(compared) ** 2 / variance if variance > 0 else math.nan


def judge(
    compared: Comparison,
    steps: OneStep,
    *,
    gap: Mean,
    reward: Reliability,
    ends: Mean,
    value: Reliability,
    lags: dict[int, float],
    not_again: int,
    restored: int,
    limits: Limits,
) -> list[Finding]:
    """Everything that is beyond its limit."""
    found = []
    if not_again:
        told = f"{not_again} of {restored} restored episodes do not happen again: this simulator is not the one of the"
        found.append(Finding("world", f"{told} replay"))
    whole = scale(compared.real_returns[-1])
    if abs(clearly(gap)) > limits.gap * whole:
        kind = "more" if gap.value > 0 else "less"
        told = f"{compared.horizon} steps are imagined to bring {abs(gap.value) / whole:.0%} {kind} than they bring"
        found.append(Finding("gap", f"{told} (limit {limits.gap:.0%}): {gap.value:+.3g} of {whole:.3g}"))
    if (apart := state_error(compared)) > limits.states * whole:
        told = f"a state's imagined return is {apart / whole:.0%} off its real one, beside what all are off"
        found.append(Finding("states", f"{told} (limit {limits.states:.0%}): good states are not told from bad ones"))
    told_apart, spread = resolution(compared), float(np.nanstd(compared.real_returns[-1]))
    if told_apart < limits.resolution and spread > _VARIED * whole:
        told = f"imagined returns tell {told_apart:.0%} of what real ones vary by from state to state"
        found.append(Finding("resolution", f"{told} (at least {limits.resolution:.0%})"))
    of_step = scale(steps.reward)
    if abs(clearly(reward.bias)) > limits.reward * of_step:
        told = f"a step's reward is predicted {reward.bias.value / of_step:+.0%} off (limit {limits.reward:.0%})"
        found.append(Finding("reward", f"{told}: {reward.bias.value:+.3g} of {of_step:.3g}"))
    if reward.rms > limits.reward_error * of_step:
        told = f"a step's reward is predicted with an error of {reward.rms / of_step:.0%}"
        found.append(Finding("reward_error", f"{told} of its scale {of_step:.3g} (limit {limits.reward_error:.0%})"))
    best = min(lags, key=lambda lag: lags[lag]) if not any(map(math.isnan, lags.values())) else 0
    if best and lags[0] > limits.lag * lags[best]:
        told = f"rewards are predicted as they come {abs(best)} steps {'later' if best > 0 else 'earlier'}"
        found.append(Finding("lag", f"{told}: errors vary by {lags[0]:.3g}, with that lag by {lags[best]:.3g}"))
    if abs(clearly(ends)) > limits.ends:
        told = f"the chance that the episode goes on is predicted {ends.value:+.2%} a step off"
        found.append(Finding("ends", f"{told} (limit {limits.ends:.2%}); {int((1.0 - steps.went_on).sum())} ended"))
    of_value = scale(compared.real_value)
    # Not where they are too low: a critic learns what the policy gets with its noise, and robots act without.
    if clearly(value.bias) > limits.value * of_value:
        told = f"values are {value.bias.value / of_value:+.0%} off what the policy then gets (limit {limits.value:.0%})"
        found.append(Finding("value", f"{told}: {value.bias.value:+.3g} of {of_value:.3g}"))
    return found
