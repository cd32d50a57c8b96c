"""A robot in the air whose joints are known, and what it logs: two limbs, of two hinges and of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from robot_wm.spec import ActionSpec, AgentSpec, FirmwareProfile, JointLimits, JointRole, ObservationField
from robot_wm_sim.actuators.actuator import IDEAL, Actuator
from robot_wm_sim.dynamics import Dynamics
from robot_wm_sim.env import RobotEnv
from robot_wm_sim.identification.joint_log import JointLog, read_joint_log
from robot_wm_sim.identification.plan import Plan, make_plan
from robot_wm_sim.identification.play import play
from robot_wm_sim.identification.rig import HungTask
from robot_wm_sim.randomisation.ranges import NONE, Randomisation
from robot_wm_sim.robot import Joint, Robot
from robot_wm_sim.scene import Camera, Scene
from robot_wm_sim.sensing.sensor_model import SensorModel
from robot_wm_sim.task import VIDEO, Outcome, Task

CONTROL_HZ, PHYSICS_HZ = 50.0, 250.0
NAMES = ("shoulder", "elbow", "wing")
EFFORT_N_M = 10.0


def _link(name: str, mass: float, length: float) -> str:
    inertia = mass * length**2 / 12
    return (
        f'<link name="{name}"><inertial><origin xyz="0 0 {-length / 2}"/><mass value="{mass}"/><inertia ixx="{inertia}"'
        f' iyy="{inertia}" izz="0.001" ixy="0" ixz="0" iyz="0"/></inertial></link>'
    )


def _hinge(name: str, parent: str, child: str, place: str) -> str:
    return (
        f'<joint name="{name}" type="revolute"><parent link="{parent}"/><child link="{child}"/><origin xyz="{place}"/>'
        '<axis xyz="0 1 0"/><limit lower="-2" upper="2" effort="100" velocity="50"/></joint>'
    )


URDF = (
    '<robot name="planted">'
    + _link("trunk", 5.0, 0.2)
    + _link("upper", 0.8, 0.3)
    + _link("lower", 0.4, 0.3)
    + _link("feather", 0.6, 0.3)
    + _hinge("shoulder", "trunk", "upper", "0 0.2 0")
    + _hinge("elbow", "upper", "lower", "0 0 -0.3")
    + _hinge("wing", "trunk", "feather", "0 -0.2 0")
    + "</robot>"
)


class Waving(Task):
    """A task of that robot: nothing but its joints to see and to command."""

    step_limit = 1000

    def __init__(self, folder: Path, *, mode: str = "position", rate: float | None = None) -> None:
        description = folder / "planted.urdf"
        description.write_text(URDF)
        limits = JointLimits(position=(-2.0, 2.0), velocity=8.0, effort=EFFORT_N_M, rate=rate)
        joints = tuple(Joint(name=name, home=0.3, kp=15.0, kd=0.4, limits=limits) for name in NAMES)
        robot = Robot(name="planted", description=description, joints=joints, firmware="planted")
        self.scene = Scene(
            robot=robot,
            physics_rate_hz=PHYSICS_HZ,
            cameras={VIDEO: Camera(eye=(1.0, 1.0, 1.0), target=(0.0, 0.0, 0.0))},
        )
        seen: dict[str, Any] = {"shape": (3,), "labels": NAMES, "topic": "joint_states"}
        unit = {"position": "rad", "velocity": "rad/s", "effort": "N·m"}[mode]
        self.spec = AgentSpec(
            task="waving",
            robot="planted",
            control_rate_hz=CONTROL_HZ,
            physics_rate_hz=PHYSICS_HZ,
            observations=(
                ObservationField(name="joint_position", unit="rad", role=JointRole.POSITION, **seen),
                ObservationField(name="joint_velocity", unit="rad/s", role=JointRole.VELOCITY, **seen),
            ),
            action=ActionSpec(mode=mode, joints=NAMES, unit=unit, clip=8.0, limits=(limits,) * 3),
            firmware=FirmwareProfile(name="planted", kp=(15.0,) * 3, kd=(0.4,) * 3),
        )

    def reset(self, sim, rng) -> None:
        raise AssertionError("it stands nowhere")

    def observe(self, sim) -> Mapping[str, Any]:
        raise AssertionError("it hangs")

    def outcome(self, sim, command) -> Outcome:
        raise AssertionError("it hangs")


@dataclass(frozen=True)
class Planted:
    """What the logging robot is."""

    friction: tuple[float, ...] = (0.0, 0.0, 0.0)  # N·m
    damping: tuple[float, ...] = (0.0, 0.0, 0.0)  # N·m·s/rad
    armature: tuple[float, ...] = (0.0, 0.0, 0.0)  # kg·m²
    delay_s: float = 0.0
    noise: Mapping[str, float] = field(default_factory=dict)
    randomisation: Randomisation = NONE
    actuator: Actuator = IDEAL

    def dynamics(self) -> Dynamics:
        def by_joint(values: tuple[float, ...]) -> dict[str, float]:
            return dict(zip(NAMES, values, strict=True)) if any(values) else {}

        return Dynamics(
            joint_friction=by_joint(self.friction),
            joint_damping=by_joint(self.damping),
            armature=by_joint(self.armature),
        )


class _Hung(HungTask):
    """In the air, and not as it was built."""

    def __init__(self, task: Task, planted: Planted) -> None:
        super().__init__(task)
        self.scene = replace(self.scene, robot=self.scene.robot.driven_by(planted.actuator))
        self._dynamics = planted.dynamics()

    def reset(self, sim, rng) -> None:
        if self._dynamics != Dynamics():  # else they are the randomisation's
            sim.vary(self._dynamics)
        super().reset(sim, rng)


def hang(task: Task, planted: Planted, backend: str) -> RobotEnv:
    model = SensorModel(action_latency_s=planted.delay_s, noise_std=planted.noise)
    return RobotEnv(_Hung(task, planted), backend=backend, sensor_model=model, randomisation=planted.randomisation)


def logged(
    task: Task, planted: Planted, backend: str, folder: Path, *, duration_s: float = 8.0, plan: Plan | None = None
) -> tuple[JointLog, dict[str, float]]:
    """What that robot logs under a plan, and what was drawn of it."""
    env = hang(task, planted, backend)
    try:
        plan = plan or make_plan(env.task.scene.robot, task.spec, duration_s=duration_s)
        path, drawn = play(env, plan, folder, seed=3)
    finally:
        env.close()
    return read_joint_log(path), drawn


def still(plan: Plan, joint: str) -> Plan:
    """The same with one joint at rest."""
    command = plan.command.copy()
    command[:, plan.joints.index(joint)] = command[0, plan.joints.index(joint)]
    return replace(plan, command=command)
