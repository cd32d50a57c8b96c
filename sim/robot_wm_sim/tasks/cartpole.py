"""Cartpole: hold a rod upright (balance), or first swing it up. Both with dm_control's reward.

Tassa et al. 2018, "DeepMind Control Suite": upright x centred x small control x small velocity, each in [0, 1]; with
50 control steps a second for 10 s a perfect return is 500. Swing-up pays nothing for a cart that has left the rail.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from robot_wm.spec import ActionSpec, AgentSpec, JointRole, ObservationField
from robot_wm_sim.backend import PhysicsBackend
from robot_wm_sim.environment import environment
from robot_wm_sim.fields import CAMERA, camera_field, choose
from robot_wm_sim.recorded import Fields, StepRewards, step_rewards
from robot_wm_sim.rewards import Number, parabola, tolerance
from robot_wm_sim.robots.cartpole import CARTPOLE, RAIL_M
from robot_wm_sim.scene import Camera, Scene
from robot_wm_sim.task import VIDEO, Outcome, Task

CONTROL_RATE_HZ = 50.0
PHYSICS_RATE_HZ = 250.0
FALLEN_RAD = 0.8
UPRIGHT_COSINE = math.cos(0.2)  # within 0.2 rad of upright
MAX_AGE_S = 0.06  # three control periods
SLIDER, HINGE = CARTPOLE.index(("slider", "hinge"))


class _Cartpole(Task):
    """What balance and swing-up share."""

    step_limit = 500
    figure_names = ("upright_share",)
    task: ClassVar[str]

    def __init__(self, observation: str) -> None:
        fields = choose(
            observation,
            task=self.task,
            proprio=(
                _field("cart_position", "m", ("slider",), 1 / 1.8, JointRole.POSITION),
                self._angle_field(),
                _field("cart_velocity", "m/s", ("slider",), 1 / 3.0, JointRole.VELOCITY),
                _field("pole_velocity", "rad/s", ("hinge",), 1 / 5.0),
            ),
            images=(camera_field(frame="rail_camera", max_age_s=MAX_AGE_S),),
        )
        limits = CARTPOLE.limits(("slider",))
        self._effort_limit = limits[0].effort or math.inf  # N
        self.spec = AgentSpec(
            task=self.task,
            robot=CARTPOLE.name,
            control_rate_hz=CONTROL_RATE_HZ,
            physics_rate_hz=PHYSICS_RATE_HZ,
            observations=fields,
            action=ActionSpec(mode="effort", joints=("slider",), unit="N", scale=(self._effort_limit,), limits=limits),
            firmware=CARTPOLE.profile(("slider",)),
        )
        self.scene = Scene(
            robot=CARTPOLE,
            physics_rate_hz=PHYSICS_RATE_HZ,
            ground=False,
            cameras={
                CAMERA: Camera(eye=(0.0, -4.2, 0.1), target=(0.0, 0.0, 0.1), vertical_fov_deg=56.0),
                VIDEO: Camera(eye=(0.0, -4.2, 0.6), target=(0.0, 0.0, 0.15), vertical_fov_deg=45.0),
            },
        )

    @abstractmethod
    def _angle_field(self) -> ObservationField:
        """How this task is told the pole's angle."""

    @abstractmethod
    def _start(self, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where both joints are when an episode starts, [2] m and rad, and how fast they move, [2] m/s and rad/s."""

    def reset(self, sim: PhysicsBackend, rng: np.random.Generator) -> None:
        """Start where the task says."""
        position, velocity = self._start(rng)
        sim.place(joint_position=position, joint_velocity=velocity)
        self._steps = self._upright_steps = 0

    def outcome(self, sim: PhysicsBackend, command: NDArray[np.float64]) -> Outcome:
        """Reward in [0, 1]: how upright, centred, slow and gently pushed it is, each in [0, 1], all multiplied.

        The figure ``upright_share`` is the share of steps within 0.2 rad of upright.
        """
        position, velocity = sim.state.joint_position.tolist(), sim.state.joint_velocity.tolist()
        cosine = math.cos(position[HINGE])
        self._steps += 1
        self._upright_steps += cosine >= UPRIGHT_COSINE
        return Outcome(
            reward=self._earned(position[SLIDER], cosine, velocity[HINGE], float(command[0])),
            info={"figures": {"upright_share": self._upright_steps / self._steps}},
        )

    def _earned(self, x: Number, cosine: Number, pole_velocity: Number, force: Number) -> Number:
        """dm_control's reward in [0, 1] of the cart's place, m, the pole's cosine and velocity, rad/s, and force, N."""
        upright = (cosine + 1) / 2
        centred = (1 + tolerance(x, margin=2.0)) / 2  # m
        small_control = (4 + parabola(force / self._effort_limit, margin=1.0)) / 5
        small_velocity = (1 + tolerance(pole_velocity, margin=5.0)) / 2  # rad/s
        return upright * centred * small_control * small_velocity

    def _paid(self, now: Fields, cosine: NDArray[np.float64], action: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._earned(now["cart_position"][:, 0], cosine, now["pole_velocity"][:, 0], action[:, 0])


class CartpoleBalance(_Cartpole):
    """Keep the pole upright; over when it falls or the cart leaves the rail."""

    task = "cartpole_balance"

    def _angle_field(self) -> ObservationField:
        return _field("pole_angle", "rad", ("hinge",), 1 / 0.4)

    def _start(self, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Near upright and near the middle, nearly at rest: ±0.1 m, ±0.1 rad, ±0.1 m/s, ±0.1 rad/s."""
        return rng.uniform(-0.1, 0.1, 2), rng.uniform(-0.1, 0.1, 2)

    def observe(self, sim: PhysicsBackend) -> Mapping[str, NDArray[Any]]:
        """Positions and velocities of both joints."""
        position, velocity = sim.state.joint_position, sim.state.joint_velocity
        return {
            "cart_position": position[[SLIDER]],
            "pole_angle": position[[HINGE]],
            "cart_velocity": velocity[[SLIDER]],
            "pole_velocity": velocity[[HINGE]],
        }

    def outcome(self, sim: PhysicsBackend, command: NDArray[np.float64]) -> Outcome:
        """Over beyond 0.8 rad or 1.8 m."""
        x, angle = sim.state.joint_position[[SLIDER, HINGE]]
        return super().outcome(sim, command)._replace(terminated=bool(_is_over(x, angle)))

    def reward_from(self) -> StepRewards | None:
        """From the joints' positions and the pole's velocity."""
        return step_rewards(
            self.spec,
            ("cart_position", "pole_angle", "pole_velocity"),
            lambda before, action, now: self._paid(now, np.cos(now["pole_angle"][:, 0]), action),
            lambda obs: _is_over(obs["cart_position"][:, 0], obs["pole_angle"][:, 0]),
        )


class CartpoleSwingup(_Cartpole):
    """Swing the pole up from hanging and keep it there; end stops bound the cart, and beyond 1.8 m nothing is earned.

    With dm_control's reward alone, a cart that is pressed against an end stop under a
    whirling pole earns 0.12 a step, three times what random forces do, and a small agent learnt that and nothing more.
    """

    task = "cartpole_swingup"

    def _angle_field(self) -> ObservationField:
        return _field("pole_direction", "1", ("sin(hinge)", "cos(hinge)"), 1.0)

    def _start(self, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Hanging, near the middle, nearly at rest: ±0.1 m, π ± 0.1 rad, ±0.1 m/s, ±0.1 rad/s."""
        position = rng.uniform(-0.1, 0.1, 2)
        position[HINGE] += math.pi
        return position, rng.uniform(-0.1, 0.1, 2)

    def _earned(self, x: Number, cosine: Number, pole_velocity: Number, force: Number) -> Number:
        """In [0, 1], on the rail."""
        return super()._earned(x, cosine, pole_velocity, force) * (abs(x) <= RAIL_M)

    def reward_from(self) -> StepRewards | None:
        """From the cart's position, the pole's direction and its velocity; never over."""
        return step_rewards(
            self.spec,
            ("cart_position", "pole_direction", "pole_velocity"),
            lambda before, action, now: self._paid(now, now["pole_direction"][:, 1], action),
        )

    def observe(self, sim: PhysicsBackend) -> Mapping[str, NDArray[Any]]:
        """The pole's direction as sine and cosine: its angle has no bounds here."""
        position, velocity = sim.state.joint_position, sim.state.joint_velocity
        return {
            "cart_position": position[[SLIDER]],
            "pole_direction": np.array([math.sin(position[HINGE]), math.cos(position[HINGE])]),
            "cart_velocity": velocity[[SLIDER]],
            "pole_velocity": velocity[[HINGE]],
        }


def _is_over(x: Any, angle: Any) -> Any:
    """Whether the pole has fallen or the cart left the rail: of numbers, m and rad, or arrays."""
    return (abs(angle) > FALLEN_RAD) | (abs(x) > RAIL_M)


def _field(
    name: str, unit: str, labels: tuple[str, ...], scale: float, role: JointRole | None = None
) -> ObservationField:
    return ObservationField(
        name=name,
        shape=(len(labels),),
        unit=unit,
        labels=labels,
        scale=(scale,),
        clip=5.0,
        role=role,
        topic="joint_states",
        max_age_s=MAX_AGE_S,
    )


@environment
def cartpole_balance(*, observation: str = "proprio") -> Task:
    """Keep a pole upright on a cart (500 steps at 50 Hz, perfect return 500)."""
    return CartpoleBalance(observation)


@environment
def cartpole_swingup(*, observation: str = "proprio") -> Task:
    """Swing a hanging pole up and keep it upright (500 steps at 50 Hz, perfect return 500)."""
    return CartpoleSwingup(observation)
