"""What the agent says of itself on /diagnostics: one status, its level chosen by fixed rules.

=====  ==========================================================================================
level  when
=====  ==========================================================================================
ERROR  e-stop, damp mode, or a fault of the engine (it raised, or its output is not finite)
STALE  the node is active and has not ticked for ``STALE_AFTER_S``
WARN   while inactive, a sensor that is silent, broken or slow, and joints that nothing watches;
       commands that nobody listens to, a controller that is not active or has other joints, a
       sensor's topic with several publishers; hold mode or any other fault; deadlines missed since
       the last report; surprise above its limit; the rate off by more than ``RATE_TOLERANCE``; a
       recording that stopped or has holes; a real-time request that the kernel refused; a
       temperature above ``HOT_C``; a bundle whose signature nobody asked for; a planner that failed
       so often that it was switched off
OK     otherwise, also while nobody has enabled the agent
=====  ==========================================================================================

The first row that applies is the level; the message lists every reason, the gravest first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from robot_wm.runtime.faults import Fault
from robot_wm.runtime.latency import LatencySummary
from robot_wm.runtime.modes import Mode
from robot_wm.runtime.planning.use import PlanningReport
from robot_wm.runtime.realtime import Grant

STALE_AFTER_S = 1.0
RATE_TOLERANCE = 0.1  # of the wanted rate
HOT_C = 85.0  # a Jetson begins to throttle a little above

_ENGINE_FAULTS = {Fault.ENGINE.name, Fault.OUTPUT_NOT_FINITE.name}
_GRAVEST_FIRST = (DiagnosticStatus.ERROR, DiagnosticStatus.STALE, DiagnosticStatus.WARN)


@dataclass(frozen=True, kw_only=True)
class AgentStatus:
    """Everything that a report tells. NaN stands for what is not known (yet)."""

    mode: Mode
    lifecycle: str  # the label of the lifecycle state: "unconfigured", "inactive", "active", "finalized"
    rate_hz: float  # ticks a second since the last report
    wanted_rate_hz: float
    latency: LatencySummary  # of the controller's ticks
    tick_age_s: float  # since the last tick
    deadline_misses: int  # since activation
    new_deadline_misses: int = 0  # since the last report
    surprise: float = math.nan  # of the last tick
    surprise_limit: float | None = None  # None or 0: no limit
    surprise_unit: str | None = None
    alarm: str = ""  # of the agent's monitor, in words
    fault_names: tuple[str, ...] = ()  # of the last tick
    detail: str = ""  # those faults in words
    engine: str = ""
    bundle_sha256: str = ""
    is_signed: bool = True  # its signature was asked for, and is the public key's
    spec_hash: str = ""
    temperatures_c: Mapping[str, float] = field(default_factory=dict)
    plans: PlanningReport | None = None  # of the planner; None: it runs without one
    received: int = 0  # samples of the trigger topic since activation
    decimated: int = 0  # of those, the ones that came between two ticks
    superseded: int = 0  # samples that a newer one replaced before the node took them
    lost: int = 0  # samples that the middleware lost on the way
    recorder_written: int = 0  # ticks
    recorder_dropped: int = 0  # ticks
    recorder_dropped_messages: int = 0  # of the topics recorded beside them
    recorder_rested: int = 0  # ticks left out on purpose
    recorder_error: str = ""  # why the recording stopped
    realtime: tuple[Grant, ...] = ()
    not_ready: tuple[str, ...] = ()  # what an activation would find wrong with the sensors now
    unwatched: tuple[str, ...] = ()  # what would go unnoticed once it drives
    doubts: tuple[str, ...] = ()  # what is wrong around it, whether or not it drives


def diagnostic_array(stamp: Time, *, hardware_id: str, status: AgentStatus, name: str = "agent") -> DiagnosticArray:
    """The message for /diagnostics. ``name`` tells this agent from those in other namespaces."""
    reasons = sorted(_reasons(status), key=lambda reason: _GRAVEST_FIRST.index(reason[0]))
    array = DiagnosticArray()
    array.header.stamp = stamp
    array.status = [
        DiagnosticStatus(
            level=reasons[0][0] if reasons else DiagnosticStatus.OK,
            name=name,
            message="; ".join(text for _, text in reasons) or _calm(status),
            hardware_id=hardware_id,
            values=[KeyValue(key=key, value=value) for key, value in _values(status).items()],
        )
    ]
    return array


def _calm(status: AgentStatus) -> str:
    return status.mode.value.replace("_", " ") if status.lifecycle == "active" else status.lifecycle


def _reasons(status: AgentStatus) -> Iterator[tuple[bytes, str]]:
    error, stale, warn = _GRAVEST_FIRST
    if status.mode is Mode.ESTOP:
        yield error, "e-stop: call ~/reset to leave it"
    if status.mode is Mode.DAMP:
        yield error, "damping: a fault lasted; call ~/enable to drive again"
    if status.lifecycle == "active" and not status.tick_age_s <= STALE_AFTER_S:
        yield stale, f"no tick for {status.tick_age_s:.1f} s"
    if status.mode is Mode.HOLD:
        yield warn, "holding"
    if status.mode is Mode.CROUCH:
        yield warn, "crouching before a fall"
    if status.lifecycle == "inactive":
        yield from ((warn, f"not ready: {problem}") for problem in status.not_ready)
        yield from ((warn, problem) for problem in status.unwatched)
    yield from ((warn, problem) for problem in status.doubts)
    if status.fault_names:
        is_engine = not _ENGINE_FAULTS.isdisjoint(status.fault_names)
        yield error if is_engine else warn, f"{' '.join(status.fault_names)}: {status.detail or 'no detail'}"
    if status.new_deadline_misses:
        yield warn, f"{status.new_deadline_misses} deadlines missed since the last report"
    if status.surprise_limit and status.surprise > status.surprise_limit:
        unit = f" {status.surprise_unit}" if status.surprise_unit else ""
        yield warn, f"surprise {status.surprise:.3g}{unit}, limit {status.surprise_limit:.3g}"
    if status.alarm:
        yield warn, status.alarm
    if abs(status.rate_hz - status.wanted_rate_hz) > RATE_TOLERANCE * status.wanted_rate_hz:
        yield warn, f"{status.rate_hz:.4g} Hz, wanted {status.wanted_rate_hz:.4g} Hz"
    if not status.is_signed:
        yield warn, "the bundle's signature is not asked for: allow_unsigned"
    if status.recorder_error:
        yield warn, f"recording stopped: {status.recorder_error}"
    if status.recorder_dropped:
        yield warn, f"the recording lacks {status.recorder_dropped} ticks"
    if status.recorder_dropped_messages:
        yield warn, f"the recording lacks {status.recorder_dropped_messages} messages of other topics"
    for grant in status.realtime:
        if not grant.granted:
            yield warn, str(grant)
    for zone, celsius in status.temperatures_c.items():
        if celsius > HOT_C:
            yield warn, f"{zone} is {celsius:.1f} °C hot"


def _values(status: AgentStatus) -> dict[str, str]:
    latency = status.latency
    numbers: dict[str, float] = {
        "rate_hz": status.rate_hz,
        "wanted_rate_hz": status.wanted_rate_hz,
        "tick_age_s": status.tick_age_s,
        "ticks": latency.count,
        "latency_p50_us": latency.p50_us,
        "latency_p99_us": latency.p99_us,
        "latency_p999_us": latency.p999_us,
        "latency_max_us": latency.max_us,
        "deadline_misses": status.deadline_misses,
        "new_deadline_misses": status.new_deadline_misses,
        "surprise": status.surprise,
        "surprise_limit": status.surprise_limit or math.inf,
        "received_samples": status.received,
        "decimated_samples": status.decimated,
        "superseded_samples": status.superseded,
        "lost_samples": status.lost,
        "recorder_written_ticks": status.recorder_written,
        "recorder_dropped_ticks": status.recorder_dropped,
        "recorder_dropped_messages": status.recorder_dropped_messages,
        "recorder_rested_ticks": status.recorder_rested,
        **{f"temperature_{zone}_c": celsius for zone, celsius in status.temperatures_c.items()},
    }
    return {
        "mode": status.mode.value,
        "lifecycle": status.lifecycle,
        "faults": " ".join(status.fault_names),
        "fault_detail": status.detail,
        **{key: str(value) if isinstance(value, int) else f"{value:.6g}" for key, value in numbers.items()},
        **_planner_values(status.plans),
        "engine": status.engine,
        "bundle_sha256": status.bundle_sha256,
        "bundle_signed": str(status.is_signed),
        "spec_sha256": status.spec_hash,
        "recorder_error": status.recorder_error,
        "not_ready": "; ".join(status.not_ready),
        "unwatched": "; ".join(status.unwatched),
        "doubts": "; ".join(status.doubts),
        **{f"realtime_{grant.what.replace(' ', '_')}": str(grant) for grant in status.realtime},
    }


def _planner_values(plans: PlanningReport | None) -> dict[str, str]:
    if plans is None:
        return {"planner": "none"}
    latency = plans.latency
    durations = {"p50_us": latency.p50_us, "p99_us": latency.p99_us, "max_us": latency.max_us}
    return {
        "planner": plans.planner,
        "planner_on": str(plans.is_on),
        "planner_off_because": plans.why_off,
        **{f"planner_{name}": str(count) for name, count in plans.counts.items()},
        **{f"planner_{name}": f"{duration:.6g}" for name, duration in durations.items()},
    }
