"""LeggedVelocity: follow a velocity command, or stand, on any legged robot. Resets of legged_gym's flat-ground task.

Rudin et al. 2021. The numbers without base velocity are those of rl_sar's deployed policies, but one frame of them: a
recurrent model remembers by itself, and five old frames more only gave it more to predict.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.evaluation.overlay import Gauge, Panel
from robot_wm.spec import AgentSpec, ObservationField
from robot_wm_sim import gait, locomotion
from robot_wm_sim.backend import PhysicsBackend
from robot_wm_sim.figures_so_far import FiguresSoFar, StepRows
from robot_wm_sim.frames import Vector, axes_of
from robot_wm_sim.legged.body import Legged
from robot_wm_sim.legged.fields import COMMANDS, fixed_command
from robot_wm_sim.scene import Scene
from robot_wm_sim.task import Outcome, Task

COMMAND_PERIOD_S = 10.0  # then the operator wants something else
STILL_SHARE = 0.15  # of the commands ask to stand
MOVING_COMMAND = 0.1  # m/s and rad/s: less asks to stand
SUCCESS_ERROR = 0.25  # m/s and rad/s of averaged speeds, mean of an episode
UPRIGHT = -0.8  # z of gravity in the trunk's frame, at most
TERMS = ("linear_velocity", "yaw_rate", "lift", *locomotion.WEIGHTS)  # of the reward; `Outcome.info["terms"]`


class _Motion(NamedTuple):
    """The trunk in its own axes."""

    velocity: Vector  # m/s
    rate: Vector  # rad/s
    gravity: Vector  # direction of gravity, length 1

    @classmethod
    def of(cls, sim: PhysicsBackend) -> _Motion:
        _, _, _, qx, qy, qz, qw, x, y, z, p, q, r = sim.state.base.tolist()
        (a, b, c), (d, e, f), (g, h, i) = axes_of(qx, qy, qz, qw)
        velocity = (a * x + b * y + c * z, d * x + e * y + f * z, g * x + h * y + i * z)
        rate = (a * p + b * q + c * r, d * p + e * q + f * r, g * p + h * q + i * r)
        return cls(velocity, rate, (-c, -f, -i))


class LeggedVelocity(Task):
    """Walk with the commanded forward, sideways and turning speed; over when its body touches something.

    It offers no `reward_from`: most of the reward is for the trunk's linear velocity, and no field observes that, as no
    sensor of the robot gives it; nor do fields tell torques, where the feet are, or what touches the ground.
    """

    step_limit = 1000
    figure_names = ("fall", *gait.NAMES, *(f"term/{name}" for name in TERMS))

    def __init__(
        self,
        legged: Legged,
        *,
        task: str,
        scene: Scene,
        control_rate_hz: float,
        observations: Sequence[ObservationField],
        command: str = "",
        command_period_s: float = COMMAND_PERIOD_S,
        episode_s: float | None = None,
    ) -> None:
        """``command`` fixes the operator's wish for whole episodes, see `fixed_command`; UserError if it is none.

        Else it changes every ``command_period_s``, UserError unless that is positive. ``episode_s`` truncates episodes
        sooner or later than after 1000 steps, UserError if no control period fits into it.
        """
        if not 0 < command_period_s < math.inf:
            raise UserError(f"command_period_s {command_period_s:g}: an operator's wish lasts for more than 0 s")
        if episode_s is not None:
            if not 1 <= episode_s * control_rate_hz < math.inf:
                raise UserError(f"episode_s {episode_s:g}: an episode lasts for {1 / control_rate_hz:g} s or more")
            self.step_limit = round(episode_s * control_rate_hz)
        self._fixed = fixed_command(command) if command else None
        self.spec = AgentSpec(
            task=task,
            robot=legged.robot.name,
            control_rate_hz=control_rate_hz,
            physics_rate_hz=scene.physics_rate_hz,
            observations=tuple(observations),
            action=legged.action(),
            commands=COMMANDS,
            firmware=legged.robot.profile(legged.actions),
        )
        self.scene = scene
        self.legged = legged
        self._rate_hz, self._period_s = control_rate_hz, 1 / control_rate_hz
        self._kept = locomotion.kept(self._period_s)
        self._command_steps = max(1, round(command_period_s * control_rate_hz))
        self._units = list(legged.scale)  # [A]
        self._rows = legged.rows
        self._contact_links = (legged.trunk, *legged.sides, *legged.feet, *legged.limbs)
        body = 1 + len(legged.sides)
        self._contact_parts = slice(body), slice(body, body + len(legged.feet)), slice(body + len(legged.feet), None)
        self._clearance_m, self._torque_scale = legged.clearance_m, legged.torque_scale
        self._tipped = math.inf if legged.tipped is None else legged.tipped

    def draw_commands(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """The operator's wishes of one episode, [changes, 3] m/s, m/s, rad/s."""
        wishes = rng.uniform(-1.0, 1.0, (max(1, self.step_limit // self._command_steps), 3))
        wishes[rng.random(len(wishes)) < STILL_SHARE] = 0.0
        return wishes

    def reset(self, sim: PhysicsBackend, rng: np.random.Generator) -> None:
        """legged_gym's start: joints at 0.5 to 1.5 times their default, trunk moving by ±0.5 m/s and ±0.5 rad/s."""
        legged = self.legged
        low, high = legged.stops
        sim.place(
            joint_position=np.clip(legged.home * rng.uniform(0.5, 1.5, legged.home.size), low, high),
            base_position=(0.0, 0.0, legged.start_height_m),
            base_linear_velocity=rng.uniform(-0.5, 0.5, 3),
            base_angular_velocity=rng.uniform(-0.5, 0.5, 3),
        )
        wishes = self.draw_commands(rng)  # drawn in any case, so that a seed means one start
        self._commands = (wishes if self._fixed is None else np.array([self._fixed])).tolist()
        self._want(self._commands[0])
        self._steps = 0
        self._last_action = list(map(operator.truediv, legged.offset, self._units))  # [A] policy units
        self._last_velocity = sim.state.joint_velocity[self._rows].tolist()  # [A] rad/s
        self._last_feet = legged.feet_at(sim)  # [K] of (x, y, z), m
        self._base = b""  # whose motion is known
        self._motion = motion = self._motion_now(sim)
        self._speed = (*motion.velocity[:2], motion.rate[2])  # averaged; m/s, m/s, rad/s
        self._gait = gait.GaitFigures(
            feet=len(legged.feet), motors=len(legged.actions), mass_kg=legged.mass_kg, period_s=self._period_s
        )
        self._term_rows = StepRows(len(TERMS))  # of every step of the episode

    def _want(self, command: list[float]) -> None:
        """The operator wants that from now on, [3]."""
        self._command = command
        self._wanted_speed = math.hypot(*command[:2])  # m/s
        self._is_moving = max(map(abs, command)) > MOVING_COMMAND

    def observe(self, sim: PhysicsBackend) -> Mapping[str, NDArray[Any] | Sequence[float]]:
        """IMU, command and joints; the trunk's velocity is not among them, as no sensor of the robot gives it."""
        motion = self._motion_now(sim)
        return {
            "angular_velocity": motion.rate,
            "projected_gravity": motion.gravity,
            "command": self._command,
            "joint_position": sim.state.joint_position[self._rows],
            "joint_velocity": sim.state.joint_velocity[self._rows],
        }

    def outcome(self, sim: PhysicsBackend, command: NDArray[np.float64]) -> Outcome:
        """Reward of 0 to 1.7: speeds as asked and feet lifted over the ground, times what the penalties leave.

        See `robot_wm_sim.locomotion` for the terms; ``info["terms"]`` holds them unweighted. Success so far: the trunk
        is upright, and the episode's mean errors of velocity and yaw rate are below 0.25.
        """
        self._motion = motion = self._motion_now(sim)
        forces = sim.contact_forces(self._contact_links)
        body, feet, limbs = self._contact_parts
        body_n, feet_n, limbs_n = forces[body], forces[feet], forces[limbs]
        self._speed = (
            locomotion.averaged(self._speed[0], motion.velocity[0], kept=self._kept),
            locomotion.averaged(self._speed[1], motion.velocity[1], kept=self._kept),
            locomotion.averaged(self._speed[2], motion.rate[2], kept=self._kept),
        )
        places = self.legged.feet_at(sim)  # [K] of (x, y, z) m
        height, sole_m = sim.ground.height, self.legged.sole_m
        heights = [z - sole_m - height(x, y) for x, y, z in places]  # [K] m, of soles over the ground below
        torque = sim.state.joint_effort[self._rows].tolist()  # [A] N·m
        velocity = sim.state.joint_velocity[self._rows].tolist()  # [A] rad/s
        terms = self._terms(torque, velocity, command, places, heights, limbs_n)
        self._term_rows.add(list(terms.values()))
        power = list(map(operator.mul, torque, velocity))  # [A] W
        self._gait.step(self._command, self._speed, power_w=power, heights_m=heights, forces_n=feet_n)
        self._steps += 1
        if self._steps % self._command_steps == 0 and self._steps // self._command_steps < len(self._commands):
            # It changes with an observation; rewards follow from the next step on.
            self._want(self._commands[self._steps // self._command_steps])
        fallen = max(body_n) > locomotion.BODY_CONTACT_N or motion.gravity[2] > self._tipped
        followed = self._gait.largest_error < SUCCESS_ERROR
        return Outcome(
            reward=locomotion.reward(terms["linear_velocity"], terms["yaw_rate"], terms["lift"], terms),
            terminated=fallen,
            info={
                "success": bool(followed and not fallen and motion.gravity[2] < UPRIGHT),
                "terms": terms,
                "figures": FiguresSoFar(partial(_figures, self._gait, self._term_rows, self._steps, fallen)),
            },
        )

    def _motion_now(self, sim: PhysicsBackend) -> _Motion:
        """The trunk's motion; that of the state before it costs nothing, as reward and observation look at the same."""
        base = sim.state.base.tobytes()
        if base != self._base:
            self._base, self._latest = base, _Motion.of(sim)
        return self._latest

    def _terms(
        self,
        torque: list[float],
        velocity: list[float],
        command: NDArray[np.float64],
        feet: list[Vector],
        heights: list[float],
        limbs_n: list[float],
    ) -> dict[str, float]:
        """Every term of this step's reward, unweighted; keys are `TERMS`, in that order.

        Plain lists, torque [A] N·m and velocity [A] rad/s among them: a dozen numbers are added up faster by math
        than by NumPy.
        """
        wanted_x, wanted_y, wanted_yaw = self._command
        speed_x, speed_y, speed_yaw = self._speed
        moving = self._is_moving
        # Policy units; where their zero lies does not matter to a change.
        action = list(map(operator.truediv, command.tolist(), self._units))
        foot_speeds = [
            math.hypot(now[0] - before[0], now[1] - before[1]) * self._rate_hz
            for now, before in zip(feet, self._last_feet)  # noqa: B905  strict costs time
        ]
        terms = {
            "linear_velocity": locomotion.tracking(
                math.hypot(wanted_x - speed_x, wanted_y - speed_y),
                self._wanted_speed,
                least=locomotion.LEAST_SPEED_M_S,
            ),
            "yaw_rate": locomotion.tracking(wanted_yaw - speed_yaw, wanted_yaw, least=locomotion.LEAST_TURN_RAD_S),
            "lift": locomotion.lift(heights, foot_speeds, clearance_m=self._clearance_m) if moving else 0.0,
            "vertical_velocity": self._motion.velocity[2] ** 2,
            "tilting_rate": locomotion.squares(self._motion.rate[:2]),
            "torque": locomotion.squares(torque) * self._torque_scale,
            "joint_acceleration": locomotion.squared_change(velocity, self._last_velocity) * self._rate_hz**2,
            "action_rate": locomotion.squared_change(action, self._last_action),
            "collision": locomotion.collisions(limbs_n),
            "restlessness": 0.0 if moving else locomotion.squares(velocity),
        }
        self._last_velocity, self._last_action, self._last_feet = velocity, action, feet
        return terms

    def overlay(self, sim: PhysicsBackend) -> Panel:
        """The command beside the averaged speeds, and which feet carry weight."""
        gauges = [
            Gauge(asked=asked, actual=speed, limit=field.high, unit=field.unit)
            for field, asked, speed in zip(COMMANDS, self._command, self._speed, strict=True)
        ]
        feet = self.legged.feet
        down = [force > locomotion.FOOT_CONTACT_N for force in sim.contact_forces(feet)]
        named = "  ".join(name.split("_")[0] if carries else "--" for name, carries in zip(feet, down, strict=True))
        return {**dict(zip(("forward", "left", "turn left"), gauges, strict=True)), "feet down": named}


def _figures(gait_figures: gait.GaitFigures, term_rows: StepRows, steps: int, fallen: bool) -> dict[str, float | None]:
    """An episode's figures as of its first ``steps``; keys are the task's `figure_names`."""
    means = zip(TERMS, term_rows.means(steps), strict=True)
    return {"fall": float(fallen), **gait_figures.values(steps), **{f"term/{name}": mean for name, mean in means}}
