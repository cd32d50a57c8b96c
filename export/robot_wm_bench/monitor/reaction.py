"""The same fall four times from the alarm on: the policy goes on, holds, is damped, or crouches and is damped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.learning.agent import Agent
from robot_wm.runtime.go_to_start import pose_of
from robot_wm.runtime.limits import command_limits
from robot_wm.runtime.monitor import Monitor, MonitorSection
from robot_wm.runtime.safety import SafetyConfig
from robot_wm.runtime.transform import to_command
from robot_wm.spec import AgentSpec
from robot_wm.tasks import make_env
from robot_wm_bench.monitor.impact import Impact, ImpactMeter
from robot_wm_bench.monitor.pushed import PUSH_S, PushedOnce
from robot_wm_bench.monitor.settings import ReactionSettings
from robot_wm_export.monitor.calibrate import control_ticks
from robot_wm_export.monitor.episodes import watched_episodes
from robot_wm_export.monitor.fit import episode_scores
from robot_wm_sim.held_drive import HeldDrive

ALARM_S = 1.5  # after the push: a later alarm is not of it
FOLLOW_S = 2.0  # after the alarm: who stands then does not fall
IMPACT_S = 0.5  # of forces
POLICY = "policy goes on"
REACTIONS = ("hold", "damp", "crouch")
CROUCH = REACTIONS[-1]


@dataclass(frozen=True)
class Alarm:
    """One push that raised an alarm before the body met the ground, and what came of it."""

    after_push_s: float
    impacts: dict[str, Impact | None]  # by POLICY and REACTIONS; steps are from the alarm on, None: stays up


def alarms(
    agent: Agent,
    spec: AgentSpec,
    section: MonitorSection,
    settings: ReactionSettings,
    options: Mapping[str, Any],
    *,
    pushes: int,
    seed: int,
) -> Iterator[Alarm]:
    """Push the robot so often; UserError for a robot that has no pose to crouch in, or no body known to its task."""
    if section.fall is None:
        raise UserError("--reaction: too few pushed episodes ended on the ground to tell falls by: more --episodes")
    if spec.action.mode != "position":
        raise UserError(f"--reaction: commands of {spec.action.mode} have no pose to go to")
    rest = to_command(spec.action, np.zeros((1, spec.action_dim), np.float32))[0]  # [A]
    crouch = pose_of(spec.action, settings.crouch_pose, rest, command_limits(spec), name="crouch_pose")  # [A]
    with make_env(spec.task, seed=0, **options) as plain:
        legged = getattr(plain.unwrapped.task, "legged", None)  # type: ignore[attr-defined]
        if legged is None:
            raise UserError(f"--reaction: task {spec.task} does not tell which links are the body's")
        after = round(IMPACT_S * spec.physics_rate_hz)
        meter = ImpactMeter(plain.unwrapped.sim, (legged.trunk, *legged.sides), after_steps=after)  # type: ignore[attr-defined]
        pushed = PushedOnce(plain, meter, settings.push_speed_m_s)
        for index in range(pushes):
            found = _alarm(agent, spec, section, pushed, meter, crouch, seed + index)
            if found is not None:
                yield found


def _alarm(
    agent: Agent,
    spec: AgentSpec,
    section: MonitorSection,
    pushed: PushedOnce,
    meter: ImpactMeter,
    crouch: NDArray[np.float32],
    seed: int,
) -> Alarm | None:
    ticks = control_ticks(PUSH_S[1] + ALARM_S + FOLLOW_S, spec)
    (episode,) = watched_episodes(agent, spec, [pushed], episodes=1, max_ticks=ticks, seed=seed)
    monitor, push = Monitor(section), pushed.push_tick
    scores = episode_scores(section, episode)[: push + control_ticks(ALARM_S, spec)]
    tick = next((t for t, score in enumerate(scores) if t > push and monitor.is_falling(score)), None)
    policy, actions = meter.impact, list(pushed.actions)
    if tick is None or (policy is not None and policy.step < tick * spec.physics_steps):
        return None
    if policy is not None:
        policy = replace(policy, step=policy.step - tick * spec.physics_steps)
        if policy.step >= control_ticks(FOLLOW_S, spec) * spec.physics_steps:
            policy = None
    # An episode is what its seed and its actions make it, bit by bit.
    pushed.reset(seed=seed)
    for action in actions[:tick]:
        pushed.step(action)
    snapshot = meter.save()
    impacts: dict[str, Impact | None] = {POLICY: policy}
    for name in REACTIONS:
        meter.restore(snapshot)
        impacts[name] = _react(name, spec, pushed, meter, actions[tick], crouch)
    return Alarm((tick - push) * spec.control_period_s, impacts)


def _react(
    name: str,
    spec: AgentSpec,
    pushed: PushedOnce,
    meter: ImpactMeter,
    command: NDArray[np.float32],
    crouch: NDArray[np.float32],
) -> Impact | None:
    """What comes of it when the robot holds ``command`` [A], is damped at once, or goes to ``crouch`` [A] first."""
    drives = HeldDrive(pushed.unwrapped.task.scene.robot, spec)  # type: ignore[attr-defined]
    told = {"hold": command, CROUCH: crouch}.get(name)
    if told is not None:
        drives.take(told.astype(np.float64))
    damped_from = round(SafetyConfig().crouch_s * spec.control_rate_hz) if name == CROUCH else None
    meter.begin()
    for tick in range(control_ticks(FOLLOW_S + IMPACT_S, spec)):
        if tick == damped_from:
            drives.release()
        if meter.is_over or (meter.impact is None and tick >= control_ticks(FOLLOW_S, spec)):
            break
        meter.run(drives.run(meter.state.joint_position, spec.physics_steps), spec.physics_steps)
    return meter.impact


def reaction_table(found: Sequence[Alarm], pushes: int, physics_rate_hz: float) -> dict[str, Any]:
    """Of the pushes that the policy does not bear: how many hit the ground, and how hard."""
    falls = [one for one in found if one.impacts[POLICY] is not None]
    return {
        "pushes": pushes,
        "alarms": len(found),
        "falls": len(falls),
        "median_alarm_after_push_ms": _median([1000.0 * one.after_push_s for one in falls]),
        "crouch_slower_downwards": sum(_downwards(one, CROUCH) < _downwards(one, POLICY) for one in falls),
        "rows": [_row(name, falls, physics_rate_hz) for name in (POLICY, *REACTIONS)],
    }


def _row(name: str, falls: Sequence[Alarm], physics_rate_hz: float) -> dict[str, Any]:
    hits = [impact for one in falls if (impact := one.impacts[name]) is not None]
    downwards = [hit.downwards_m_s for hit in hits]
    return {
        "reaction": name,
        "on_the_ground": len(hits),
        "ground_after_alarm_ms": _median([1000.0 * hit.step / physics_rate_hz for hit in hits]),
        "downwards_m_s": _median(downwards),
        "downwards_p90_m_s": float(np.percentile(downwards, 90)) if downwards else None,
        "speed_m_s": _median([hit.speed_m_s for hit in hits]),
        "turning_rad_s": _median([hit.turning_rad_s for hit in hits]),
        "peak_n": _median([hit.peak_n for hit in hits]),
    }


def _downwards(one: Alarm, name: str) -> float:
    impact = one.impacts[name]
    return 0.0 if impact is None else impact.downwards_m_s


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None
