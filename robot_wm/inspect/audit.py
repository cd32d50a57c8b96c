"""An audit: what a model promises from real states, beside what the simulator then gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robot_wm.errors import UserError
from robot_wm.inspect.calibration import Mean, Reliability, lag_errors, reliability
from robot_wm.inspect.comparison import Comparison, OneStep, compare, one_step
from robot_wm.inspect.findings import Finding, Limits, clearly, judge, resolution, scale, state_error
from robot_wm.inspect.reliving import Lived, relive
from robot_wm.inspect.starts import draw_starts
from robot_wm.inspect.world import World
from robot_wm.learning.agent import Agent
from robot_wm.replay.store import EpisodeStore

MOST_LAG = 3  # control steps


@dataclass(frozen=True)
class AuditPlan:
    """How much is restored, lived and imagined."""

    states: int = 64  # restored in the simulator; of what is lived from them others are taken, too
    horizon: int | None = None  # control steps; None: what the agent learned to look ahead
    steps: int = 100  # control steps that the policy lives from each of them
    draws: int = 16  # of the model, from each state
    greedy: bool = True  # the policy's most likely actions, as on a robot
    seed: int = 0
    newest_steps: int | None = None  # of the store; None: all
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Audit:
    """What came of it. Curves are of all restored steps (reward, goes_on), or of all states (value)."""

    plan: AuditPlan
    lived: list[Lived]
    left_out: int  # states that no simulator could come back to
    compared: Comparison
    steps: OneStep
    gaps: list[Mean]  # [H] imagined less real return, of those whose real one is known
    reward: Reliability
    goes_on: Reliability
    value: Reliability
    lags: dict[int, float]  # variance of the errors of predicted rewards by lag, control steps
    findings: list[Finding]

    @property
    def relative_gap(self) -> float:
        """Imagined less real return over the whole horizon, as a share of its scale."""
        return self.gaps[-1].value / scale(self.compared.real_returns[-1])

    @property
    def not_again(self) -> int:
        """Restored states whose episode did not come again as it was recorded."""
        return sum(one.deviates_from is not None for one in self.lived)


def audit(
    agent: Agent,
    store: EpisodeStore,
    world: World,
    plan: AuditPlan,
    *,
    on_lived: Callable[[int], None] = lambda count: None,
    go_on: Callable[[], bool] = lambda: True,
) -> Audit:
    """Restore states of ``store``, live on from them, imagine the same and compare.

    ``on_lived`` and ``go_on`` are `relive`'s. Raises UserError for an agent without a model, a store without states
    to restore, and where nothing was lived.
    """
    imagination = agent.imagination()
    if imagination is None:
        raise UserError(f"audit: an agent of the kind {agent.kind!r} has no model that could be asked")
    horizon = plan.horizon or imagination.horizon
    starts = draw_starts(store, plan.states, np.random.default_rng(plan.seed), newest_steps=plan.newest_steps)
    lived = relive(
        agent,
        store.spec,
        world,
        starts.chosen,
        steps=max(plan.steps, horizon),
        seed=plan.seed,
        greedy=plan.greedy,
        keep_every=horizon,
        on_lived=on_lived,
        go_on=go_on,
    )
    if not any(one.steps > one.start.step for one in lived):
        raise UserError("audit: from no state the policy could act: every episode ended on the way to it")
    compared = compare(
        agent,
        lived,
        horizon=horizon,
        draws=plan.draws,
        seed=plan.seed,
        discount=imagination.discount,
        greedy=plan.greedy,
    )
    steps = one_step(lived, imagination.discount)
    gaps = []
    for imagined, real in zip(compared.imagined.returns, compared.real_returns, strict=True):
        known = ~np.isnan(real)
        gaps.append(Mean.of((imagined - real)[known], compared.group[known]))
    reward = reliability(steps.predicted_reward, steps.reward, steps.group)
    value = reliability(compared.value, compared.real_value, compared.group)
    lags = lag_errors(
        [np.array(one.predicted_reward) for one in lived], [np.array(one.reward) for one in lived], MOST_LAG
    )
    goes_on = reliability(steps.goes_on, steps.went_on, steps.group)
    findings = judge(
        compared,
        steps,
        gap=gaps[-1],
        reward=reward,
        ends=goes_on.bias,
        value=value,
        lags=lags,
        not_again=sum(one.deviates_from is not None for one in lived),
        restored=len(lived),
        limits=plan.limits,
    )
    return Audit(
        plan=plan,
        lived=lived,
        left_out=starts.left_out,
        compared=compared,
        steps=steps,
        gaps=gaps,
        reward=reward,
        goes_on=goes_on,
        value=value,
        lags=lags,
        findings=findings,
    )


def scalars(found: Audit) -> dict[str, float]:
    """What a log keeps of it, ``reality/*``; what is not known is left out."""
    of_reward, of_value = scale(found.steps.reward), scale(found.compared.real_value)
    values = {
        "gap": found.relative_gap,
        "gap_at_least": clearly(found.gaps[-1]) / scale(found.compared.real_returns[-1]),
        "state_error": state_error(found.compared) / scale(found.compared.real_returns[-1]),
        "resolution": resolution(found.compared),
        "imagined_return": float(found.compared.imagined.returns[-1].mean()),
        "real_return": float(np.nanmean(found.compared.real_returns[-1])),
        "reward_bias": found.reward.bias.value / of_reward,
        "reward_calibration_error": found.reward.calibration_error / of_reward,
        "reward_error": found.reward.rms / of_reward,
        "continue_bias": found.goes_on.bias.value,
        "value_bias": found.value.bias.value / of_value,
        "value_calibration_error": found.value.calibration_error / of_value,
        "surprise": float(found.steps.surprise.mean()),
        "not_again": found.not_again / len(found.lived),
        "findings": float(len(found.findings)),
    }
    return {f"reality/{name}": value for name, value in values.items() if np.isfinite(value)}


def told(found: Audit) -> dict[str, Any]:
    """What a command prints and a checkpoint keeps."""
    return {
        "states": len(found.compared.states),
        "restored": len(found.lived),
        "left_out": found.left_out,
        "horizon": found.compared.horizon,
        **{name.removeprefix("reality/"): round(value, 6) for name, value in scalars(found).items()},
        "findings": {finding.name: finding.text for finding in found.findings},
    }
