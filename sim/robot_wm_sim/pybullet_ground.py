"""The ground of a Bullet world: the plane, and the height field where the scene has one.

A snapshot is restored only into a world with as many bodies, so the field is there from the start and lies far below
until a terrain is asked for; then its heights are replaced. Bullet splits cells along the other diagonal than MuJoCo:
the field is turned by a quarter, and so are its heights.
"""

from __future__ import annotations

import math

import numpy as np
import pybullet
from pybullet_utils.bullet_client import BulletClient

from robot_wm_sim.frames import Vector, from_yaw
from robot_wm_sim.scene import SURFACE_FRICTION, Scene
from robot_wm_sim.terrain import LARGEST_HEIGHT_M, Ground, HeightField, Terrain

BURIED: Vector = (0.0, 0.0, -1000.0)  # m
QUARTER = from_yaw(math.pi / 2)


class BulletGround(Ground):
    """Writes a terrain into a world."""

    def __init__(self, client: BulletClient, scene: Scene, plane: int | None) -> None:
        """``plane`` is Bullet's number of it."""
        super().__init__(scene.height_field)
        self._client, self._plane = client, plane
        if self.field is not None:
            self._shape = _shape(client, self.field, _range(self.field))
            # Bullet's renderer would draw all of a field without a picture of its own, wherever it lies.
            hidden = client.createVisualShape(pybullet.GEOM_SPHERE, radius=1e-3, visualFramePosition=BURIED)
            self._body = client.createMultiBody(
                baseMass=0.0,
                baseCollisionShapeIndex=self._shape,
                baseVisualShapeIndex=hidden,
                basePosition=BURIED,
                baseOrientation=QUARTER,
            )
            client.changeDynamics(self._body, -1, lateralFriction=SURFACE_FRICTION)

    def change(self, terrain: Terrain | None) -> None:
        """Make it so; the scene must have a field for a terrain."""
        if terrain == self.terrain:
            return
        super().change(terrain)
        client, level = self._client, 0.0 if terrain is None else terrain.plane_m
        client.resetBasePositionAndOrientation(self._plane, (0.0, 0.0, level), (0.0, 0.0, 0.0, 1.0))
        place = BURIED
        if self.field is not None and self.heights is not None:
            _shape(client, self.field, np.rot90(self.heights), replaced=self._shape)
            place = (0.0, 0.0, 0.0)
        client.resetBasePositionAndOrientation(self._body, place, QUARTER)


def _range(field: HeightField) -> np.ndarray:
    """Heights with all that a terrain may be among them: Bullet takes no others than those between the first."""
    found = np.zeros((field.cells + 1, field.cells + 1), dtype=np.float32)  # [N, N] m
    found[0, 0], found[-1, -1] = -LARGEST_HEIGHT_M, LARGEST_HEIGHT_M  # centred, so that the shape's origin is height 0
    return found


def _shape(client: BulletClient, field: HeightField, heights: np.ndarray, *, replaced: int = -1) -> int:
    shape: int = client.createCollisionShape(
        pybullet.GEOM_HEIGHTFIELD,
        # Else a box that slides over a flat field is caught by the edges within it, after 3 cm.
        flags=pybullet.GEOM_CONCAVE_INTERNAL_EDGE,
        meshScale=(field.cell_m, field.cell_m, 1.0),
        heightfieldData=heights.ravel().tolist(),
        numHeightfieldRows=heights.shape[1],
        numHeightfieldColumns=heights.shape[0],
        replaceHeightfieldIndex=replaced,
    )
    return shape
