"""A simulated robot, its drives and the controller that runs on a real one, with a fault planted between them.

Physics steps when it is told to: no test waits for a clock. Between robot and controller stands a ``Fault``, which
changes what the sensors say and what the drives are told, as a wrong driver does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pybullet
from numpy.typing import NDArray

from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.controller import Controller
from robot_wm.runtime.live.check import LiveConfig
from robot_wm.runtime.modes import Mode
from robot_wm.runtime.safety import SafetyConfig
from robot_wm.runtime.start import start_controller
from robot_wm.spec import AgentSpec, Source
from robot_wm.zoo.catalog import locate_bundle
from robot_wm_sim.drive import Drive
from robot_wm_sim.frames import rotate
from robot_wm_sim.realtime.simulated_robot import SimulatedRobot
from robot_wm_sim.sensing.reading import Reading
from robot_wm_sim.sensing.sample import Sample
from robot_wm_sim.sensing.sensed_world import SensedWorld

Told = dict[str, NDArray[Any]]
DRIVEN = (Mode.GO_TO_START, Mode.SOFT_START, Mode.ACTIVE)
MOST_TICKS, MOST_M = 3, 0.05


@dataclass(kw_only=True)
class Fault:
    """What is wrong between robot and agent; by default nothing."""

    sample: Callable[[Sample], Sample] = lambda sample: sample  # on its way from the sensors
    observation: Callable[[Told], Told] = lambda told: told  # the same, once it is an observation
    command: Callable[[NDArray[np.float32]], NDArray[np.float32]] = lambda command: command  # on its way to the drives
    drives: Callable[[Drive], None] = lambda drive: None  # changes gains and limits [M] of the motors in place
    ticks_late: int = 0  # samples come so many ticks late, and are stamped when they come
    rate: float = 1.0  # of the ticks, of the agent's own


@dataclass
class Outcome:
    """What became of a drive."""

    detail: str = ""  # the first fault in words, "" if there was none
    ticks: int = 0  # that the robot was driven before
    moved_m: float = 0.0  # how far the trunk had gone when that was told; a robot that is damped then sinks
    modes: list[Mode] = field(default_factory=list)  # of every tick

    def require_stopped(self, *words: str) -> None:
        """Assert that the robot was refused or damped in time, and told why in these words."""
        assert self.detail, "nothing was found"
        for word in words:
            assert word in self.detail, self.detail
        assert self.ticks < MOST_TICKS or self.moved_m < MOST_M, (self.ticks, self.moved_m)


def with_gains(bundle: Bundle, kp: tuple[float, ...], kd: tuple[float, ...]) -> Bundle:
    """The same as if it had been trained with these gains."""
    profile = bundle.spec.firmware.model_copy(update={"kp": kp, "kd": kd})
    manifest = bundle.manifest.model_copy(update={"spec": bundle.spec.model_copy(update={"firmware": profile})})
    return Bundle(bundle.path, manifest, bundle.manifest_sha256, signature_checked=bundle.signature_checked)


@cache
def zoo_bundle(name: str) -> Bundle:
    """A trained agent's bundle, verified."""
    return Bundle.open(*locate_bundle(Path(f"zoo:{name}")))


