"""The live-observation check: parity cannot see a wrong frame, a wrong unit or a swapped leg, since it replays what was
recorded. This asks the robot itself, in the order in which a robot is started:

1. at rest, before anything moves: ``rest``;
2. on a stand, where somebody asks for it: joint after joint is moved a little (``excitation``, ``response``);
3. on its feet, where somebody asks for it: it leans a little, and the IMU must tell where to (``lean``, ``tilt``);
4. in the first seconds of every drive: rates against levels (``agreement``), sensors that stand still (``frozen``).

The first thing that is found stands until ``forget``: nobody drives a robot whose sensors contradict each other.
Shape letters: O elements of all vector fields, A actions, P joints whose position is known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.runtime.live.agreeing import LiveAgreement
from robot_wm.runtime.live.excitation import StandExcitation
from robot_wm.runtime.live.fields import LiveFields
from robot_wm.runtime.live.frozen import FrozenWatch
from robot_wm.runtime.live.lean import LEANS, MOST_SIZE, Lean
from robot_wm.runtime.live.response import Response, lag_problem, response, response_problem, summary
from robot_wm.runtime.live.rest import noise_of, rest_problems
from robot_wm.runtime.live.samples import SampleRing, StampCount
from robot_wm.runtime.live.tilt import Tilt, is_told, tilt_problem
from robot_wm.runtime.live.trained import TrainedRange
from robot_wm.runtime.transform import ObservationTransform
from robot_wm.spec import AgentSpec

Float32 = NDArray[np.float32]

WINDOW_S = 0.5
LEAST_SAMPLES = 10
FAULTY_SAMPLES = 3  # in a row; a single one is nobody's fault
DRIVEN_S = 30.0  # of each drive that are watched, at most
# How far the robot goes before a sensor that stands still is a frozen one: rad (m) of its joints' commands.
ENOUGH = {"rad": 0.3, "m": 0.05, "rad/s": 0.3, "m/s": 0.05}


@dataclass(frozen=True)
class LiveConfig:
    """What a robot's operator may say of it."""

    rest_gravity: tuple[float, float, float] | None = None  # where it points at rest; None: as in training

    def __post_init__(self) -> None:
        given = self.rest_gravity
        if given is not None and not (len(given) == 3 and all(map(math.isfinite, given)) and any(given)):
            raise UserError(f"rest_gravity must be a direction of three numbers, x, y, z, got {given}")


