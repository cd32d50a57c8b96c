"""PhysicsBackend over MuJoCo, without a window; `mujoco_model` says how a Scene becomes a model.

What keeps it exact: MuJoCo's own actuators follow the drive's equation at every physics step (ideal motors; for others
`Motors` tells each step's efforts), a snapshot is a copy of
all of MuJoCo's data (contacts and the solver's warm start too), and what is derived from a position is computed for the
position that is asked about, whoever asked before. What keeps it fast: a control period is one call of `mj_step`.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import mujoco
import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm_sim.actuators.motors import Memory, Motors
from robot_wm_sim.backend import PhysicsBackend, RobotState
from robot_wm_sim.drive import Drive
from robot_wm_sim.dynamics import Dynamics
from robot_wm_sim.frames import Floats, Vector, rotate_inverse, turned
from robot_wm_sim.mujoco_dynamics import MuJoCoDynamics
from robot_wm_sim.mujoco_ground import MuJoCoGround
from robot_wm_sim.mujoco_model import build_model, marker_body
from robot_wm_sim.mujoco_picture import Painter
from robot_wm_sim.scene import Camera, Scene

XYZW, WXYZ = [1, 2, 3, 0], [3, 0, 1, 2]  # to our order of a quaternion's numbers, and to MuJoCo's
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """A copy of MuJoCo's data and what MuJoCo does not keep."""

    data: mujoco.MjData
    joint_effort: NDArray[np.float64]  # [J]
    dynamics: Dynamics  # that it was taken with
    motors: Memory | None


