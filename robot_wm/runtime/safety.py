"""What the robot is told, whatever the policy says: mode, fallback and limits, tick by tick.

``Safety`` is the one object with memory; what it decides with are pure functions (``limits.limit_command``,
``modes.transition``). Every command that leaves it, in every mode, has gone through ``limit_command``.

==========  ============================  =======================  =====================
mode        position joints               velocity, effort joints  ``damp``
==========  ============================  =======================  =====================
go to       slowly from where the robot   –                        no
start       is to the policy's start pose
soft start  blend: last command → policy  the same blend           no
active      the policy's target           the policy's target      no
hold        the last command stays        go to zero               no
crouch      the crouch pose               go to zero               no
damp        follow the measured position  go to zero               yes: brake with kd only
==========  ============================  =======================  =====================

Inactive and e-stop are as damp. Going to zero and following obey the rate limits too: ``damp`` says at once that
the firmware may cut the torque, the numbers never jump. With ``hold_when_stopped`` position joints keep their last
command when damped, too: what bears a load is to be braked before it is let go.
From every enable until the first sound tick ``damp`` stays, too: dead sensors release no brake. In position mode the
command begins at the first measurement then, and follows the next ones within its rate limits. Near the ends of the
joints' ranges, velocity and effort commands are cut (``end_stops``). Shape letter: A actions.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.runtime.end_stops import EndStops
from robot_wm.runtime.faults import Fault
from robot_wm.runtime.go_to_start import GoToStart, pose_of
from robot_wm.runtime.joints import unplaced_joints
from robot_wm.runtime.limits import CommandLimits, command_limits, limit_command
from robot_wm.runtime.live.excitation import StandExcitation
from robot_wm.runtime.live.lean import Lean, leans_of
from robot_wm.runtime.modes import Event, Mode, transition
from robot_wm.runtime.transform import to_command
from robot_wm.spec import AgentSpec

Float32 = NDArray[np.float32]

_FALLING = int(Fault.FALLING)
_LIMP = (Mode.INACTIVE, Mode.DAMP, Mode.ESTOP)  # a tuple: hashing an enum's member takes longer than three looks


@dataclass(frozen=True)
class SafetyConfig:
    """How patient the controller is; times are counted in control periods, so that no clock can stretch them."""

    soft_start_s: float = 1.0  # blend from the last command to the policy; 0: none
    # rad/s (m/s), of the fastest joint on the way to the pose in which the policy starts; 0: it starts where it is
    start_speed: float = 0.0
    start_tolerance: float = 0.3  # rad (m); where no joint is further from that pose, the robot is there
    start_pose: Mapping[str, float] = field(default_factory=dict)  # rad (m) by joint, in place of the zero action's
    check_on_stand: bool = False  # at the start pose each joint in turn is moved a little, and that is all
    check_on_feet: bool = False  # there the robot leans a little, forward and to its left, before the policy drives
    # rad (m) by joint, off the start pose, with which it does: "forward" and "left"
    leans: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    hold_s: float = 0.5  # faulty ticks may add up to this while holding; then damp
    hold_when_stopped: bool = False  # stopped position joints keep their command: an arm that follows itself sinks
    following_s: float = 1.0  # a joint may be too far from its command for so long; inf: for ever
    # By joint, in the command's unit: what it may be off by, in place of what follows from the spec.
    following_errors: Mapping[str, float] = field(default_factory=dict)
    recover_ticks: int = 5  # sound ticks in a row that end a hold
    surprise_limit: float | None = None  # None: surprise is reported, never acted upon
    surprise_ticks: int = 5  # ticks in a row above the limit that make a fault
    reacts_to_fall: bool = False  # whether a fall that the agent's monitor foresees makes the robot crouch and damp
    crouch_pose: Mapping[str, float] = field(
        default_factory=dict
    )  # rad (m) by joint, in place of the zero action's; none: damp at once
    crouch_s: float = 0.16  # for so long the joints are driven there, then damped
    deadline_s: float | None = None  # a tick may take this long; None: the control period

    def __post_init__(self) -> None:
        for name, unit in (
            ("soft_start_s", "s"),
            ("hold_s", "s"),
            ("start_speed", "rad/s"),
            ("start_tolerance", "rad"),
            ("crouch_s", "s"),
        ):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"{name} must be at least 0 {unit}, got {getattr(self, name)}")
        if not self.following_s > 0:
            raise UserError(f"following_s must be positive, got {self.following_s}")
        for name, error in self.following_errors.items():
            if not error > 0:
                raise UserError(f"following_errors: that of {name} must be positive, got {error}")
        for name in ("recover_ticks", "surprise_ticks"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("surprise_limit", "deadline_s"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"{name} must be positive, got {value}")


class SurpriseMonitor:
    """Finds a model that no longer understands: surprise above a limit for N ticks in a row."""

    def __init__(self, limit: float | None, ticks: int) -> None:
        self._limit = math.inf if limit is None else limit
        self._ticks = ticks
        self._above = 0

    def update(self, surprise: float, *, is_first: bool = False) -> bool:
        """Whether this tick is a fault. An episode's first tick has no prediction to be surprised by: not counted."""
        if is_first or surprise <= self._limit:
            self._above = 0
        else:
            self._above += 1
        return self._above >= self._ticks


