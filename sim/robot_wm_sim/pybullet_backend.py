"""PhysicsBackend over PyBullet.

What keeps it exact: inertia from the file, ``deterministicOverlappingPairs`` (then a restored snapshot continues
bit-equally), the default velocity motors switched off, damping only where the robot names it, and the base pose
converted from Bullet's centre-of-mass frame. What keeps it fast: batched joint calls, one state read a control tick,
and plain Python arithmetic for ideal drives (for a dozen joints NumPy costs more than it saves).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import pybullet
from numpy.typing import NDArray
from pybullet_utils.bullet_client import BulletClient

from robot_wm.errors import UserError
from robot_wm_sim.actuators.motors import Memory, Motors
from robot_wm_sim.backend import PhysicsBackend, RobotState
from robot_wm_sim.drive import Drive
from robot_wm_sim.dynamics import Dynamics
from robot_wm_sim.frames import Floats, Vector, multiply, rotate
from robot_wm_sim.native_output import native_output_discarded, native_output_to_stderr
from robot_wm_sim.pybullet_drive import PlainDrive
from robot_wm_sim.pybullet_dynamics import BASE, BulletDynamics
from robot_wm_sim.pybullet_ground import BulletGround
from robot_wm_sim.pybullet_picture import DrawnSurface, take_picture
from robot_wm_sim.pybullet_world import build_surroundings, load_robot
from robot_wm_sim.scene import Camera, Scene

FAR_AWAY = (0.0, 0.0, 1000.0)  # m
ANY_LINK = -2
NOWHERE = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))  # pose of a camera's mount where it has none


@dataclass(frozen=True)
class Snapshot:
    """Bullet's state id and what Bullet does not keep with it."""

    state_id: int
    joint_effort: NDArray[np.float64]  # [J]
    dynamics: Dynamics  # that it was taken with
    motors: Memory | None


