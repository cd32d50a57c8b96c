"""A robot's actuators in action: the law at every physics step, and what they remember between steps."""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from robot_wm_sim.actuators.actuator import Actuator
from robot_wm_sim.actuators.law import Float64, effort_range, position_error, wanted_effort
from robot_wm_sim.actuators.network import ActuatorNetwork
from robot_wm_sim.drive import Drive
from robot_wm_sim.robot import Robot
from robot_wm_sim.sensing.delay import DelayLine, delay_steps

_PARTS = tuple(field.name for field in fields(Drive))


@dataclass
class Memory:
    """All that motors remember. [M] motors."""

    step: int  # physics steps that the motors have done
    told: NDArray[np.float64]  # [6, M] what each drive goes by, in Drive's order
    since: NDArray[np.int64]  # [M] the step from which it does
    under_way: list[DelayLine[Float64]]  # of each delay: what the drives were told, [6, M], and have yet to heed
    history: deque[Float64]  # newest first: errors of position and velocities of all, [2, M]; no more than networks ask


class Motors:
    """Actuators of one robot, for a backend to ask at every physics step; drives brake until they are told something.

    Motors with the same delay hear of a Drive at the same step. The memory is part of a backend's snapshot.
    """

    def __init__(self, robot: Robot, *, rate_hz: float) -> None:
        """``rate_hz`` is that of physics."""
        actuators = [motor.actuator for motor in robot.motors]
        curves = [actuator.torque_speed for actuator in actuators]
        self.are_ideal = all(actuator.is_ideal for actuator in actuators)  # then a backend may do without this
        self._step_s = 1.0 / rate_hz
        self._stall_ratio = np.array([curve.stall_ratio if curve else 1.0 for curve in curves])  # [M]
        self._fall = np.array([curve.stall_ratio / curve.no_load_speed if curve else 0.0 for curve in curves])  # [M]
        delays = np.array([delay_steps(actuator.delay_s, rate_hz) for actuator in actuators])  # [M]
        self._groups = [(int(late), np.flatnonzero(delays == late)) for late in np.unique(delays)]
        self._networks = _networks(actuators, rate_hz)
        most = max((late[-1] + 1 for _, _, late in self._networks), default=0)
        self._memory = Memory(
            step=0,
            told=_rows(Drive.braking(robot)),
            since=np.zeros(len(actuators), dtype=np.int64),
            under_way=[DelayLine() for _ in self._groups],
            history=deque(maxlen=most),
        )
        self._drive = Drive(*self._memory.told)  # views of it

    def tell(self, drive: Drive) -> None:
        """What the drives are told from the next step on, until they are told something else."""
        told, step = _rows(drive), self._memory.step
        for line, (late, _) in zip(self._memory.under_way, self._groups, strict=True):
            line.put(told, step + late)

    def step(self, position: Float64, velocity: Float64) -> tuple[Float64, Float64, Float64]:
        """One physics step with the motors' joints there, [M] each: efforts asked for, least and largest, [M] each.

        Whatever else the drives give, such as compensation of gravity, is to be added before the cut.
        """
        memory = self._memory
        for line, (_, motors) in zip(memory.under_way, self._groups, strict=True):
            for told in line.take(memory.step):
                memory.told[:, motors] = told[:, motors]
                memory.since[motors] = memory.step
        drive = self._drive
        elapsed_s = (memory.step - memory.since) * self._step_s
        wanted = wanted_effort(drive, elapsed_s, position, velocity)
        if self._networks:
            self._ask_networks(wanted, position_error(drive, elapsed_s, position), velocity)
        memory.step += 1
        return wanted, *effort_range(drive.limit, velocity, stall_ratio=self._stall_ratio, fall=self._fall)

    def _ask_networks(self, wanted: Float64, error: Float64, velocity: Float64) -> None:
        """Put networks' efforts in place of those that the drives' equation wants, where positions are held. [M] each.

        Where none is held the error is zero; before the first step all was as in that step.
        """
        drive, history = self._drive, self._memory.history
        holds = drive.kp > 0.0  # [M]
        now = np.stack([np.where(holds, error, 0.0), velocity])
        if not history:
            history.extend([now] * (history.maxlen or 0))
        history.appendleft(now)
        for network, motors, late in self._networks:
            errors, velocities = np.stack([history[lag] for lag in late], axis=1)[:, :, motors]  # [L, K] each
            effort = drive.effort[motors] + drive.kp[motors] / network.settings.kp * network.effort(errors, velocities)
            wanted[motors] = np.where(holds[motors], effort, wanted[motors])

    def save(self) -> Memory | None:
        """What is remembered now; it stays as it is. None of ideal ones, which remember nothing."""
        return None if self.are_ideal else copy.deepcopy(self._memory)

    def restore(self, memory: Memory | None) -> None:
        """Go back to it."""
        if memory is not None:
            self._memory = copy.deepcopy(memory)
            self._drive = Drive(*self._memory.told)


def _networks(actuators: list[Actuator], rate_hz: float) -> list[tuple[ActuatorNetwork, NDArray[np.intp], list[int]]]:
    """Each network with its motors [K] along M, and its lags in physics steps."""
    found: dict[ActuatorNetwork, list[int]] = {}
    for motor, actuator in enumerate(actuators):
        if actuator.network is not None:
            found.setdefault(actuator.network, []).append(motor)
    return [
        (network, np.array(motors, dtype=np.intp), [delay_steps(lag, rate_hz) for lag in network.settings.lags_s])
        for network, motors in found.items()
    ]


def _rows(drive: Drive) -> Float64:
    return np.stack([getattr(drive, part) for part in _PARTS])  # [6, M], a copy: drives are written anew each period