class Safety:
    """Decides mode and command. One ``decide`` a tick; operators' requests may come between ticks, from any thread."""

    def __init__(self, spec: AgentSpec, config: SafetyConfig | None = None) -> None:
        config = config or SafetyConfig()
        self.limits: CommandLimits = command_limits(spec)
        self.mode = Mode.INACTIVE
        self._soft_ticks = round(config.soft_start_s * spec.control_rate_hz)
        self._hold_ticks = round(config.hold_s * spec.control_rate_hz)
        self._recover_ticks = config.recover_ticks
        self._crouch_ticks = round(config.crouch_s * spec.control_rate_hz) if config.crouch_pose else 0
        self._holds_when_stopped = config.hold_when_stopped
        self._is_position = spec.action.mode == "position"
        self._is_discrete = spec.action.is_discrete
        n = spec.action_dim
        self.command: Float32 = np.zeros(n, dtype=np.float32)  # [A] the last one, always within the limits
        self._other: Float32 = np.zeros(n, dtype=np.float32)  # [A] where the next one is made
        self._reach = (np.zeros(n, dtype=np.float32), np.zeros(n, dtype=np.float32))  # two of [A]
        self._wanted = np.zeros(n, dtype=np.float32)  # [A]
        self._blend_from = np.zeros(n, dtype=np.float32)  # [A]
        # What a robot at rest is told: the zero action's position, nothing else, or the first choice.
        rest = np.zeros(n, dtype=np.float32)
        if self._is_discrete:
            rest[0] = 1.0
        elif self._is_position:
            rest = np.nan_to_num(to_command(spec.action, rest))
        self._rest = np.minimum(np.maximum(rest, self.limits.low), self.limits.high)
        self.command[:] = self._rest
        if config.crouch_pose and not self._is_position:
            raise UserError(f"crouch_pose: commands of {spec.action.mode} have no pose to go to")
        self._crouch = pose_of(spec.action, config.crouch_pose, self._rest, self.limits, name="crouch_pose")  # [A]
        # Of two threads one may stop the robot while the other decides a tick.
        self._lock = threading.Lock()
        self._restart()
        self._end_stops = EndStops(spec, self.limits) if spec.action.mode in ("velocity", "effort") else None
        self._must_place = self._is_position and not unplaced_joints(spec)
        self._placed = not self._must_place
        for name in ("check_on_stand", "check_on_feet"):
            if getattr(config, name) and not (self._must_place and config.start_speed):
                raise UserError(
                    f"{name}: only joints that take positions can be moved a little, after the way to the start pose"
                    f" (start_speed {config.start_speed:g} rad/s, commands of {spec.action.mode})"
                )
        if config.check_on_stand and config.check_on_feet:
            raise UserError("check_on_feet: a robot that hangs on a stand (check_on_stand) does not stand on its feet")
        self._go = self._go_to_start(spec, config) if self._must_place and config.start_speed else None
        self.excitation = self._go if isinstance(self._go, StandExcitation | Lean) else None
        self._has_begun = False  # whether there was a sound tick since the last enable

    def _go_to_start(self, spec: AgentSpec, config: SafetyConfig) -> GoToStart:
        pose = pose_of(spec.action, config.start_pose, self._rest, self.limits)
        # No faster than what the rate limits let through: else the way would end before the robot does.
        speed = np.minimum(np.float32(config.start_speed), self.limits.step * np.float32(spec.control_rate_hz))
        tolerance, period_s = config.start_tolerance, spec.control_period_s
        if config.check_on_stand:
            unit, limits = spec.action.unit, self.limits
            return StandExcitation(pose, speed, tolerance=tolerance, period_s=period_s, limits=limits, unit=unit)
        if config.check_on_feet:
            leans = leans_of(spec.action, config.leans)
            return Lean(pose, speed, tolerance=tolerance, period_s=period_s, limits=self.limits, leans=leans)
        return GoToStart(pose, speed, tolerance=tolerance, period_s=period_s)

    def _restart(self) -> None:
        self._ticks_in_mode = 0
        self._faulty_ticks = 0
        self._sound_ticks = 0

    def request(self, event: Event) -> Mode:
        """Take an operator's request (ENABLE, DISABLE, ESTOP or RESET) and return the mode that follows."""
        with self._lock:
            if event is Event.ENABLE and self.mode in (Mode.INACTIVE, Mode.DAMP):
                # Nobody drove since: begin where the robot is, else at rest; after a damping the last command stands
                # until the robot was measured, so that no command jumps that might be followed.
                self._placed, self._has_begun = not self._must_place, False
                if self.mode is Mode.INACTIVE:
                    self.command[:] = self._rest
                if self._go is not None:
                    self._go.is_due = True
            self._enter(transition(self.mode, event))
            return self.mode

    def _enter(self, mode: Mode) -> None:
        if mode is not self.mode:
            self.mode = mode
            self._restart()
            if mode is Mode.SOFT_START:
                self._blend_from[:] = self.command

    def decide(
        self,
        target: Float32 | None,
        faults: int,
        measured: Float32 | None,
        *,
        speed: Float32 | None = None,
        missed_ticks: int = 0,
    ) -> Float32:
        """Return the command [A] of this tick, which stays valid until the next call.

        ``target`` [A] is the policy's SI command (None: this tick has none, and falls back), ``faults`` the bits of
        ``Fault``, ``measured`` [A] the joints' positions where they are known (None: of no joint), ``speed`` [A] how
        fast they move, which velocity and effort mode want; NaN stands for a joint that nothing tells of there.
        ``missed_ticks`` should have come before this one and did not: they count as faulty ones.
        """
        with self._lock:
            limits = self.limits
            if self._end_stops is not None:
                if measured is not None:
                    limits = self._end_stops.limits(measured, measured * np.nan if speed is None else speed)
            elif measured is not None and not np.isfinite(measured).all():
                measured = None
            if not self._has_begun:
                if not self._placed and measured is not None:
                    self._place(measured)
                self._has_begun = self._placed and not faults
            self._advance(faults, missed_ticks)
            wanted = self._wanted_command(target, measured)
            if self._is_discrete:
                self._choose(wanted)
            else:
                limit_command(wanted, self.command, limits, out=self._other, reach=self._reach)
            self.command, self._other = self._other, self.command
            return self.command

    @property
    def damp(self) -> bool:
        """Whether firmware should brake with kd only, rather than follow the command."""
        return self.mode in _LIMP or not self._has_begun

    def _place(self, measured: Float32) -> None:
        """Begin where the robot is: the only command that the rate limit does not tie to the one before."""
        np.minimum(measured, self.limits.high, out=self.command)
        np.maximum(self.command, self.limits.low, out=self.command)
        self._blend_from[:] = self.command
        self._placed = True

    def _advance(self, faults: int, missed_ticks: int) -> None:
        """Count this tick and enter the mode that follows from it."""
        self._ticks_in_mode += 1
        if faults:
            self._enter(transition(self.mode, Event.FALLING if faults & _FALLING else Event.FAULT))
        if self.mode is Mode.HOLD:
            self._faulty_ticks += missed_ticks + bool(faults)
            self._sound_ticks = 0 if faults else self._sound_ticks + 1
            if self._faulty_ticks > self._hold_ticks:
                self._enter(transition(self.mode, Event.EXPIRED))
            elif self._sound_ticks >= self._recover_ticks:
                self._enter(transition(self.mode, Event.RECOVERED))
        elif self.mode is Mode.CROUCH:
            if self._ticks_in_mode >= self._crouch_ticks:
                self._enter(transition(self.mode, Event.EXPIRED))
        elif self.mode is Mode.GO_TO_START:
            assert self._go is not None
            if self._go.has_arrived:
                self._go.is_due = False
                self._enter(transition(self.mode, Event.DISABLE if self._go.lets_go else Event.ARRIVED))
        elif self.mode is Mode.SOFT_START and self._has_begun and self._sets_out():
            self._enter(transition(self.mode, Event.FAR))
        elif self.mode is Mode.SOFT_START and self._ticks_in_mode > self._soft_ticks:
            self._enter(transition(self.mode, Event.STARTED))

    def _sets_out(self) -> bool:
        """Whether the way to the start pose begins now: after a hold on it, too, from where that was."""
        return self._go is not None and self._go.is_due and self._go.begin(self.command)

    def _wanted_command(self, target: Float32 | None, measured: Float32 | None) -> Float32:
        if target is not None and self.mode is Mode.ACTIVE:
            return target
        if target is not None and self.mode is Mode.SOFT_START:
            return self._blended(target)
        if self._is_discrete:
            return self.command
        if self.mode is Mode.GO_TO_START:
            assert self._go is not None
            return self._go.next()
        if not self._is_position:
            return self._rest
        if self.mode is Mode.CROUCH:
            return self._crouch
        keeps = self._holds_when_stopped and self._placed
        return measured if measured is not None and self.damp and not keeps else self.command

    def _blended(self, target: Float32) -> Float32:
        if self._is_discrete:
            return target
        share = np.float32(self._ticks_in_mode / (self._soft_ticks + 1))
        # The policy's target may be anything; cut first, the difference of two commands in range is finite.
        np.minimum(target, self.limits.high, out=self._wanted)
        np.maximum(self._wanted, self.limits.low, out=self._wanted)
        np.subtract(self._wanted, self._blend_from, out=self._wanted)
        np.multiply(self._wanted, share, out=self._wanted)
        np.add(self._wanted, self._blend_from, out=self._wanted)
        return self._wanted

    def _choose(self, wanted: Float32) -> None:
        """A one-hot vector of the best choice; the last one if there is no best."""
        best = int(np.argmax(wanted if np.isfinite(wanted).all() else self.command))
        self._other.fill(0)
        self._other[best] = 1.0
