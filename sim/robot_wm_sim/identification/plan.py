"""An excitation that informs: each joint sweeps through frequencies over slow reversals of its own.

Fast motion tells inertia and strength, and shifts with a delay; slow reversals stop at dry friction and hardly know of
a delay: so the two are told apart. All joints move at once, each with frequencies of its own, and none leaves half of
the way from home to the nearest end of its range, or takes more than half of the speed that it may have.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robot_wm.atomic import atomic_file
from robot_wm.errors import UserError
from robot_wm.runtime.limits import command_limits
from robot_wm.spec import AgentSpec
from robot_wm_sim.robot import Robot
from robot_wm_sim.spaces import command_bounds

Float64 = NDArray[np.float64]
LARGEST = 0.35  # rad or m from home, whatever the range is
SHARE_OF_RANGE = 0.5  # of the way to the nearest end
SHARE_OF_SPEED = 0.5  # of what a joint may have
SLOW = 0.4  # of the amplitude that is the slow reversals'
SLOWEST_HZ, FASTEST_HZ = 0.15, 6.0
OF_RATE = 1.0 / 6.0  # of the control rate that the fastest frequency may be: a sine of six commands
RAMP_S = 1.0  # at either end: from home, and back
MOST_S = 60.0


@dataclass(frozen=True)
class Plan:
    """Commands [K, A] of an agent's action, SI, at its control rate."""

    rate_hz: float
    joints: tuple[str, ...]  # [A]
    command: Float64

    @property
    def duration_s(self) -> float:
        """Until the last command has had its period."""
        return len(self.command) / self.rate_hz

    def write(self, path: Path) -> None:
        """As CSV: time_s, and a column for each joint."""
        with atomic_file(path) as temporary, temporary.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["time_s", *self.joints])
            for index, command in enumerate(self.command):
                rows.writerow([f"{index / self.rate_hz:.6f}", *(f"{value:.6f}" for value in command)])

    @classmethod
    def read(cls, path: Path, spec: AgentSpec) -> Plan:
        """Read one for an agent's action; UserError for joints, times or values that are not the agent's."""
        try:
            with path.open(newline="") as file:
                head, *rows = list(csv.reader(file))
        except (OSError, ValueError, UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"{path}: no plan: {getattr(error, 'strerror', None) or error}") from None
        wanted = ["time_s", *spec.action.joints]
        if sorted(head) != sorted(wanted):
            raise UserError(f"{path}: its columns are {', '.join(head)}, but must be {', '.join(wanted)}")
        if not rows:
            raise UserError(f"{path}: has no commands")
        try:
            table = np.array(rows, dtype=np.float64)[:, [head.index(name) for name in wanted]]
        except (ValueError, IndexError):
            raise UserError(f"{path}: a row is not {len(wanted)} numbers") from None
        _require_fit(path, spec, table)
        return cls(spec.control_rate_hz, spec.action.joints, table[:, 1:])


def _require_fit(path: Path, spec: AgentSpec, table: Float64) -> None:
    if not np.isfinite(table).all():
        raise UserError(f"{path}: line {int(np.argwhere(~np.isfinite(table))[0, 0]) + 2}: a value is not finite")
    beat = np.arange(len(table)) / spec.control_rate_hz
    if np.abs(table[:, 0] - beat).max() > 0.1 / spec.control_rate_hz:
        raise UserError(f"{path}: time_s is not on the beat of {spec.control_rate_hz:g} Hz from 0 on")
    for column, (name, low, high) in enumerate(zip(spec.action.joints, *command_bounds(spec.action), strict=True), 1):
        beyond = (table[:, column] < low) | (table[:, column] > high)
        if beyond.any():
            line = int(np.flatnonzero(beyond)[0])
            raise UserError(
                f"{path}: line {line + 2}: {name} is {table[line, column]:g} {spec.action.unit}, outside of its limits"
                f" [{low:g}, {high:g}]"
            )


def make_plan(robot: Robot, spec: AgentSpec, *, duration_s: float, seed: int = 0) -> Plan:
    """Commands for a robot in the air; UserError for an action that holds no joint (effort), and for a silly time."""
    if spec.action.mode == "effort":
        raise UserError(f"task {spec.task}: its action is an effort, under which nothing holds a joint in its range")
    if not 2.0 * RAMP_S < duration_s <= MOST_S:
        raise UserError(f"a plan lasts more than {2 * RAMP_S:g} s and at most {MOST_S:g} s, not {duration_s:g} s")
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(duration_s * spec.control_rate_hz)) / spec.control_rate_hz  # [K]
    fastest = min(FASTEST_HZ, OF_RATE * spec.control_rate_hz)
    low, high = command_bounds(spec.action)
    change = SHARE_OF_SPEED * command_limits(spec).step * spec.control_rate_hz  # [A] of the command, a second
    columns = []
    for index, name in enumerate(spec.action.joints):
        joint = robot.joint(name)
        ends = joint.limits.position or (-np.inf, np.inf)
        most = min(LARGEST, *(SHARE_OF_RANGE * abs(end - joint.home) for end in ends))
        speed = SHARE_OF_SPEED * (joint.limits.velocity or np.inf)
        if spec.action.mode == "position":
            most = min(most, float(joint.home - low[index]), float(high[index] - joint.home))
            way = _way(time_s, most, min(speed, float(change[index])), np.inf, fastest, rng)
            columns.append(joint.home + way)
        else:
            way = _way(time_s, most, min(speed, float(high[index])), float(change[index]), fastest, rng)
            columns.append(np.gradient(way, time_s))
    return Plan(spec.control_rate_hz, spec.action.joints, np.clip(np.stack(columns, axis=1), low, high))


def _way(
    time_s: Float64, most: float, speed: float, acceleration: float, fastest_hz: float, rng: np.random.Generator
) -> Float64:
    """Of one joint from home, [K]: slow reversals, and a sweep whose amplitude falls where it would be too fast.

    The sweep goes up or down, so that not all joints are fast at once.
    """
    duration_s = float(time_s[-1])
    growth = np.log(fastest_hz / SLOWEST_HZ) / duration_s
    forth = time_s if rng.random() < 0.5 else duration_s - time_s
    pulse = 2 * np.pi * SLOWEST_HZ * np.exp(growth * forth)  # [K] rad/s
    phase = 2 * np.pi * SLOWEST_HZ * np.expm1(growth * forth) / growth + rng.uniform(0, 2 * np.pi)
    amplitude = np.minimum((1.0 - SLOW) * most, 0.7 * np.minimum(speed / pulse, acceleration / pulse**2))
    slow_pulse = 2 * np.pi * SLOWEST_HZ * rng.uniform(1.0, 2.0)
    slow = min(SLOW * most, 0.2 * speed / slow_pulse, 0.2 * acceleration / slow_pulse**2)
    # Without a corner: a velocity that begins at once would be a jump of the command.
    ramp = np.sin(np.pi / 2 * np.clip(np.minimum(time_s, duration_s - time_s) / RAMP_S, 0.0, 1.0)) ** 2
    way: Float64 = ramp * (slow * np.sin(slow_pulse * time_s) + amplitude * np.sin(phase))
    fastest = np.gradient(way, time_s)
    hardest = np.gradient(fastest, time_s)
    return way * min(1.0, speed / np.abs(fastest).max(), acceleration / np.abs(hardest).max())
