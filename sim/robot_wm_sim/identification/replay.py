"""Plays a stretch's commands again, at the times at which they went out, to a simulated robot in the air.

Ends of delays lie within physics steps: in a step in which a drive hears of a new set-point it has the mean of both by
the time that each holds. So what joints do is a smooth function of the delay, and not a staircase of whole steps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_wm.spec import AgentSpec
from robot_wm_sim.backend import PhysicsBackend
from robot_wm_sim.drive import CommandDrive, Drive
from robot_wm_sim.identification.joint_log import Stretch
from robot_wm_sim.identification.parameters import World

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
_EPS_S = 1e-9


class SetPoints(NamedTuple):
    """What drives follow; [K, M] after each command, or [G, M] in each run of physics steps."""

    position: Float64
    velocity: Float64
    effort: Float64


class Replay:
    """One stretch in one backend. Shape letters: K commands, S physics steps, G runs of them, M motors."""

    def __init__(self, sim: PhysicsBackend, spec: AgentSpec, joints: tuple[str, ...], stretch: Stretch) -> None:
        """``sim`` holds the scene of `in_the_air`; others may use it between two calls."""
        robot = sim.scene.robot
        self._sim, self._stretch = sim, stretch
        self._rows = robot.index(joints)  # [N] along J
        motors = [motor.name for motor in robot.motors]
        self._motors = np.array([motors.index(name) for name in joints])  # [N] along M
        self._step_s = 1.0 / sim.scene.physics_rate_hz
        self._home = np.array([joint.home for joint in robot.joints])  # [J]
        self._start = sim.save()
        self._has_positions = spec.action.mode != "effort"
        self._commands = CommandDrive(robot, spec.action, period_s=spec.control_period_s)
        self._told = self._tabulated()
        # A sample lies between two steps: its place among them, and how far it is from the first.
        place = stretch.time_s / self._step_s  # [T]
        self._before: Int64 = np.floor(place + 1e-6).astype(np.int64)  # [T]
        share = place - self._before
        self._share = np.where(share > 1e-6, share, 0.0)[:, None]  # [T, 1]
        self._after = self._before + (self._share[:, 0] > 0.0)  # [T]
        self._steps = int(self._after[-1])

    def _tabulated(self) -> SetPoints:
        """Set-points [K, M] that follow each command: where joints were measured to be is what the firmware went by."""
        stretch, measured, commands = self._stretch, self._home.copy(), self._commands
        rows = []
        for tick, command in enumerate(stretch.command):
            measured[self._rows] = stretch.position[tick]
            if tick == 0:
                commands.reset(measured)
            held_s = float(stretch.command_s[tick] - stretch.command_s[tick - 1]) if tick else 0.0
            drive = commands.update(command, measured, elapsed_s=held_s)
            rows.append(np.stack([drive.position, drive.velocity, drive.effort]))
        return SetPoints(*np.stack(rows, axis=1))

    def run(self, world: World) -> tuple[Float64, Float64]:
        """What encoders would have said: positions and velocities [T, N]."""
        sim, stretch, built = self._sim, self._stretch, self._commands.drive
        sim.restore(self._start)
        sim.vary(world.dynamics)
        position, velocity = self._home.copy(), np.zeros_like(self._home)
        position[self._rows] = stretch.position[0] - world.bias
        if stretch.velocity is not None:
            velocity[self._rows] = stretch.velocity[0]
        sim.place(joint_position=position, joint_velocity=velocity)
        begins, points = self._runs(world)  # [G]
        strength = self._strengths(world)  # [M]
        drive = Drive(*(part[0] for part in points), *(strength * part for part in (built.kp, built.kd, built.limit)))
        reached = np.empty((2, len(begins) + 1, len(self._rows)))  # positions, velocities
        state = sim.state
        for run, (begin, end) in enumerate(zip(begins, [*begins[1:], self._steps], strict=True)):
            reached[:, run] = state.joint_position[self._rows], state.joint_velocity[self._rows]
            drive.position, drive.velocity, drive.effort = (part[run] for part in points)
            sim.run(drive, end - begin)
        reached[:, -1] = state.joint_position[self._rows], state.joint_velocity[self._rows]
        at = np.array([*begins, self._steps])
        before, after = np.searchsorted(at, self._before), np.searchsorted(at, self._after)  # [T]
        seen = reached[:, before] * (1.0 - self._share) + reached[:, after] * self._share  # [2, T, N]
        return seen[0] + world.bias, seen[1]

    def _runs(self, world: World) -> tuple[list[int], SetPoints]:
        """First steps [G] of runs in which set-points hold or move steadily, and these at their beginnings [G, M]."""
        motors, steps = self._told.position.shape[1], np.arange(self._steps)
        delay_s = np.full(motors, world.delay_s.mean())
        delay_s[self._motors] = world.delay_s
        is_new = np.zeros(self._steps, np.bool_)  # [S]
        is_new[0] = True
        is_new[self._before[self._before < self._steps]] = True
        is_new[self._after[self._after < self._steps]] = True
        heard = []
        for late_s in np.unique(delay_s):
            begin_s = steps * self._step_s - late_s  # [S] by the clock of who sent the commands
            first = self._latest(begin_s)
            last = self._latest(begin_s + self._step_s - 2 * _EPS_S)
            mixes = last > first
            is_new |= mixes
            is_new[1:] |= mixes[:-1] | (first[1:] != first[:-1])
            heard.append((delay_s == late_s, begin_s, first, last))
        begins = np.flatnonzero(is_new)  # [G]
        found = SetPoints(*(np.empty((len(begins), motors)) for _ in range(3)))
        for own, begin_s, first, last in heard:
            self._mix(found, own, begin_s[begins], first[begins], last[begins])
        if self._has_positions:
            found.position[:, self._motors] -= world.bias
        return begins.tolist(), SetPoints(found.position, found.velocity, found.effort * self._strengths(world))

    def _latest(self, when_s: Float64) -> Int64:
        """The last command sent by then, at first the first one."""
        sent = np.searchsorted(self._stretch.command_s, when_s + _EPS_S, side="right") - 1
        return np.maximum(sent, 0)

    def _mix(self, found: SetPoints, own: NDArray[np.bool_], begin_s: Float64, first: Int64, last: Int64) -> None:
        """Write set-points of the motors that are ``own`` [M] for runs [G] that begin then."""
        sent_s, told = self._stretch.command_s, self._told
        share = np.where(last > first, (begin_s + self._step_s - sent_s[last]) / self._step_s, 0.0)[:, None]  # [G, 1]
        held_s = np.maximum(begin_s - sent_s[first], 0.0)[:, None]  # [G, 1]
        before = told.position[first] + told.velocity[first] * held_s
        for target, old, new in (
            (found.position, before, told.position[last]),
            (found.velocity, told.velocity[first], told.velocity[last]),
            (found.effort, told.effort[first], told.effort[last]),
        ):
            target[:, own] = ((1.0 - share) * old + share * new)[:, own]

    def _strengths(self, world: World) -> Float64:
        strength = np.ones(self._told.position.shape[1])
        strength[self._motors] = world.strength
        return strength
