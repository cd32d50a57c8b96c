"""panda_reach: bring the arm's tool to a point that the operator names and hold it there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from robot_wm.spec import ActionSpec, AgentSpec, CommandField, ObservationField, Source
from robot_wm_sim.backend import PhysicsBackend
from robot_wm_sim.env import RobotEnv
from robot_wm_sim.fields import CAMERA, camera_field, choose
from robot_wm_sim.rewards import tolerance
from robot_wm_sim.robots.panda import ARM, PANDA, TOOL
from robot_wm_sim.scene import Camera, Marker, Scene
from robot_wm_sim.task import VIDEO, Outcome, Task

CONTROL_RATE_HZ = 20.0
PHYSICS_RATE_HZ = 500.0
MAX_AGE_S = 0.15  # three control periods
SUCCESS_M = 0.03
TARGET = "target"
# Where targets are drawn from, world frame, m: in front of the arm, within 0.8 m of its shoulder.
TARGET_LOW, TARGET_HIGH = (0.30, -0.35, 0.15), (0.60, 0.35, 0.65)
ROWS = PANDA.index(ARM)  # the arm along axis J


class PandaReach(Task):
    """The reward grows as the tool nears the target; success is being within 3 cm of it."""

    step_limit: ClassVar[int] = 100

    def __init__(self, observation: str) -> None:
        fields = choose(
            observation,
            task="panda_reach",
            proprio=(
                _field("joint_position", "rad", ARM, scale=1.0, offset=tuple(PANDA.joint(name).home for name in ARM)),
                _field("joint_velocity", "rad/s", ARM, scale=1.0),
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
            # Half of what the joints can do: enough to cross the workspace in 2 s.
            action=ActionSpec(mode="velocity", joints=ARM, unit="rad/s", scale=(1.0,), limits=PANDA.limits(ARM)),
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
        """Reward in [0, 1]: 1 within 3 cm of the target, 0.1 at 0.43 m."""
        distance = float(np.linalg.norm(sim.link_pose(TOOL)[0] - self._target))
        return Outcome(
            reward=tolerance(distance, bound=SUCCESS_M, margin=0.4),
            info={"success": distance <= SUCCESS_M, "distance_m": distance},
        )


def _field(
    name: str,
    unit: str,
    labels: tuple[str, ...],
    *,
    scale: float,
    offset: tuple[float, ...] = (0.0,),
    source: Source = Source.SENSOR,
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
        topic=topic,
        frame="" if topic == "joint_states" else "panda_link0",
        # The operator's target stands until another comes.
        max_age_s=MAX_AGE_S if source is Source.SENSOR else 3600.0,
    )


def panda_reach(
    *, seed: int = 0, render_mode: str | None = None, observation: str = "proprio", backend: str = "pybullet"
) -> RobotEnv:
    """Bring the tool of a Franka Panda to a target point (100 steps at 20 Hz, joint velocities)."""
    return RobotEnv(PandaReach(observation), seed=seed, render_mode=render_mode, backend=backend)