class Museum:
    """One robot and one agent; use as a context."""

    def __init__(
        self,
        bundle: Bundle,
        fault: Fault | None = None,
        *,
        options: Mapping[str, Any] | None = None,
        seed: int = 1,
        on_stand: bool = False,
        live: LiveConfig | None = None,
        **config: Any,
    ) -> None:
        self.fault = fault or Fault()
        self.robot = SimulatedRobot.of_task(bundle.spec.task, options, seed=seed)
        held = self.robot.firmware._held
        for drive in (held._commands.drive, held._brake):
            self.fault.drives(drive)
        given = {"start_speed": 0.5, "hold_s": 0.1} if bundle.spec.action.mode == "position" else {"hold_s": 0.1}
        self.controller: Controller = start_controller(
            bundle,
            config=SafetyConfig(**given | {"check_on_stand": on_stand} | config),
            live=live or LiveConfig(),
        )
        self.spec: AgentSpec = self.controller.spec
        self._sensed = SensedWorld(self.robot.sim)
        self._late: list[Told] = []
        self._pictures: Told = dict(self.robot._sensors.pictures()) if self.robot.has_cameras else {}
        self._now_s = 0.0
        self._pose: NDArray[np.float32] | None = None
        self._is_held = False
        if on_stand:
            self._hang()

    def __enter__(self) -> Museum:
        return self

    def __exit__(self, *_: object) -> None:
        self.controller.deactivate()
        self.robot.close()

    # -- the robot -----------------------------------------------------------------------------------------------------

    def _hang(self) -> None:
        """Fix the trunk in the air; PyBullet's only, as legs weigh nothing where a falling trunk is put back."""
        sim = self.robot.sim
        sim.place(joint_position=sim.state.joint_position.copy(), base_position=(0.0, 0.0, 1.0))
        inertial = pybullet.getDynamicsInfo(0, -1, physicsClientId=sim._client_id)
        pybullet.createConstraint(
            sim._robot,
            -1,
            -1,
            -1,
            pybullet.JOINT_FIXED,
            (0.0, 0.0, 0.0),
            pybullet.invertTransform(inertial[3], inertial[4])[0],
            (0.0, 0.0, 1.0),
            physicsClientId=sim._client_id,
        )

    def advance(self, ticks: float = 1.0) -> None:
        """Let physics go on for so many control periods, unless somebody holds the robot."""
        steps = round(ticks * self.spec.physics_steps)
        if self._is_held:
            self.robot.stand(steps)
        else:
            self.robot.advance(steps)
        self._now_s += ticks * self.spec.control_period_s

    def settle(self, seconds: float = 1.5, pose: NDArray[np.float32] | None = None) -> None:
        """Let the robot come to rest, somebody holding it in ``pose`` [A]; None: it brakes, and lies where it falls."""
        self._pose = pose
        for _ in range(round(seconds * self.spec.control_rate_hz)):
            self._stay()
            self.advance()

    def hold(self) -> None:
        """Hold the robot where its task starts until it is driven, as somebody holds a pole upright."""
        self._is_held = True

    def tilt_deg(self, *, pitch: float) -> None:
        """Hold the robot with its nose down by so much, as somebody's hands would; nothing moves then."""
        self._hold(np.radians(pitch), 0.0)

    def rock(self, seconds: float = 1.0) -> list[str]:
        """Show the agent its robot while somebody rocks it by 10° about its y axis; what is found wrong at the end."""
        assert self.controller.live is not None
        reach, rate = np.radians(10.0), 2.0 * np.pi
        begin_s = self._now_s
        while self._now_s < begin_s + seconds:
            phase = rate * (self._now_s - begin_s)
            self._hold(reach * np.sin(phase), reach * rate * np.cos(phase))
            self.controller.look(self.observe(), self._now_s)
            self.advance()
        return self.controller.live.rest_problems()

    def _hold(self, pitch: float, pitch_rate: float) -> None:
        sim = self.robot.sim
        sim.place(
            joint_position=sim.state.joint_position.copy(),
            base_position=(0.0, 0.0, 1.0),
            base_quaternion=(0.0, float(np.sin(pitch / 2)), 0.0, float(np.cos(pitch / 2))),
            base_angular_velocity=(0.0, pitch_rate, 0.0),
        )
        self._is_held = True

    def _stay(self) -> None:
        if self._pose is not None:
            self.robot.command(self.spec.action.joints, self._pose.tolist())

    def observe(self) -> Told:
        """What reaches the agent now: what the robot's sensor model reads, and what the fault makes of it."""
        if self.robot.has_cameras:
            self.robot.look()
        sample = self.fault.sample(self.robot.sample())
        self._sensed.show(_reading(sample, len(self._sensed.state.joint_position)))
        told = dict(self.robot.task.observe(self._sensed))
        self._pictures |= sample.images  # the newest that have come
        told |= sample.fields | self._pictures
        wanted = [entry for entry in self.spec.observations if entry.source is not Source.LAST_ACTION]
        observation = {entry.name: np.asarray(told[entry.name], dtype=entry.dtype) for entry in wanted}
        self._late.append(self.fault.observation(observation))
        return self._late[max(0, len(self._late) - 1 - self.fault.ticks_late)]

    @property
    def trunk(self) -> NDArray[np.float64]:
        """Where the base is, [3] m."""
        return self.robot.sim.state.base_position.copy()

    # -- the agent -----------------------------------------------------------------------------------------------------

    def look(self, seconds: float = 0.6) -> list[str]:
        """Show the agent its robot at rest; what it finds wrong."""
        assert self.controller.live is not None
        for _ in range(max(12, round(seconds * self.spec.control_rate_hz))):
            self._stay()
            self.controller.look(self.observe(), self._now_s)
            self.advance(1.0 / self.fault.rate)
        return self.controller.live.rest_problems()

    def drive(self, seconds: float = 5.0) -> Outcome:
        """Enable the agent and let it drive, until it damps the robot, has done with the stand, or time is over."""
        outcome = Outcome()
        controller = self.controller
        self._is_held = False
        controller.start_episode()
        controller.enable()
        begin = self.trunk
        for _ in range(round(seconds * self.spec.control_rate_hz)):
            command = controller.step(self.observe(), self._now_s)
            outcome.modes.append(command.mode)
            if command.fault_bits and not outcome.detail:
                outcome.detail = command.detail
            if not outcome.detail and command.mode in DRIVEN and not command.damp:
                outcome.ticks += 1
            self.robot.firmware.damp(command.damp)
            if not command.damp:
                self.robot.command(self.spec.action.joints, self.fault.command(command.command).tolist())
            if not outcome.detail:
                outcome.moved_m = max(outcome.moved_m, float(np.linalg.norm(self.trunk - begin)))
            if command.mode in (Mode.DAMP, Mode.INACTIVE):
                break
            self.advance(1.0 / self.fault.rate)
        return outcome


def changed(sample: Sample, **arrays: Any) -> Sample:
    """The sample with other arrays."""
    return replace(sample, **arrays)


def _reading(sample: Sample, joints: int) -> Reading:
    """What was read, of the robot's own joints, where a sample with a fault in it is what sensors told."""
    q, v, effort = (array[:joints] for array in (sample.joint_position, sample.joint_velocity, sample.joint_effort))
    turn = sample.orientation
    velocities = (rotate(turn, sample.linear_velocity), rotate(turn, sample.angular_velocity))
    block = np.concatenate([q, v, sample.base_position, turn, *velocities, effort])
    return Reading(sample.time_s, block, None, sample.fields, sample.images)
