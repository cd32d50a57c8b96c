"""What only a model of the robot tells: how much inertia each motor feels, how tall it stands, where its tool can be.

Measured in MuJoCo at the home pose, without ground.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import mujoco
import numpy as np
from numpy.typing import NDArray

from robot_wm_sim.mujoco_model import build_model
from robot_wm_sim.robot import Robot
from robot_wm_sim.scene import Scene

_SAMPLES = 1000  # poses that a workspace is made of
_NO_SHAPES_M = 0.5  # extent of a robot without any


@dataclass(frozen=True)
class Measured:
    """A robot in MuJoCo, at home."""

    robot: Robot

    @cached_property
    def _model(self) -> mujoco.MjModel:
        return build_model(Scene(robot=self.robot, physics_rate_hz=500.0, ground=False))

    @cached_property
    def _data(self) -> mujoco.MjData:
        return self._posed(1.0)

    def _posed(self, share: float) -> mujoco.MjData:
        """With every joint at that share of its home."""
        data = mujoco.MjData(self._model)
        for joint in self.robot.joints:
            data.qpos[self._model.joint(joint.name).qposadr[0]] = share * joint.home
        mujoco.mj_forward(self._model, data)
        return data

    def inertia(self) -> dict[str, float]:
        """What each joint accelerates when everything else is free to move, kg·m² or kg: 1 / (M⁻¹)_ii."""
        model = self._model
        inverse = np.zeros((model.nv, model.nv))
        mujoco.mj_solveM(model, self._data, inverse, np.eye(model.nv))
        freedoms = {joint.name: model.joint(joint.name).dofadr[0] for joint in self.robot.joints}
        return {name: float(1.0 / inverse[place, place]) for name, place in freedoms.items()}

    def lowest_m(self, link: str | None = None) -> float:
        """Height of the lowest point of what can move, or of a link, over the base's origin, m."""
        return _lowest(self._corners(link, self._data))

    def lowest_at_m(self, share: float) -> float:
        """`lowest_m` with every joint at that share of its home."""
        return _lowest(self._corners(None, self._posed(share)))

    def mass_kg(self) -> float:
        """Of all links."""
        return float(self._model.body_mass.sum())

    def end_of(self, link: str, origin: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """The end of a link's shapes that lies furthest from ``origin`` [3], m in the link's frame.

        A ball's centre and its radius, m; of any other shape the middle of its box's furthest side, and 0. Without
        shapes: the link's origin, and 0.
        """
        model, body = self._model, self._model.body(link).id
        found: list[tuple[float, NDArray[np.float64], float]] = []
        for shape in map(int, np.flatnonzero(model.geom_bodyid == body)):
            corners = self._box(shape, model.geom_pos[shape], _matrix(model.geom_quat[shape]))
            away = np.linalg.norm(corners - origin, axis=1)
            is_ball = model.geom_type[shape] == mujoco.mjtGeom.mjGEOM_SPHERE
            centre = model.geom_pos[shape] if is_ball else corners[np.argsort(away)[-4:]].mean(axis=0)
            found.append((float(away.max()), centre, float(model.geom_size[shape, 0]) if is_ball else 0.0))
        return max(found, key=lambda one: one[0])[1:] if found else (np.zeros(3), 0.0)

    def extent_m(self) -> float:
        """The longest side of the box around what can move, m."""
        corners = self._corners(None, self._data)
        return float(np.ptp(corners, axis=0).max()) if len(corners) else _NO_SHAPES_M

    def height_m(self, link: str) -> float:
        """Height of a link's frame over the base's origin, m."""
        return float(self._place(self._data, link)[2])

    def workspace(self, tool: str, joints: tuple[str, ...], spread: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where a link can be with the joints up to ``spread`` [A] from home and above the ground: [N, 3].

        m, from the base's origin. Without any such place: where it is at home, [1, 3].
        """
        rng = np.random.default_rng(0)
        model, data = self._model, mujoco.MjData(self._model)
        data.qpos[:] = self._data.qpos
        members = [self.robot.joint(name) for name in joints]
        rows = [model.joint(name).qposadr[0] for name in joints]
        low, high = np.array([one.limits.position or (-np.inf, np.inf) for one in members]).T  # [A] each
        home = np.array([one.home for one in members])
        found = []
        for _ in range(_SAMPLES):
            data.qpos[rows] = np.clip(home + spread * rng.uniform(-1.0, 1.0, len(rows)), low, high)
            mujoco.mj_kinematics(model, data)
            found.append(self._place(data, tool))
        places = np.array(found)
        above = places[places[:, 2] > -self.robot.base_position[2]]
        return above if len(above) else self._place(self._data, tool)[None]

    def _place(self, data: mujoco.MjData, link: str) -> NDArray[np.float64]:
        """Of a link's frame, [3] m from the base's origin."""
        place: NDArray[np.float64] = data.body(link).xpos - self.robot.base_position
        return place

    def _corners(self, link: str | None, data: mujoco.MjData) -> NDArray[np.float64]:
        """Corners [8G, 3] of the boxes around collision shapes that can move, m from the base's origin."""
        model = self._model
        found = []
        for shape in range(model.ngeom):
            body = model.geom_bodyid[shape]
            if model.body_weldid[body] == 0 or link not in (None, model.body(body).name):
                continue
            found.append(self._box(shape, data.geom_xpos[shape], data.geom_xmat[shape].reshape(3, 3)))
        return np.concatenate(found) - self.robot.base_position if found else np.zeros((0, 3))

    def _box(self, shape: int, place: NDArray[np.float64], turn: NDArray[np.float64]) -> NDArray[np.float64]:
        """Corners [8, 3] of the box around a shape, m, in the frame that ``place`` [3] and ``turn`` [3, 3] are in."""
        centre, half = self._model.geom_aabb[shape, :3], self._model.geom_aabb[shape, 3:]
        signs = np.array(np.meshgrid(*[(-1.0, 1.0)] * 3)).reshape(3, -1).T  # [8, 3]
        corners: NDArray[np.float64] = place + (centre + signs * half) @ turn.T
        return corners


def _lowest(corners: NDArray[np.float64]) -> float:
    return float(corners[:, 2].min()) if len(corners) else 0.0


def _matrix(quaternion: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of a quaternion (w, x, y, z), [3, 3]."""
    flat = np.zeros(9)
    mujoco.mju_quat2Mat(flat, quaternion)
    return flat.reshape(3, 3)
