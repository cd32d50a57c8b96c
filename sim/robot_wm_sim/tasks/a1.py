"""A1: follow a velocity command, or stand. Observations and resets of legged_gym's flat-ground task.

Rudin et al. 2021. The 45 numbers without base velocity are those of rl_sar's deployed policies, but one frame of them:
a recurrent model remembers by itself, and five old frames more only gave it more to predict. A 50 Hz policy sets joint
positions; the drives turn them into torque at 500 Hz.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.evaluation.overlay import Gauge, Panel
from robot_wm.spec import ActionSpec, AgentSpec, CommandField, JointRole, ObservationField, Source
from robot_wm_sim import gait, locomotion
from robot_wm_sim.backend import PhysicsBackend
from robot_wm_sim.environment import environment
from robot_wm_sim.fields import camera_field, choose
from robot_wm_sim.figures_so_far import FiguresSoFar, StepRows
from robot_wm_sim.frames import Vector, axes
from robot_wm_sim.robots.a1 import A1, FEET, FOOT_RADIUS_M, LEGS, LIMBS, MASS_KG, STAND_HEIGHT_M, TRUNK
from robot_wm_sim.task import Outcome, Task
from robot_wm_sim.tasks.a1_scene import PHYSICS_RATE_HZ, POSTS, ActuatorName, a1_scene, stand_posts

CONTROL_RATE_HZ = 50.0
PERIOD_S = 1 / CONTROL_RATE_HZ
KEPT = locomotion.kept(PERIOD_S)
COMMAND_STEPS = 500  # a new command every 10 s
MAX_AGE_S = 0.06  # three control periods
POLICY_UNIT_RAD = {"hip": 0.125, "upper": 0.25, "lower": 0.25}
ACTION_CLIP = 2.0  # policy units; at legged_gym's 3 the random policy of a beginner falls, and a trot needs 1.5
STILL_SHARE = 0.15  # of the commands ask to stand
MOVING_COMMAND = 0.1  # m/s and rad/s: less asks to stand
OBSERVATION_CLIP = 100.0
SUCCESS_ERROR = 0.25  # m/s and rad/s of averaged speeds, mean of an episode
UPRIGHT = -0.8  # z of gravity in the trunk's frame, at most

NAMES = A1.joint_names
HOME = np.array([joint.home for joint in A1.joints])  # [12] rad
UNIT_LIST = [POLICY_UNIT_RAD[name.split("_")[1]] for name in NAMES]  # [12] rad
UNITS = np.array(UNIT_LIST)
LOW, HIGH = np.array([joint.limits.position for joint in A1.joints]).T  # [12] rad each
CONTACT_LINKS = (TRUNK, *FEET, *LIMBS)
COMMANDS = (
    CommandField(name="linear_x", unit="m/s", low=-1.0, high=1.0),
    CommandField(name="linear_y", unit="m/s", low=-1.0, high=1.0),
    CommandField(name="angular_z", unit="rad/s", low=-1.0, high=1.0),
)
TERMS = ("linear_velocity", "yaw_rate", "lift", *locomotion.WEIGHTS)  # of the reward; `Outcome.info["terms"]`


class _Motion(NamedTuple):
    """The trunk in its own axes."""

    velocity: Vector  # m/s
    rate: Vector  # rad/s
    gravity: Vector  # direction of gravity, length 1

    @classmethod
    def of(cls, sim: PhysicsBackend) -> _Motion:
        _, _, _, *quaternion, x, y, z, p, q, r = sim.state.base.tolist()
        (a, b, c), (d, e, f), (g, h, i) = axes(quaternion)
        return cls(
            velocity=(a * x + b * y + c * z, d * x + e * y + f * z, g * x + h * y + i * z),
            rate=(a * p + b * q + c * r, d * p + e * q + f * r, g * p + h * q + i * r),
            gravity=(-c, -f, -i),
        )


class A1Velocity(Task):
    """Walk with the commanded forward, sideways and turning speed for 20 s; over when the trunk touches something.

    It offers no `reward_from`: most of the reward is for the trunk's linear velocity, and no field observes that, as no
    sensor of the robot gives it; nor do fields tell torques, where the feet are, or what touches the ground.
    """

    step_limit: ClassVar[int] = 1000
    task: ClassVar[str] = "a1_velocity"

    figure_names = ("fall", *gait.NAMES, *(f"term/{name}" for name in TERMS))

    def __init__(self, observation: str, command: str = "", actuator: ActuatorName = "ideal") -> None:
        self._fixed = _fixed_command(command) if command else None
        command_field = _command_field()
        fields = choose(
            observation,
            task=self.task,
            proprio=(*_imu_fields(), command_field, *_joint_fields()),
            images=(camera_field(frame="trunk_camera", max_age_s=MAX_AGE_S),),
        )
        if observation == "image":
            fields = (command_field, *fields)  # no picture shows what the operator wants
        self.spec = AgentSpec(
            task=self.task,
            robot=A1.name,
            control_rate_hz=CONTROL_RATE_HZ,
            physics_rate_hz=PHYSICS_RATE_HZ,
            observations=fields,
            action=ActionSpec(
                mode="position",
                joints=NAMES,
                unit="rad",
                scale=tuple(UNITS.tolist()),
                offset=tuple(HOME.tolist()),
                clip=ACTION_CLIP,
                limits=A1.limits(NAMES),
            ),
            commands=COMMANDS,
            firmware=A1.profile(NAMES),
        )
        self._posts = POSTS if observation != "proprio" else ()
        self.scene = a1_scene(actuator, self._posts)

    def draw_commands(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """The operator's wishes of one episode, [changes, 3] m/s, m/s, rad/s."""
        wishes = rng.uniform(-1.0, 1.0, (self.step_limit // COMMAND_STEPS, 3))
        wishes[rng.random(len(wishes)) < STILL_SHARE] = 0.0
        return wishes

    def reset(self, sim: PhysicsBackend, rng: np.random.Generator) -> None:
        """legged_gym's start: joints at 0.5 to 1.5 times their default, trunk moving by ±0.5 m/s and ±0.5 rad/s."""
        sim.place(
            joint_position=np.clip(HOME * rng.uniform(0.5, 1.5, HOME.size), LOW, HIGH),
            base_position=(0.0, 0.0, sim.ground.height(0.0, 0.0) + STAND_HEIGHT_M),
            base_linear_velocity=rng.uniform(-0.5, 0.5, 3),
            base_angular_velocity=rng.uniform(-0.5, 0.5, 3),
        )
        stand_posts(sim, self._posts)
        wishes = self.draw_commands(rng)  # drawn in any case, so that a seed means one start
        self._commands = (wishes if self._fixed is None else np.array([self._fixed])).tolist()
        self._command = self._commands[0]  # what the operator wants now, [3]
        self._steps = 0
        self._last_action = (HOME / UNITS).tolist()  # [12] policy units
        self._last_velocity = sim.state.joint_velocity.tolist()  # [12] rad/s
        self._last_feet = sim.link_positions(FEET)  # [4] of (x, y, z), m
        self._base = b""  # whose motion is known
        self._motion = motion = self._motion_now(sim)
        self._speed = (*motion.velocity[:2], motion.rate[2])  # averaged; m/s, m/s, rad/s
        self._gait = gait.GaitFigures(feet=len(FEET), motors=len(NAMES), mass_kg=MASS_KG, period_s=PERIOD_S)
        self._term_rows = StepRows(len(TERMS))  # of every step of the episode

    def observe(self, sim: PhysicsBackend) -> Mapping[str, NDArray[Any] | Sequence[float]]:
        """IMU, command and joints; the trunk's velocity is not among them, as no sensor of the robot gives it."""
        motion = self._motion_now(sim)
        return {
            "angular_velocity": motion.rate,
            "projected_gravity": motion.gravity,
            "command": self._command,
            "joint_position": sim.state.joint_position,
            "joint_velocity": sim.state.joint_velocity,
        }

    def outcome(self, sim: PhysicsBackend, command: NDArray[np.float64]) -> Outcome:
        """See `robot_wm_sim.locomotion` for the terms; ``info["terms"]`` holds them unweighted.

        Success so far: the trunk is upright, and the episode's mean errors of velocity and yaw rate are below 0.25.
        """
        self._motion = motion = self._motion_now(sim)
        trunk, *contacts = sim.contact_forces(CONTACT_LINKS)
        feet_n, limbs_n = contacts[: len(FEET)], contacts[len(FEET) :]
        self._speed = (
            locomotion.averaged(self._speed[0], motion.velocity[0], kept=KEPT),
            locomotion.averaged(self._speed[1], motion.velocity[1], kept=KEPT),
            locomotion.averaged(self._speed[2], motion.rate[2], kept=KEPT),
        )
        feet = sim.link_positions(FEET)
        height = sim.ground.height
        heights = [z - FOOT_RADIUS_M - height(x, y) for x, y, z in feet]  # [4] m, of the soles over the ground below
        torque, velocity = sim.state.joint_effort.tolist(), sim.state.joint_velocity.tolist()  # [12] N·m, rad/s
        terms = self._terms(torque, velocity, command, feet, heights, limbs_n)
        self._term_rows.add(list(terms.values()))
        power = list(map(operator.mul, torque, velocity))  # [12] W
        self._gait.step(self._command, self._speed, power_w=power, heights_m=heights, forces_n=feet_n)
        self._steps += 1
        if self._steps % COMMAND_STEPS == 0 and self._steps // COMMAND_STEPS < len(self._commands):
            # It changes with an observation; rewards follow from the next step on.
            self._command = self._commands[self._steps // COMMAND_STEPS]
        fallen = trunk > locomotion.BASE_CONTACT_N
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

        Plain lists, torque [12] N·m and velocity [12] rad/s among them: a dozen numbers are added up faster by math
        than by NumPy.
        """
        wanted_x, wanted_y, wanted_yaw = self._command
        speed_x, speed_y, speed_yaw = self._speed
        moving = max(map(abs, self._command)) > MOVING_COMMAND
        # Policy units; where their zero lies does not matter to a change.
        action = list(map(operator.truediv, command.tolist(), UNIT_LIST))
        foot_speeds = [
            math.hypot(now[0] - before[0], now[1] - before[1]) * CONTROL_RATE_HZ
            for now, before in zip(feet, self._last_feet)  # noqa: B905  strict costs time
        ]
        terms = {
            "linear_velocity": locomotion.tracking(
                math.hypot(wanted_x - speed_x, wanted_y - speed_y),
                math.hypot(wanted_x, wanted_y),
                least=locomotion.LEAST_SPEED_M_S,
            ),
            "yaw_rate": locomotion.tracking(wanted_yaw - speed_yaw, wanted_yaw, least=locomotion.LEAST_TURN_RAD_S),
            "lift": locomotion.lift(heights, foot_speeds) if moving else 0.0,
            "vertical_velocity": self._motion.velocity[2] ** 2,
            "tilting_rate": locomotion.squares(self._motion.rate[:2]),
            "torque": locomotion.squares(torque),
            "joint_acceleration": locomotion.squared_change(velocity, self._last_velocity) * CONTROL_RATE_HZ**2,
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
        down = [force > locomotion.FOOT_CONTACT_N for force in sim.contact_forces(FEET)]
        feet = "  ".join(leg if carries else "--" for leg, carries in zip(LEGS, down, strict=True))
        return {**dict(zip(("forward", "left", "turn left"), gauges, strict=True)), "feet down": feet}


class A1Stand(A1Velocity):
    """Come to rest on four feet after a start in motion, and stay: the velocity task with a command of zero."""

    task: ClassVar[str] = "a1_stand"

    def draw_commands(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Zero."""
        return np.zeros((1, 3))


def _figures(gait_figures: gait.GaitFigures, term_rows: StepRows, steps: int, fallen: bool) -> dict[str, float | None]:
    """An episode's figures as of its first ``steps``; keys are the task's `figure_names`."""
    means = zip(TERMS, term_rows.means(steps), strict=True)
    return {"fall": float(fallen), **gait_figures.values(steps), **{f"term/{name}": mean for name, mean in means}}


def _fixed_command(text: str) -> tuple[float, ...]:
    """The numbers of an option such as ``0.5,0,0``; UserError where they are not three, or out of range."""
    parts = text.split(",")
    if len(parts) != len(COMMANDS):
        wanted = ", ".join(f"{field.name} {field.unit}" for field in COMMANDS)
        raise UserError(f"option command: {text!r} is not {len(COMMANDS)} numbers ({wanted})")
    values = []
    for field, part in zip(COMMANDS, parts, strict=True):
        try:
            value = float(part)
        except ValueError:
            raise UserError(f"option command: {field.name}: {part!r} is not a number, {field.unit}") from None
        if not field.low <= value <= field.high:
            raise UserError(
                f"option command: {field.name}: {value:g} {field.unit} is not within [{field.low:g}, {field.high:g}]"
            )
        values.append(value)
    return tuple(values)


def _imu_fields() -> tuple[ObservationField, ...]:
    axes = ("x", "y", "z")
    imu: dict[str, Any] = {"topic": "imu/data", "frame": "imu_link", "max_age_s": MAX_AGE_S, "clip": OBSERVATION_CLIP}
    return (
        ObservationField(name="angular_velocity", shape=(3,), unit="rad/s", labels=axes, scale=(0.25,), **imu),
        # From the IMU's orientation: the direction of gravity, of length 1, in the trunk's axes.
        ObservationField(name="projected_gravity", shape=(3,), unit="1", labels=axes, **imu),
    )


def _command_field() -> ObservationField:
    return ObservationField(
        name="command",
        shape=(3,),
        unit="m/s, m/s, rad/s",
        labels=("linear_x", "linear_y", "angular_z"),
        clip=OBSERVATION_CLIP,
        source=Source.COMMAND,
        topic="cmd_vel",
        max_age_s=0.5,  # operators publish slowly
    )


def _joint_fields() -> tuple[ObservationField, ...]:
    home = tuple(HOME.tolist())
    joints: dict[str, Any] = {
        "shape": (len(NAMES),),
        "labels": NAMES,
        "clip": OBSERVATION_CLIP,
        "max_age_s": MAX_AGE_S,
    }
    return (
        ObservationField(
            name="joint_position", unit="rad", role=JointRole.POSITION, offset=home, topic="joint_states", **joints
        ),
        ObservationField(
            name="joint_velocity", unit="rad/s", role=JointRole.VELOCITY, scale=(0.05,), topic="joint_states", **joints
        ),
        # So that the graph sees the policy action that led to the command.
        ObservationField(
            name="last_action",
            unit="rad",
            offset=home,
            scale=tuple((1 / UNITS).tolist()),
            source=Source.LAST_ACTION,
            **joints,
        ),
    )


@environment
def a1_velocity(*, observation: str = "proprio", command: str = "", actuator: ActuatorName = "ideal") -> Task:
    """Walk an A1 quadruped at commanded speeds of ±1 m/s and ±1 rad/s (1000 steps at 50 Hz).

    ``command`` fixes the operator's wish for whole episodes: ``0.5,0,0`` is 0.5 m/s ahead, not sideways, not turning.
    ``actuator`` is one of `robots.a1.ACTUATORS`.
    """
    return A1Velocity(observation, command, actuator)


@environment
def a1_stand(*, observation: str = "proprio", command: str = "", actuator: ActuatorName = "ideal") -> Task:
    """Stand an A1 quadruped still on four feet after a start in motion (1000 steps at 50 Hz)."""
    return A1Stand(observation, command, actuator)