class PyBulletBackend(PhysicsBackend):
    """One Bullet world with one robot."""

    name: ClassVar[str] = "pybullet"

    def __init__(self, scene: Scene, *, client: BulletClient | None = None) -> None:
        """``client`` is a connection to build the world in and to close, by default one without a window."""
        self.scene = scene
        self._dt = 1.0 / scene.physics_rate_hz
        self._contact_places: dict[tuple[str, ...], dict[int, int]] = {}  # link → place in the answer
        self._link_indices: dict[tuple[str, ...], list[int]] = {}
        if client is None:
            with native_output_discarded():  # an "argv[0]=" at every connection
                client = BulletClient(pybullet.DIRECT)
        self._client: BulletClient | None = client
        with native_output_to_stderr():
            client.setPhysicsEngineParameter(
                fixedTimeStep=self._dt, numSubSteps=0, deterministicOverlappingPairs=1, enableFileCaching=0
            )
            plane, self._markers = build_surroundings(client, scene)
            self._robot = load_robot(client, scene.robot)
            self._surface = DrawnSurface(client, scene.checker) if scene.ground else None
            self.ground = ground = BulletGround(client, scene, plane)
        self._actuators = Motors(scene.robot, rate_hz=scene.physics_rate_hz)
        moving = self._name_parts(client)
        self._paint(client)
        self._find_inertial_frame(client)
        self._bind_calls(client._client)
        self.dynamics = Dynamics()
        self._dynamics_of = BulletDynamics(client, scene, self._robot, links=self._links, joints=moving, ground=ground)
        self._dynamics_of.write(client, self.dynamics)
        self.state = RobotState.zeros(len(self._joints))
        self._rows: Sequence[tuple[float, ...]] | None = None  # Bullet's, of the joints [J] as they are now, once read
        self.state.base_position[:] = scene.robot.base_position  # for ever, if the base is fixed
        self._refresh()
        if self._compensating:
            # Bullet works out efforts with the masses of the first time that it is asked.
            self._gravity_efforts()

    # -- building --------------------------------------------------------------------------------------------------

    def _name_parts(self, client: BulletClient) -> dict[str, int]:
        """Find Bullet's indices of joints and links by the names in the description; those of all that move."""
        robot = self.scene.robot
        base_name = client.getBodyInfo(self._robot)[0].decode()
        self._links = {base_name: BASE}
        moving: dict[str, int] = {}  # in Bullet's order of degrees of freedom
        for index in range(client.getNumJoints(self._robot)):
            info = client.getJointInfo(self._robot, index)
            self._links[info[12].decode()] = index
            if info[2] != pybullet.JOINT_FIXED:
                moving[info[1].decode()] = index
        robot.require_joints(moving)
        self._moving = list(moving.values())
        self._joints = [moving[name] for name in robot.joint_names]
        self._motors = [moving[motor.name] for motor in robot.motors]
        self._motor_rows = [robot.joint_names.index(motor.name) for motor in robot.motors]
        self._motors_are_joints = self._motors == self._joints
        self._base_is_fixed, self._compensating = robot.fixed_base, robot.gravity_compensation
        # Where each motor stands among the degrees of freedom, for inverse dynamics.
        self._motor_freedoms = [self._moving.index(index) for index in self._motors]
        return moving

    def _paint(self, client: BulletClient) -> None:
        for name, colour in self.scene.robot.colours.items():
            client.changeVisualShape(self._robot, self._link(name), rgbaColor=colour)

    def _find_inertial_frame(self, client: BulletClient) -> None:
        offset, turn = client.getDynamicsInfo(self._robot, BASE)[3:5]
        # Bullet reports the pose of the base's principal axes at its centre of mass, not of its link frame.
        self._inertial_offset: tuple[float, ...] = offset  # [3] m, in the link frame
        self._inertial_turn: tuple[float, ...] = turn  # [4]
        self._link_in_inertial = pybullet.invertTransform(offset, turn)  # position [3] m, quaternion [4]
        self._base_is_inertial = max(map(abs, (*offset, *turn[:3]))) < 1e-9

    def _bind_calls(self, client_id: int) -> None:
        """Bind what every tick calls: BulletClient looks a function up and wraps it anew at each access."""
        robot, self._client_id = self._robot, client_id
        # By position where Bullet's order allows it: parsing keywords is a good part of such a call.
        self._states = partial(pybullet.getJointStates, robot, self._joints, client_id)
        self._moving_states = partial(pybullet.getJointStates, robot, self._moving, client_id)
        self._step = partial(pybullet.stepSimulation, client_id)
        self._base_pose = partial(pybullet.getBasePositionAndOrientation, robot, client_id)
        self._base_velocity = partial(pybullet.getBaseVelocity, robot, client_id)
        self._inverse_dynamics = partial(pybullet.calculateInverseDynamics, robot, physicsClientId=client_id)
        self._contacts = partial(pybullet.getContactPoints, robot, -1, ANY_LINK, ANY_LINK, client_id)
        self._set_efforts = partial(
            pybullet.setJointMotorControlArray,
            robot,
            self._motors,
            pybullet.TORQUE_CONTROL,
            physicsClientId=client_id,
        )

    # -- stepping --------------------------------------------------------------------------------------------------

    def run(self, drive: Drive, steps: int, *, refresh: bool = True, is_same: bool = False) -> None:
        """See PhysicsBackend.run."""
        if not self._actuators.are_ideal:
            efforts = self._run_actuators(drive, steps)
        else:
            if not is_same:
                self._told = PlainDrive.of(drive)
            told = self._told
            if told.has_gains or self._compensating:
                efforts = self._run_gains(told, steps)
            else:
                efforts = self._run_efforts(told, steps)
        if not refresh:
            self._rows = None
            return
        self._refresh()
        self.state.joint_effort[slice(None) if self._motors_are_joints else self._motor_rows] = efforts

    def _run_efforts(self, told: PlainDrive, steps: int) -> list[float]:
        """Efforts alone, without gains. Returns them [M]."""
        efforts = [min(max(effort, -limit), limit) for effort, limit in zip(told.target, told.limit, strict=True)]
        for _ in range(steps):
            # Bullet forgets an effort after the step that used it.
            self._set_efforts(forces=efforts)
            self._step()
        return efforts

    def _run_gains(self, told: PlainDrive, steps: int) -> list[float]:
        """The drives' equation at every physics step. Returns the last efforts [M]."""
        wanted = target = told.target
        kps, kds, limits, ramp, moving = told.kp, told.kd, told.limit, told.ramp, told.moves
        compensating = self._compensating
        # Called directly and not through _bind_calls: at 500 Hz even a wrapper shows.
        client, robot, motors = self._client_id, self._robot, self._motors
        read, apply, step = pybullet.getJointStates, pybullet.setJointMotorControlArray, pybullet.stepSimulation
        mode = pybullet.TORQUE_CONTROL
        unused = [0.0] * len(motors)  # arguments go by position: to name two of them costs more than four lists
        states = self._motor_rows_now()  # read when the last period ended
        efforts: list[float] = []
        for left in range(steps - 1, -1, -1):
            if compensating:
                wanted = [t + g for t, g in zip(target, self._gravity_efforts())]  # noqa: B905
            efforts = [
                hi if (u := w - kp * state[0] - kd * state[1]) > hi else -hi if u < -hi else u
                for state, w, kp, kd, hi in zip(states, wanted, kps, kds, limits)  # noqa: B905
            ]
            apply(robot, motors, mode, unused, unused, efforts, unused, unused, client)
            step(client)
            if left:
                states = read(robot, motors, client)
            if moving:
                target = [t + kp * v * self._dt for t, v, kp in zip(target, ramp, kps)]  # noqa: B905
                wanted = target
        return efforts

    def _run_actuators(self, drive: Drive, steps: int) -> list[float]:
        """The law of motors that are not ideal at every physics step. Returns the last efforts [M]."""
        actuators = self._actuators
        actuators.tell(drive)
        client, robot, motors, mode = self._client_id, self._robot, self._motors, pybullet.TORQUE_CONTROL
        unused = [0.0] * len(motors)  # as in _run_gains
        states = self._motor_rows_now()
        efforts: list[float] = []
        for left in range(steps - 1, -1, -1):
            position = np.array([state[0] for state in states])  # [M]
            velocity = np.array([state[1] for state in states])  # [M]
            wanted, least, largest = actuators.step(position, velocity)
            if self._compensating:
                wanted += self._gravity_efforts()
            efforts = np.minimum(np.maximum(wanted, least), largest).tolist()
            pybullet.setJointMotorControlArray(robot, motors, mode, unused, unused, efforts, unused, unused, client)
            pybullet.stepSimulation(client)
            if left:
                states = pybullet.getJointStates(robot, motors, client)
        return efforts

    def _motor_rows_now(self) -> Sequence[tuple[float, ...]]:
        """Position and velocity of each motor [M] now."""
        rows = self._rows or self._states()
        return rows if self._motors_are_joints else [rows[row] for row in self._motor_rows]

    def _gravity_efforts(self) -> list[float]:
        """What each motor [M] must give to hold a robot with a fixed base still against gravity."""
        position = [state[0] for state in self._moving_states()]
        still = [0.0] * len(position)
        efforts = self._inverse_dynamics(position, still, still)
        return [efforts[freedom] for freedom in self._motor_freedoms]

    def _refresh(self) -> None:
        """Read the robot's state from Bullet, once a control tick."""
        self._rows = rows = self._states()
        measured = [row[0] for row in rows] + [row[1] for row in rows]
        if not self._base_is_fixed:
            position, quaternion = self._base_pose()
            linear, angular = self._base_velocity()
            if not self._base_is_inertial:
                # From the centre of mass to the link frame: its place, then its velocity.
                x, y, z = position
                position, quaternion = pybullet.multiplyTransforms(position, quaternion, *self._link_in_inertial)
                (px, py, pz), (vx, vy, vz), (p, q, r) = position, linear, angular
                x, y, z = x - px, y - py, z - pz
                linear = (vx - (q * z - r * y), vy - (r * x - p * z), vz - (p * y - q * x))
            measured += (*position, *quaternion, *linear, *angular)
        self.state.block[: len(measured)] = measured

    # -- placing and snapshots -------------------------------------------------------------------------------------

    def place(
        self,
        *,
        joint_position: NDArray[np.float64],
        joint_velocity: NDArray[np.float64] | None = None,
        base_position: Floats | None = None,
        base_quaternion: Floats | None = None,
        base_linear_velocity: Floats = (0.0, 0.0, 0.0),
        base_angular_velocity: Floats = (0.0, 0.0, 0.0),
    ) -> None:
        """See PhysicsBackend.place."""
        if base_position is not None:
            self.scene.robot.require_free_base()
        world, robot = self._world, self._robot
        velocities = np.zeros(len(self._joints)) if joint_velocity is None else joint_velocity
        world.resetJointStatesMultiDof(
            robot, self._joints, joint_position.reshape(-1, 1).tolist(), velocities.reshape(-1, 1).tolist()
        )
        if base_position is not None:
            turn = (0.0, 0.0, 0.0, 1.0) if base_quaternion is None else tuple(map(float, base_quaternion))
            arm = rotate(turn, self._inertial_offset)
            world.resetBasePositionAndOrientation(
                robot, np.asarray(base_position) + arm, multiply(turn, self._inertial_turn)
            )
            linear = np.asarray(base_linear_velocity) + np.cross(base_angular_velocity, arm)
            world.resetBaseVelocity(robot, linear, base_angular_velocity)
        self.state.joint_effort[:] = 0.0
        self._refresh()

    def vary(self, dynamics: Dynamics) -> None:
        """See PhysicsBackend.vary."""
        if dynamics != self.dynamics:
            self._dynamics_of.write(self._world, dynamics)
            self.dynamics = dynamics

    def save(self) -> Snapshot:
        """See PhysicsBackend.save."""
        return Snapshot(self._world.saveState(), self.state.joint_effort.copy(), self.dynamics, self._actuators.save())

    def restore(self, snapshot: Snapshot) -> None:
        """See PhysicsBackend.restore."""
        if snapshot.dynamics is not self.dynamics:  # cheaper than to compare them, at each reset
            self.vary(snapshot.dynamics)
        # Bullet keeps today's contact points that the snapshot does not name: part the robot from everything first.
        self._world.resetBasePositionAndOrientation(self._robot, FAR_AWAY, (0.0, 0.0, 0.0, 1.0))
        self._world.performCollisionDetection()
        self._world.restoreState(snapshot.state_id)
        self._actuators.restore(snapshot.motors)
        self.state.joint_effort[:] = snapshot.joint_effort
        self._refresh()

    # -- looking ---------------------------------------------------------------------------------------------------

    def link_pose(self, link: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See PhysicsBackend.link_pose."""
        index = self._link(link)
        if index == BASE:
            return self.state.base_position.copy(), self.state.base_quaternion.copy()
        state = self._world.getLinkState(self._robot, index, computeForwardKinematics=1)
        return np.array(state[4]), np.array(state[5])

    def link_positions(self, links: Sequence[str]) -> list[Vector]:
        """See PhysicsBackend.link_positions."""
        names = tuple(links)
        indices = self._link_indices.get(names)
        if indices is None:
            indices = self._link_indices[names] = [self._link(name) for name in names]
        if BASE in indices:  # for which getLinkStates ends the whole process
            return [(x, y, z) for x, y, z in (self.link_pose(name)[0].tolist() for name in names)]
        return [row[4] for row in pybullet.getLinkStates(self._robot, indices, 0, 0, self._client_id)]

    def contact_forces(self, links: Sequence[str]) -> list[float]:
        """See PhysicsBackend.contact_forces."""
        names = tuple(links)
        place = self._contact_places.get(names)
        if place is None:
            place = self._contact_places[names] = {self._link(name): index for index, name in enumerate(names)}
        total, robot = [0.0] * len(names), self._robot
        for contact in self._contacts():
            # (flag, bodyA, bodyB, linkA, linkB, ..., [9] normal force); a contact with itself counts on both links.
            if contact[3] in place:
                total[place[contact[3]]] += contact[9]
            if contact[2] == robot and contact[4] in place:
                total[place[contact[4]]] += contact[9]
        return total

    def move_marker(self, name: str, position: Floats) -> None:
        """See PhysicsBackend.move_marker."""
        self._world.resetBasePositionAndOrientation(self._markers[name], position, (0.0, 0.0, 0.0, 1.0))

    def render(self, camera: Camera, *, height: int, width: int) -> NDArray[np.uint8]:
        """See PhysicsBackend.render."""
        eye, target, up = camera.viewpoint(*(NOWHERE if camera.mount is None else self.link_pose(camera.mount)))
        world, surface = self._world, self._surface
        if surface is not None:
            surface.show(self.ground, target, for_people=camera.for_people)
        try:
            return take_picture(world, camera, eye, target, up, height=height, width=width)
        finally:
            if surface is not None:
                surface.clear()

    def close(self) -> None:
        """See PhysicsBackend.close."""
        if self._client is not None:
            self._client.disconnect()
            self._client = None

    @property
    def bullet_ids(self) -> tuple[int, int, list[int]]:
        """Bullet's numbers of this world's client, of the robot and of its motors [M], to measure Bullet bare."""
        return self._client_id, self._robot, self._motors

    @property
    def _world(self) -> BulletClient:
        if self._client is None:
            raise RuntimeError("this PyBulletBackend is closed")
        return self._client

    def _link(self, name: str) -> int:
        try:
            return self._links[name]
        except KeyError:
            raise UserError(f"robot {self.scene.robot.name}: no link {name!r}; it has {sorted(self._links)}") from None