class LiveCheck:
    """Of one agent on one robot. ``look`` at it at rest, then ``judge`` every tick; nothing here raises."""

    def __init__(
        self, spec: AgentSpec, trained: Mapping[str, TrainedRange] | None = None, config: LiveConfig | None = None
    ) -> None:
        self._spec, self._trained = spec, trained or {}
        told = (config or LiveConfig()).rest_gravity
        self._told = None if told is None else np.array(told, dtype=np.float32) / np.float32(np.linalg.norm(told))
        self._fields = fields = LiveFields(spec)
        samples = max(LEAST_SAMPLES, round(WINDOW_S * spec.control_rate_hz))
        self._rest = SampleRing(samples, fields.elements)
        self._drive = SampleRing(samples, fields.elements)
        self._stride = max(1, samples // 5)
        self._samples = samples
        self._fault = ""  # of the latest sample that was looked at
        self._faulty = 0  # such samples in a row
        timed = {fields.position.field, *(() if fields.gravity is None else (fields.gravity.field.name,))} - {""}
        self._stamps = {name: StampCount() for name in timed}
        gains = (spec.firmware.kp, spec.firmware.kd)
        told_gains = all(gains) and spec.action.mode == "position"
        self._lag_s = np.array(
            [gains[1][j] / gains[0][j] if told_gains and gains[0][j] > 0 else 0.0 for j in fields.position.joints]
        )  # [P]
        watched = [placed for placed in (fields.gravity, fields.gyro) if placed is not None]
        self._frozen = {placed.field.name: FrozenWatch(placed.field.name) for placed in watched}
        self._frozen |= {field.name: FrozenWatch(field.name) for field in spec.observations if field.is_image}
        self._enough = ENOUGH.get(spec.action.unit, math.inf)
        self._names = [spec.action.joints[joint] for joint in fields.position.joints]  # [P]
        self._places = np.array(fields.position.places, dtype=np.intp)  # [P]
        self._flat = np.zeros(fields.elements, dtype=np.float32)  # [O]
        self._views: Mapping[str, NDArray[np.generic]] = {}
        self._by_hand, self._moved_by_hand = LiveAgreement(spec, fields), ""
        self._tilt = Tilt()
        self.forget()

    def watch(self, transform: ObservationTransform) -> None:
        """Read from these views, which hold the latest frame whenever ``look`` or ``judge`` is called."""
        self._flat = transform.flat[0]
        self._views = {name: view[0] for name, view in transform.raw.items()}

    def forget(self) -> None:
        """A drive begins; what was seen at rest stays."""
        self._problem = ""
        self._has_begun = False
        self._drive.clear()
        self._ticks = 0
        self._agreement = LiveAgreement(self._spec, self._fields)
        for watch in self._frozen.values():
            watch.forget()
        self._last_stamps: dict[str, float] = {}
        self._turn: int | None = None
        self._rows: list[tuple[float, Float32]] = []  # of the joint whose turn it is: what it was told, positions [P]
        self._responses: dict[int, Response] = {}  # by the joint's place among P
        self._tilt.clear()
        self._is_doubted = False  # whether a lean was judged to be wrong once
        self.passed = ""  # what the robot showed on a stand or on its feet, once it has

    # -- at rest ------------------------------------------------------------------------------------------------------

    def look(self, now_s: float, stamps_s: Mapping[str, float] | None, fault: str) -> None:
        """Take one more sample of a robot that nobody drives; ``fault`` is what is wrong with it, "" if nothing is."""
        self._fault, self._faulty = fault, self._faulty + 1 if fault else 0
        if fault:
            return
        time_s = self._measured_s(now_s, stamps_s)
        if self._rest.count and time_s == self._rest.times_s[-1]:
            return  # the same sample again
        if self._rest.count and not time_s > self._rest.times_s[-1]:
            self._rest.clear()  # the clock was set
        self._rest.add(self._flat, time_s)
        for name, count in self._stamps.items():
            count.add(stamps_s, name)
        if self._rest.is_full and not self._rest.count % self._stride:
            # Whoever carries the robot, or bends its joints, shows whether rates and levels agree.
            found = self._by_hand.judge(self._rest, noise_of(self._rest.values), is_slow=True)
            self._moved_by_hand = found or ("" if self._by_hand.is_right else self._moved_by_hand)

    def forget_rest(self) -> None:
        """The robot was driven: how it rests now is to be seen anew."""
        self._rest.clear()
        self._faulty = 0
        for count in self._stamps.values():
            count.clear()

    @property
    def is_decided(self) -> bool:
        """Whether there were enough samples at rest, or as many that are none."""
        return self._rest.is_full or self._faulty >= self._samples

    def rest_problems(self) -> list[str]:
        """What is wrong with the robot at rest, as far as it is known."""
        if self._faulty >= FAULTY_SAMPLES:
            return [self._fault]
        if not self._rest.is_full:
            return []
        found = rest_problems(self._spec, self._fields, self._rest, self._stamps, self._trained, self._told)
        return [*found, self._moved_by_hand] if self._moved_by_hand else found

    # -- driven -------------------------------------------------------------------------------------------------------

    def judge(
        self,
        now_s: float,
        command: Float32,
        stamps_s: Mapping[str, float] | None,
        *,
        is_driven: bool,
        is_slow: bool,
        excitation: StandExcitation | Lean | None,
    ) -> str:
        """What is wrong at a tick, "" if nothing is; ``command`` [A] is what the drives were told at the tick before.

        ``is_slow``: the robot is led to its start pose, and no policy drives it.
        Nothing is judged of a robot that was not looked at while at rest: how noisy its sensors are is not known.
        """
        if self._problem or not self._rest.is_full:
            return self._problem
        if not self._has_begun:
            self._has_begun = True
            self._noise = noise_of(self._rest.values)  # [O]
            self._last_command = command.copy()  # [A]
            self._problem = "; ".join(self.rest_problems())
        if not is_driven:
            self._drive.clear()
            self._tilt.clear()
            self._last_command[:] = command
            return self._problem
        if self._problem:
            return self._problem
        on_stand = isinstance(excitation, StandExcitation) and excitation.is_due
        if isinstance(excitation, StandExcitation) and on_stand:
            self._problem = self._respond(command, excitation)
        elif isinstance(excitation, Lean) and excitation.is_due:
            self._problem = self._tilted(excitation)
        if not self._problem and self._ticks < DRIVEN_S * self._spec.control_rate_hz:
            self._ticks += 1
            self._problem = self._agree(self._measured_s(now_s, stamps_s), is_slow) or (
                "" if on_stand else self._repeat(command, stamps_s)
            )
        self._last_command[:] = command
        return self._problem

    def lose_track(self) -> None:
        """A tick was faulty: what comes next does not follow what came before."""
        self._drive.clear()
        self._rows.clear()
        self._turn = None
        self._tilt.clear()

    def _respond(self, command: Float32, excitation: StandExcitation) -> str:
        joint = excitation.joint
        problem = ""
        if joint != self._turn:
            problem = self._finish(excitation)
            self._turn = joint
            self._rows.clear()
        if joint is not None and not problem:
            self._rows.append((float(command[joint]), self._flat[self._places].copy()))
        return problem

    def _finish(self, excitation: StandExcitation) -> str:
        """Judge the joint whose turn is over, and with the last one how late they are."""
        joints = self._fields.position.joints
        if self._turn is None or self._turn not in joints or len(self._rows) < excitation.pulse_ticks:
            return ""
        own = joints.index(self._turn)
        told = np.array([row[0] for row in self._rows])
        positions = np.array([row[1] for row in self._rows], dtype=np.float64)
        found = response(told, positions, own, excitation.rest_ticks, self._spec.control_period_s)
        field, unit = self._fields.position.field, self._fields.position.units[own]
        if problem := response_problem(found, own, self._names, field, unit):
            return problem
        self._responses[own] = found
        if len(self._responses) < len(joints):
            return ""
        every = [self._responses[place] for place in range(len(joints))]
        problem = lag_problem(np.array([each.lag_s for each in every]), self._lag_s, self._names, field)
        self.passed = "" if problem else summary(every, self._lag_s, unit)
        return problem

    def _tilted(self, lean: Lean) -> str:
        """Judge each lean when it is over.

        What is wrong must be so twice, as somebody may have pushed the robot; what tells nothing is tried once larger:
        no further than needed, as soft legs bear little.
        """
        gravity = self._fields.gravity
        if gravity is None:
            return ""
        if at := lean.stay:
            self._tilt.add(*at, self._flat[gravity.where])
        if not lean.is_over:
            return ""
        matrix, samples = self._tilt.matrix(), self._tilt.samples
        noise = float(self._noise[gravity.where].max())
        is_told_by = is_told(matrix, noise, samples)
        if not is_told_by and lean.size < MOST_SIZE:
            if lean.has_arrived:
                self._lean_again(lean, MOST_SIZE)
            return ""
        problem = tilt_problem(gravity.field.name, matrix, noise, samples)
        if problem and not self._is_doubted:
            self._is_doubted = True
            self._lean_again(lean, lean.size)
            return ""
        if lean.has_arrived and not problem:
            told = "passed" if is_told_by else "tells nothing, the noise of gravity is too large"
            rows = ", ".join(f"({x:.3f}, {y:.3f}) {name}" for name, (x, y) in zip(LEANS, matrix.T, strict=True))
            self.passed = f"check on its feet {told}: gravity turned along {rows}"
        return problem

    def _lean_again(self, lean: Lean, size: float) -> None:
        self._tilt.clear()
        lean.again(size)

    def _measured_s(self, now_s: float, stamps_s: Mapping[str, float] | None) -> float:
        """When joints or IMU were measured, as far as stamps tell: ticks come as late as a busy computer lets them."""
        told = (math.nan if stamps_s is None else stamps_s.get(name, math.nan) for name in self._stamps)
        return next((stamp_s for stamp_s in told if math.isfinite(stamp_s)), now_s)

    def _agree(self, time_s: float, is_slow: bool) -> str:
        ring = self._drive
        if ring.count and not time_s > ring.times_s[-1]:
            return ""  # the same sample again
        ring.add(self._flat, time_s)
        if not ring.is_full or ring.count % self._stride:
            return ""
        return self._agreement.judge(ring, self._noise, is_slow)

    def _repeat(self, command: Float32, stamps_s: Mapping[str, float] | None) -> str:
        moved = float(np.abs(command - self._last_command).max())
        if self._spec.action.mode in ("velocity", "effort"):
            moved = float(np.abs(command).max()) * self._spec.control_period_s
        share = moved / self._enough
        for name, watch in self._frozen.items():
            if stamps_s is not None:
                # Measured no more often than the agent ticks, a field may well be the same twice.
                stamp_s = stamps_s.get(name, math.nan)
                if stamp_s == self._last_stamps.get(name):
                    continue
                self._last_stamps[name] = stamp_s
            if problem := watch.judge(self._views[name], share):
                return problem
        return ""
