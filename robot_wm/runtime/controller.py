"""One agent on one robot: observation in, safe command out, every control period.

Everything that a tick needs is allocated when the controller is activated. Shape letter: A actions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from time import monotonic, perf_counter_ns
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from robot_wm.runtime.alarm import Alarm
from robot_wm.runtime.command import Command
from robot_wm.runtime.engine import Engine, EngineError
from robot_wm.runtime.faults import Fault, fault_names
from robot_wm.runtime.following import FollowingMonitor
from robot_wm.runtime.latency import LatencyRing
from robot_wm.runtime.live.check import LiveCheck
from robot_wm.runtime.manifest import Manifest
from robot_wm.runtime.modes import Event, Mode
from robot_wm.runtime.monitor import command_fields
from robot_wm.runtime.noise import NoiseSource
from robot_wm.runtime.onnx_engine import OnnxEngine
from robot_wm.runtime.parity import require_tensors
from robot_wm.runtime.planning.config import PlanningConfig
from robot_wm.runtime.planning.planner import Planner
from robot_wm.runtime.planning.thinker import Thinker
from robot_wm.runtime.safety import Safety, SafetyConfig, SurpriseMonitor
from robot_wm.runtime.sensors import Sensors
from robot_wm.runtime.transform import CommandMap, ObservationTransform
from robot_wm.runtime.unwatched import unwatched
from robot_wm.spec import Source

Float32 = NDArray[np.float32]

_ENGINE, _OUTPUT, _SURPRISE = int(Fault.ENGINE), int(Fault.OUTPUT_NOT_FINITE), int(Fault.SURPRISE)
_STALE, _FOLLOWING = int(Fault.STALE), int(Fault.FOLLOWING)
_LIVE, _FALLING = int(Fault.LIVE_CHECK), int(Fault.FALLING)
_ACKNOWLEDGED = int(Fault.DEADLINE | Fault.STALLED)
_RESTING = (Mode.INACTIVE, Mode.ESTOP)  # the engine is not asked
_DRIVING = (Mode.SOFT_START, Mode.ACTIVE, Mode.HOLD)  # in which a robot that is about to fall is to react


class Agent(Protocol):
    """What a controller needs of a bundle; ``robot_wm.runtime.bundle.Bundle`` has it."""

    @property
    def manifest(self) -> Manifest:
        """Spec, state tensors and noise of the agent."""

    def read(self) -> bytes:
        """The policy graph, verified."""


class Controller:
    """Runs an agent: ``activate``, ``enable``, then ``step`` once per control period.

    ``agent`` is an open, verified ``Bundle``; ``engine`` computes its graph (default: ONNX Runtime, one thread).
    ``noise_seed`` makes the agent draw its latents and actions as it did in training; None makes it greedy.
    ``live`` judges the robot that ``look`` showed it at rest, then and while it is driven; None: nobody does.
    ``planner`` may better the policy's action while it drives, as ``planning`` says; the controller owns it.
    One thread steps; ``enable``, ``disable``, ``estop`` and ``reset`` may be called from any.
    Raises UserError for limits that cannot be kept. ``latency`` records every tick's ``total_us``; ``unwatched`` tells
    in words, from activation on, what of the joints nothing watches.
    """

    def __init__(
        self,
        agent: Agent,
        *,
        engine: Engine | None = None,
        config: SafetyConfig | None = None,
        noise_seed: int | None = None,
        live: LiveCheck | None = None,
        planner: Planner | None = None,
        planning: PlanningConfig | None = None,
    ) -> None:
        self.manifest = agent.manifest
        self.spec = agent.manifest.spec
        self.config = config or SafetyConfig()
        self.engine: Engine = engine or OnnxEngine(agent.read(), agent.manifest.state)
        self._safety = Safety(self.spec, self.config)
        self.live = live
        self._noise_seed = noise_seed
        self._planner, self._planning = planner, planning or PlanningConfig()
        self.thinker: Thinker | None = None  # from activation on, where there is a planner
        self._deadline_s = self.spec.control_period_s if self.config.deadline_s is None else self.config.deadline_s
        self.latency = LatencyRing(deadline_us=self._deadline_s * 1e6)
        self._active = False
        self._standing = 0  # faults of the latest tick; none before the first
        self.unwatched: tuple[str, ...] = ()

    @property
    def mode(self) -> Mode:
        """What the controller does now."""
        return self._safety.mode

    def activate(self) -> None:
        """Load the graph and allocate everything; the mode stays INACTIVE until ``enable``.

        Raises UserError for a graph or an engine that is not the agent's.
        """
        if self._active:
            return
        self.engine.activate()
        try:
            inputs = {tensor.name: tensor.shape for tensor in self.manifest.inputs()}
            require_tensors(self.engine, inputs, self.manifest.state, self.manifest.outputs)
            if self._planner is not None:
                self._planner.activate()
            self._allocate()
        except BaseException:
            self._free()
            raise
        self._active = True

    def _allocate(self) -> None:
        n, spec = self.spec.action_dim, self.spec
        inputs, outputs = self.engine.inputs, self.engine.outputs
        self._is_first = inputs["is_first"]  # [1]
        self._action_out, self._value_out, self._surprise_out = (
            outputs["action"][0],  # [A]
            outputs["value"],  # [1]
            outputs["surprise"],  # [1]
        )
        self._has_action_state = any(state.name == "action" for state in self.manifest.state)
        self._transform = ObservationTransform(spec, out={f.name: inputs[f"obs/{f.name}"] for f in spec.observations})
        self._sensors = Sensors(spec, self._transform)
        if self.live is not None:
            self.live.watch(self._transform)
        self._last_actions = [
            self._transform.raw[field.name][0] for field in spec.observations if field.source is Source.LAST_ACTION
        ]
        self._map = CommandMap(spec.action)
        self._rest = np.zeros(n, dtype=np.float32)  # [A] SI, an episode's last action before its first
        self._map.command_into(np.zeros(n, dtype=np.float32), self._rest)
        self._target = np.zeros(n, dtype=np.float32)  # [A] SI
        self._scratch = np.zeros(n, dtype=np.float32)  # [A]
        self._ones, self._minus_ones = np.ones(n, dtype=np.float32), -np.ones(n, dtype=np.float32)  # [A] each
        self._executed = np.zeros((1, n), dtype=np.float32)  # [1, A] model units
        self._noise = None if self._noise_seed is None else NoiseSource(self.manifest.noise, inputs, self._noise_seed)
        self._is_position = spec.action.mode == "position"
        joints = self._sensors.joints
        # [A] what the joints do, in the command's unit
        self._does = {"position": joints.position, "velocity": joints.speed}.get(spec.action.mode, joints.effort)
        following = FollowingMonitor(spec, self.config.following_s, self.config.following_errors)
        self.unwatched = unwatched(spec, following)
        self._following = None if len(following.unwatched) == n else following
        self._surprise = SurpriseMonitor(self.config.surprise_limit, self.config.surprise_ticks)
        operator = [self._transform.raw[field.name][0] for field in command_fields(spec)]
        section = self.manifest.monitor
        self._alarm = None if section is None else Alarm(section, outputs, operator)
        self._goes_on = False  # whether the model saw the previous tick; if not, an episode begins
        self._standing = 0
        self._no_action = np.full(n, np.nan, dtype=np.float32)  # [A]
        self._command = Command(command=self._safety.command, action=self._executed[0], raw_action=self._no_action)
        self.thinker = None
        if self._planner is not None:
            executed, deadline_s = self._executed[0], self._deadline_s
            self.thinker = Thinker(
                *(self._planner, self._planning, self.manifest, self.engine), executed=executed, deadline_s=deadline_s
            )
            self._command.plan = self.thinker.use
        self.latency.clear()

    def enable(self) -> Mode:
        """Start to drive (soft start), from INACTIVE or DAMP; in other modes nothing changes. Returns the mode.

        Nor does anything change while a fault stands: see ``refusal``.
        """
        return self.mode if self.refusal() else self._safety.request(Event.ENABLE)

    def refusal(self) -> str:
        """Why ``enable`` would be refused: the faults of the latest tick in words; "" if it had none.

        Of DEADLINE and STALLED only an operator can say that they are over, which is what enabling says.
        """
        standing = self._standing & ~_ACKNOWLEDGED
        return "" if not standing else f"{' '.join(fault_names(standing))}: {self._command.detail or 'no detail'}"

    def disable(self) -> Mode:
        """Stop driving; an e-stop stays. Returns the mode."""
        return self._safety.request(Event.DISABLE)

    def estop(self) -> Mode:
        """Stop and latch: only ``reset`` leaves the mode. Returns it."""
        return self._safety.request(Event.ESTOP)

    def reset(self) -> Mode:
        """Leave ESTOP or DAMP for INACTIVE. Returns the mode."""
        return self._safety.request(Event.RESET)

    def start_episode(self) -> None:
        """Make the model forget what it saw: the next tick is an episode's first (``is_first``), on any clock.

        For simulated episodes, and after the robot was carried elsewhere. Mode and last command stay.
        """
        self._goes_on = False
        self._standing = 0
        self._sensors.forget_clock()
        if self.live is not None:
            self.live.forget()

    def look(
        self,
        observation: Mapping[str, NDArray[Any] | None],
        now_s: float,
        stamps_s: Mapping[str, float] | None = None,
    ) -> None:
        """Show a frame of a robot that nobody drives to ``live``, once per control period; arguments as of ``step``."""
        if not self._active:
            raise RuntimeError("the controller is not active: call activate() first")
        if self.live is not None:
            faults = self._sensors.read(observation, now_s, stamps_s)
            self.live.look(now_s, stamps_s, self._sensors.detail if faults else "")

    def step(
        self,
        observation: Mapping[str, NDArray[Any] | None],
        now_s: float,
        stamps_s: Mapping[str, float] | None = None,
        *,
        received_s: float | None = None,
        faults: int = 0,
        why: str = "",
        missed_ticks: int = 0,
    ) -> Command:
        """Run one tick: one raw SI frame in, the command out. Never raises for what is in its arguments.

        ``observation`` maps each field of the spec to its array (read during the call, never kept) or None; a
        ``last_action`` field is filled in here. ``now_s`` is this tick's time on any monotonic clock and ``stamps_s``
        when each field was measured or received, on the same one; without it every field counts as fresh.
        ``received_s`` is when the frame came, on ``time.monotonic``, from where a planner's deadline counts; without it
        that is now. ``faults`` are bits of ``Fault`` that the caller found (a silent sensor, ticks too late), ``why``
        tells them in words, and ``missed_ticks`` is how many ticks should have been made before this one and were not.
        """
        if not self._active:
            raise RuntimeError("the controller is not active: call activate() first")
        begin_ns = perf_counter_ns()
        if received_s is None:
            received_s = monotonic()
        command, safety, sensors = self._command, self._safety, self._sensors
        # A caller that found silence knows more than stamps on a clock that may stand still.
        is_placed = not faults & _STALE
        faults |= sensors.read(observation, now_s, stamps_s)
        joints, measured, speed = sensors.joints, None, None
        if is_placed and sensors.is_placed:
            if not self._is_position:
                measured, speed = joints.position, joints.speed
            elif safety.damp:
                # Only a robot that does not follow its commands may be elsewhere than they say.
                measured = joints.position
            if self._following is not None:
                faults |= self._judge_following(self._following)
        if self.live is not None:
            faults |= self._judge_live(self.live, now_s, stamps_s, faults)
        command.detail = f"{why}; {sensors.detail}" if why and sensors.detail else why or sensors.detail
        if safety.mode is Mode.GO_TO_START:
            self._goes_on = (
                False  # the episode begins at the start pose; the graph is asked before, to be warm and heard
            )
        asks = not faults and safety.mode not in _RESTING
        if asks:
            for view in self._last_actions:
                view[...] = command.command if self._goes_on else self._rest
            self._transform.advance(not self._goes_on)
        observed_ns = inferred_ns = perf_counter_ns()
        if asks:
            faults = self._infer()
            inferred_ns = perf_counter_ns()
        else:
            self._goes_on = False
            command.forget_policy(self._no_action)
        target = self._target if asks and not faults else None
        if self.thinker is not None:
            self._think(self.thinker, received_s, drives=target is not None and safety.mode is Mode.ACTIVE)
            command.plan_us = (perf_counter_ns() - inferred_ns) * 1e-3
        command.command = safety.decide(target, faults, measured, speed=speed, missed_ticks=missed_ticks)
        self._map.policy_into(command.command, command.action)
        if self._has_action_state:
            self.engine.write_state("action", self._executed)
        command.tick += 1
        command.mode, command.damp, command.fault_bits = safety.mode, safety.damp, faults
        self._standing = faults
        end_ns = perf_counter_ns()
        command.observe_us = (observed_ns - begin_ns) * 1e-3
        command.infer_us = (inferred_ns - observed_ns) * 1e-3
        command.total_us = (end_ns - begin_ns) * 1e-3
        self.latency.add(command.total_us)
        return command

    def _judge_following(self, monitor: FollowingMonitor) -> int:
        safety, sensors = self._safety, self._sensors
        if safety.damp:
            monitor.forget()
        elif problem := monitor.judge(safety.command, self._does):
            sensors.detail = f"{sensors.detail}; {problem}" if sensors.detail else problem
            return _FOLLOWING
        return 0

    def _judge_live(self, live: LiveCheck, now_s: float, stamps_s: Mapping[str, float] | None, faults: int) -> int:
        safety, sensors = self._safety, self._sensors
        if faults:
            live.lose_track()
        problem = live.judge(
            now_s,
            safety.command,
            stamps_s,
            is_driven=not (faults or safety.damp),
            is_slow=safety.mode is Mode.GO_TO_START,
            excitation=safety.excitation,
        )
        if told := problem or (live.passed if safety.mode is Mode.GO_TO_START else ""):
            sensors.detail = f"{sensors.detail}; {told}" if sensors.detail else told
        return _LIVE if problem else 0

    def _infer(self) -> int:
        """Ask the graph; ``_target`` holds its SI command unless the bits returned say why not."""
        command = self._command
        self._is_first[0] = 0.0 if self._goes_on else 1.0
        if self._noise is not None:
            self._noise.draw()
        try:
            self.engine.infer()
        except EngineError as error:
            command.detail = str(error)
            command.forget_policy(self._no_action)
            return self._forget(_ENGINE)
        command.raw_action = self._action_out
        command.value, command.surprise = self._value_out.item(), self._surprise_out.item()
        if not all(map(math.isfinite, (*self._action_out.tolist(), command.value, command.surprise))):
            command.detail = "the engine's action, value or surprise is not finite"
            command.forget_scores()
            return self._forget(_OUTPUT)
        is_first, self._goes_on = not self._goes_on, True
        np.minimum(self._action_out, self._ones, out=self._scratch)
        np.maximum(self._scratch, self._minus_ones, out=self._scratch)
        self._map.command_into(self._scratch, self._target)
        if self._alarm is not None:
            self._alarm.judge(command, is_first=is_first)
            if command.falling and self.config.reacts_to_fall and self._safety.mode in _DRIVING:
                command.detail = self.alarm
                return _FALLING
        if self._surprise.update(command.surprise, is_first=is_first):
            assert self.config.surprise_limit is not None
            command.detail = self.manifest.surprise_text(command.surprise, self.config.surprise_limit)
            return _SURPRISE
        return 0

    def _think(self, thinker: Thinker, received_s: float, *, drives: bool) -> None:
        """Better the policy's action, which is in hand, if the planner can in time."""
        if not drives:
            thinker.rest()
            return
        action, is_first = self._scratch, bool(self._is_first[0])
        thinker.propose(action, surprise=self._command.surprise, is_first=is_first, received_s=received_s, out=action)
        self._map.command_into(action, self._target)

    @property
    def alarm(self) -> str:
        """What the agent's monitor says of the latest tick, in words; "" for nothing, and without a monitor."""
        return "" if self._alarm is None else self._alarm.text(self._command)

    def _forget(self, fault: int) -> int:
        # is_first multiplies the old state by zero inside the graph, which does not mend a NaN.
        self.engine.clear_state()
        self._goes_on = False
        return fault

    def deactivate(self) -> None:
        """Stop driving and free the engine. Harmless if not active."""
        self.disable()
        if self._active:
            self._active = False
            self._free()

    def _free(self) -> None:
        if self._planner is not None:
            self._planner.close()
        self.engine.deactivate()

    def __enter__(self) -> Controller:
        self.activate()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.deactivate()
