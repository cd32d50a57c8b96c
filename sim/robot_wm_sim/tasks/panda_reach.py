"""panda_reach: bring the arm's tool to a point that the operator names and hold it there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.spec import ActionSpec, AgentSpec, CommandField, JointRole, ObservationField, Source
from robot_wm_sim.backend import PhysicsBackend
from robot_wm_sim.environment import environment
from robot_wm_sim.fields import CAMERA, camera_field, choose
from robot_wm_sim.recorded import Fields, StepRewards, step_rewards
from robot_wm_sim.rewards import Number, halved, parabola
from robot_wm_sim.robots.panda import ARM, PANDA, TOOL
from robot_wm_sim.scene import Camera, Marker, Scene
from robot_wm_sim.task import VIDEO, Outcome, Task

CONTROL_RATE_HZ = 20.0
PHYSICS_RATE_HZ = 500.0
MAX_AGE_S = 0.15  # three control periods
SPEED_RAD_S = 1.0  # half of what the joints can do: enough to cross the workspace in 2 s
SUCCESS_M = 0.03
HALVED_EVERY_M = 0.15  # beyond SUCCESS_M
TARGET = "target"
# Where targets are drawn from, world frame, m: in front of the arm, within 0.8 m of its shoulder.
TARGET_LOW, TARGET_HIGH = (0.30, -0.35, 0.15), (0.60, 0.35, 0.65)
ROWS = PANDA.index(ARM)  # the arm along axis J


class PandaReach(Task):
    """The reward grows as the tool nears the target; success is being within 3 cm of it.

    The reward falls exponentially with the distance, so that it is flat nowhere. A Gaussian (0.1 at 0.43 m, tried
    first) is flat far from the target and again near it: hovering 6 cm away earned 98.7 % of everything.
    """

    step_limit = 100
    figure_names = ("distance_m", "reach_time_s")

    def __init__(self, observation: str) -> None:
        fields = choose(
            observation,
            task="panda_reach",
            proprio=(
                _field(
                    "joint_position",
                    "rad",
                    ARM,
                    scale=1.0,
                    offset=tuple(PANDA.joint(name).home for name in ARM),
                    role=JointRole.POSITION,
                ),
                _field("joint_velocity", "rad/s", ARM, scale=1.0, role=JointRole.VELOCITY),
                _field("tool_position", "m", ("x", "y", "z"), scale=3.0, offset=(0.45, 0.0, 0.4)),
                _field(
                    "target_position", "m", ("x", "y", "z"), scale=3.0, offset=(0.45, 0.0, 0.4), source=Source.COMMAND
                ),
            ),
            images=(camera_field(frame="side_camera", max_age_s=MAX_AGE_S),),
        )
        commanded = any(field.source is Source.COMMAND for field in fields)
        self.spec = AgentSpec(
            task="panda_reach",
            robot=PANDA.name,
            control_rate_hz=CONTROL_RATE_HZ,
            physics_rate_hz=PHYSICS_RATE_HZ,
            observations=fields,
            action=ActionSpec(
                mode="velocity", joints=ARM, unit="rad/s", scale=(SPEED_RAD_S,), limits=PANDA.limits(ARM)
            ),
            commands=tuple(
                CommandField(name=f"target_{axis}", unit="m", low=low, high=high)
                for axis, low, high in zip("xyz", TARGET_LOW, TARGET_HIGH, strict=True)
            )
            if commanded
            else (),
            firmware=PANDA.profile(ARM),
        )
        self.scene = Scene(
            robot=PANDA,
            physics_rate_hz=PHYSICS_RATE_HZ,
            markers=(Marker(name=TARGET, radius=0.035, colour=(0.9, 0.1, 0.1, 1.0)),),
            cameras={
                CAMERA: Camera(eye=(1.3, -0.9, 0.9), target=(0.25, 0.0, 0.4), vertical_fov_deg=45.0),
                VIDEO: Camera(eye=(1.4, -1.2, 1.0), target=(0.2, 0.0, 0.4), vertical_fov_deg=45.0),
            },
        )
        self._target = np.zeros(3)  # m

    def reset(self, sim: PhysicsBackend, rng: np.random.Generator) -> None:
        """Near the ready pose (±0.1 rad), at rest; a target anywhere in the box."""
        position = np.array([joint.home for joint in PANDA.joints])
        position[ROWS] += rng.uniform(-0.1, 0.1, len(ARM))
        sim.place(joint_position=position)
        self._target = rng.uniform(TARGET_LOW, TARGET_HIGH)
        self._reached, self._reach_steps = False, 0
        sim.move_marker(TARGET, self._target.tolist())

    def observe(self, sim: PhysicsBackend) -> Mapping[str, NDArray[Any]]:
        """Joint sensors, forward kinematics of the tool, and the operator's target."""
        return {
            "joint_position": sim.state.joint_position[ROWS],
            "joint_velocity": sim.state.joint_velocity[ROWS],
            "tool_position": sim.link_pose(TOOL)[0],
            "target_position": self._target,
        }

    def outcome(self, sim: PhysicsBackend, command: NDArray[np.float64]) -> Outcome:
        """Reward in [0, 1]: 1 for an arm at rest within 3 cm of the target, half of it every 15 cm further away.

        Up to a tenth less while the joints are told to move, so that the arm comes to rest where it was sent.
        Figures: ``distance_m`` now, and ``reach_time_s``, how long it took to come within 3 cm: so far, if it has not.
        """
        distance = float(np.linalg.norm(sim.link_pose(TOOL)[0] - self._target))
        self._reach_steps += not self._reached
        self._reached |= distance <= SUCCESS_M
        return Outcome(
            reward=_earned(distance, command.tolist()),
            info={
                "success": distance <= SUCCESS_M,
                "figures": {"distance_m": distance, "reach_time_s": self._reach_steps / CONTROL_RATE_HZ},
            },
        )

    def reward_from(self) -> StepRewards | None:
        """From the tool's and the target's position. A new target counts from the step after it was seen."""
        return step_rewards(self.spec, ("tool_position", "target_position"), _paid)


def _earned(distance: Number, speeds: Iterable[Number]) -> Number:
    """Reward of a tool at this distance, m, with the joints told to move at these speeds, rad/s."""
    near = halved(distance, bound=SUCCESS_M, every=HALVED_EVERY_M)
    small_control = (9 + sum([parabola(speed, margin=SPEED_RAD_S) for speed in speeds]) / len(ARM)) / 10
    return near * small_control


def _paid(before: Fields, action: NDArray[np.float64], now: Fields) -> NDArray[np.float64]:
    return _earned(np.linalg.norm(now["tool_position"] - before["target_position"], axis=1), action.T)


def _field(
    name: str,
    unit: str,
    labels: tuple[str, ...],
    *,
    scale: float,
    offset: tuple[float, ...] = (0.0,),
    source: Source = Source.SENSOR,
    role: JointRole | None = None,
) -> ObservationField:
    topic = {"tool_position": "tool_pose", "target_position": "target_pose"}.get(name, "joint_states")
    return ObservationField(
        name=name,
        shape=(len(labels),),
        unit=unit,
        labels=labels,
        offset=offset,
        scale=(scale,),
        clip=5.0,
        source=source,
        role=role,
        topic=topic,
        frame="" if topic == "joint_states" else "panda_link0",
        # The operator's target stands until another comes.
        max_age_s=MAX_AGE_S if source is Source.SENSOR else 3600.0,
    )


@environment
def panda_reach(*, observation: str = "proprio") -> Task:
    """Bring the tool of a Franka Panda to a target point (100 steps at 20 Hz, joint velocities)."""
    return PandaReach(observation)