class MuJoCoBackend(PhysicsBackend):
    """One MuJoCo world with one robot."""

    name: ClassVar[str] = "mujoco"

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        if mujoco.get_mju_user_warning() is None:
            # Without a handler MuJoCo writes MUJOCO_LOG.TXT into the working folder.
            mujoco.set_mju_user_warning(LOG.warning)
        self._model = model = build_model(scene)
        self._data: mujoco.MjData | None = mujoco.MjData(model)
        self._painter: Painter | None = None
        self._bodies = {model.body(index).name: index for index in range(1, model.nbody)}
        self._markers = {
            marker.name: int(model.body_mocapid[self._bodies.pop(marker_body(marker.name))]) for marker in scene.markers
        }
        self.dynamics, self.ground = Dynamics(), MuJoCoGround(model, scene.height_field)
        self._dynamics_of = MuJoCoDynamics(model, scene, links=self._bodies, ground=self.ground)
        self._link_bodies: dict[tuple[str, ...], NDArray[np.int64]] = {}
        self._contact_places: dict[tuple[str, ...], dict[int, int]] = {}  # shape → place in the answer
        self._motors = Motors(scene.robot, rate_hz=scene.physics_rate_hz)
        self._name_parts(model)
        self._bind_arrays(model, self._data)
        self.state = RobotState.zeros(len(scene.robot.joints))
        self.state.base_position[:] = scene.robot.base_position  # for ever, if the base is fixed
        mujoco.mj_forward(model, self._data)
        self._derived = True  # whether links' places belong to the present position
        self._refresh()

    # -- building --------------------------------------------------------------------------------------------------

    def _name_parts(self, model: mujoco.MjModel) -> None:
        """Find MuJoCo's indices of joints by the names in the description."""
        robot = self.scene.robot
        self._base_is_free = not robot.fixed_base
        joints = [model.joint(name) for name in robot.joint_names]
        motors = [model.joint(motor.name) for motor in robot.motors]
        self._positions = _places([joint.qposadr[0] for joint in joints])  # [J] along qpos
        self._velocities = _places([joint.dofadr[0] for joint in joints])  # [J] along qvel
        self._motor_joints = _places([motor.id for motor in motors])  # [M]
        self._motor_positions = _places([motor.qposadr[0] for motor in motors])  # [M] along qpos
        self._motor_freedoms = _places([motor.dofadr[0] for motor in motors])  # [M] along qvel
        self._motor_rows = _places(robot.index([motor.name for motor in robot.motors]))  # [M] along J

    def _bind_arrays(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Views of MuJoCo's memory, which never moves: each access through ``data`` makes a new one."""
        self._qpos, self._qvel, self._act, self._ctrl = data.qpos, data.qvel, data.act, data.ctrl
        self._applied = data.qfrc_actuator
        self._body_position, self._body_quaternion = data.xpos, data.xquat
        self._position_gain, self._velocity_gain = model.actuator_biasprm[:, 1], model.actuator_biasprm[:, 2]  # [M]
        self._effort_range = model.jnt_actfrcrange  # [all joints, 2]
        self._settings = b""  # gains and limits that the model holds

    # -- stepping --------------------------------------------------------------------------------------------------

    def run(self, drive: Drive, steps: int, *, refresh: bool = True, is_same: bool = False) -> None:
        """See PhysicsBackend.run."""
        if self._motors.are_ideal:
            if not is_same:
                self._tell(drive)
            mujoco.mj_step(self._model, self._open_data, steps)
        else:
            self._run_motors(drive, steps)
        self._derived = False
        if refresh:
            self._refresh()
            self.state.joint_effort[self._motor_rows] = self._applied[self._motor_freedoms]

    def _tell(self, drive: Drive) -> None:
        """The drives' equation for MuJoCo's own actuators.

        clip(effort + kp*(p + v*t - q) + kd*(v - q')) is MuJoCo's clip(activation - kp*q - kd*q') with an activation
        that starts at effort + kp*p + kd*v and grows at kp*v.
        """
        settings = drive.kp.tobytes() + drive.kd.tobytes() + drive.limit.tobytes()
        if settings != self._settings:  # hardly ever, and to look costs a fiftieth of writing
            self._settings = settings
            self._position_gain[:] = -drive.kp
            self._velocity_gain[:] = -drive.kd
            self._effort_range[self._motor_joints] = np.stack([-drive.limit, drive.limit], axis=1)
        np.multiply(drive.kp, drive.position, out=self._act)
        self._act += drive.effort
        self._act += drive.kd * drive.velocity
        np.multiply(drive.kp, drive.velocity, out=self._ctrl)

    def _run_motors(self, drive: Drive, steps: int) -> None:
        """The motors' efforts step by step: activations without gains, cut by MuJoCo with its gravity compensation."""
        model, data, motors, ranges = self._model, self._open_data, self._motors, self._effort_range
        motors.tell(drive)
        for _ in range(steps):
            position, velocity = self._qpos[self._motor_positions], self._qvel[self._motor_freedoms]
            self._act[:], ranges[self._motor_joints, 0], ranges[self._motor_joints, 1] = motors.step(position, velocity)
            mujoco.mj_step(model, data)

    def _refresh(self) -> None:
        """Read the robot's state from MuJoCo, once a control tick."""
        state, position, velocity = self.state, self._qpos, self._qvel
        state.joint_position[:] = position[self._positions]
        state.joint_velocity[:] = velocity[self._velocities]
        if self._base_is_free:
            # The base's joint is the first: x, y, z, then w, x, y, z; velocities in world axes, then rates in its own.
            px, py, pz, w, x, y, z = position[:7].tolist()
            vx, vy, vz, *rate = velocity[:6].tolist()
            state.base[:] = (px, py, pz, x, y, z, w, vx, vy, vz, *turned(x, y, z, w, *rate))

    def _derive(self) -> mujoco.MjData:
        """Compute where links are now: after a step MuJoCo holds where they were before it."""
        data = self._open_data
        if not self._derived:
            mujoco.mj_kinematics(self._model, data)
            self._derived = True
        return data

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
        self._qpos[self._positions] = joint_position
        self._qvel[self._velocities] = 0.0 if joint_velocity is None else joint_velocity
        if base_position is not None:
            turn = (0.0, 0.0, 0.0, 1.0) if base_quaternion is None else base_quaternion
            self._qpos[:3] = base_position
            self._qpos[3:7] = np.asarray(turn, dtype=np.float64)[WXYZ]
            self._qvel[:3] = base_linear_velocity
            self._qvel[3:6] = rotate_inverse(turn, base_angular_velocity)
        self.state.joint_effort[:] = 0.0
        self._derived = False
        self._refresh()

    def vary(self, dynamics: Dynamics) -> None:
        """See PhysicsBackend.vary."""
        if dynamics != self.dynamics:
            self._dynamics_of.write(dynamics)
            self.dynamics = dynamics

    def save(self) -> Snapshot:
        """See PhysicsBackend.save."""
        return Snapshot(copy.copy(self._open_data), self.state.joint_effort.copy(), self.dynamics, self._motors.save())

    def restore(self, snapshot: Snapshot) -> None:
        """See PhysicsBackend.restore."""
        if snapshot.dynamics is not self.dynamics:  # cheaper than to compare them, at each reset
            self.vary(snapshot.dynamics)
        mujoco.mj_copyData(self._open_data, self._model, snapshot.data)
        self._motors.restore(snapshot.motors)
        self.state.joint_effort[:] = snapshot.joint_effort
        self._derived = False
        self._refresh()

    # -- looking ---------------------------------------------------------------------------------------------------

    def link_pose(self, link: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See PhysicsBackend.link_pose."""
        body = self._body(link)
        self._derive()
        return self._body_position[body].copy(), self._body_quaternion[body][XYZW]

    def link_positions(self, links: Sequence[str]) -> list[Vector]:
        """See PhysicsBackend.link_positions: here as of the last step's end."""
        names = tuple(links)
        bodies = self._link_bodies.get(names)
        if bodies is None:
            bodies = self._link_bodies[names] = np.array([self._body(name) for name in names], dtype=np.int64)
        self._derive()
        places = self._body_position.take(bodies, axis=0)  # in a third of the time of [bodies]
        return [(x, y, z) for x, y, z in places.tolist()]

    def contact_forces(self, links: Sequence[str]) -> list[float]:
        """See PhysicsBackend.contact_forces."""
        names = tuple(links)
        place = self._contact_places.get(names)
        if place is None:
            bodies = {self._body(name): index for index, name in enumerate(names)}
            owners = self._model.geom_bodyid.tolist()
            place = self._contact_places[names] = {g: bodies[body] for g, body in enumerate(owners) if body in bodies}
        total = [0.0] * len(names)
        data = self._open_data
        if data.ncon:
            contacts, force = data.contact, data.efc_force.tolist()
            # With an elliptic cone the first row of a contact is its normal force, as mj_contactForce has it.
            for shapes, row in zip(contacts.geom.tolist(), contacts.efc_address.tolist(), strict=True):
                for shape in shapes:  # a contact with itself counts on both links
                    if row >= 0 and shape in place:
                        total[place[shape]] += force[row]
        return total

    def move_marker(self, name: str, position: Floats) -> None:
        """See PhysicsBackend.move_marker."""
        self._open_data.mocap_pos[self._markers[name]] = position
        self._derived = False

    def render(self, camera: Camera, *, height: int, width: int) -> NDArray[np.uint8]:
        """See PhysicsBackend.render. Raises UserError where nothing can draw without a display."""
        mount = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)) if camera.mount is None else self.link_pose(camera.mount)
        data = self._derive()
        if self._painter is None:
            self._painter = Painter(self._model)
        return self._painter.picture(
            data, camera, *camera.viewpoint(*mount), ground=self.ground, height=height, width=width
        )

    def close(self) -> None:
        """See PhysicsBackend.close."""
        if self._painter is not None:
            self._painter.close()
            self._painter = None
        self._data = None

    @property
    def mujoco_parts(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """MuJoCo's model and data, to measure MuJoCo bare."""
        return self._model, self._open_data

    @property
    def _open_data(self) -> mujoco.MjData:
        if self._data is None:
            raise RuntimeError("this MuJoCoBackend is closed")
        return self._data

    def _body(self, link: str) -> int:
        try:
            return self._bodies[link]
        except KeyError:
            raise UserError(f"robot {self.scene.robot.name}: no link {link!r}; it has {sorted(self._bodies)}") from None


def _places(indices: Sequence[int]) -> slice | NDArray[np.int64]:
    """Where those elements of an array are; as a slice if they lie side by side, which is several times cheaper."""
    first = int(indices[0]) if indices else 0
    if list(indices) == list(range(first, first + len(indices))):
        return slice(first, first + len(indices))
    return np.array(indices, dtype=np.int64)
