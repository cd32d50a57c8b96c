"""Pictures of a Bullet world through TinyRenderer, which needs no display, and the ground's checker in them."""

from __future__ import annotations

import numpy as np
import pybullet
from numpy.typing import NDArray
from pybullet_utils.bullet_client import BulletClient

from robot_wm_sim.frames import Vector
from robot_wm_sim.scene import Camera, Checker, light_from_behind

TILES = 16  # squares to each side of what the camera looks at; further ones would blur into each other
ABOVE_GROUND_M = 0.002  # so that the renderers' depth tells tiles from ground
HIDDEN: Vector = (0.0, 0.0, -1000.0)  # m
SQUARE = ((0, 0), (1, 0), (1, 1), (0, 1))  # corners, anticlockwise
BULLETS_LIGHT: Vector = (-50.0, 30.0, 100.0)  # direction to it, where none is asked for
UPRIGHT = (0.0, 0.0, 0.0, 1.0)


class CheckerTiles:
    """The coloured squares: one body that is drawn, touches nothing, and lies hidden except in pictures for people."""

    def __init__(self, client: BulletClient, checker: Checker) -> None:
        self._client, self._side = client, checker.side
        corners: list[Vector] = []
        triangles: list[int] = []
        for column in range(-TILES, TILES):
            for row in range(-TILES, TILES):
                if (column + row) % 2 == 0:
                    first, x, y = len(corners), column * checker.side, row * checker.side
                    corners += [(x + i * checker.side, y + j * checker.side, 0.0) for i, j in SQUARE]
                    triangles += [first, first + 1, first + 2, first, first + 2, first + 3]
        visual = client.createVisualShape(
            pybullet.GEOM_MESH,
            vertices=corners,
            indices=triangles,
            normals=[(0.0, 0.0, 1.0)] * len(corners),
            rgbaColor=checker.colour,
        )
        self._body = client.createMultiBody(baseVisualShapeIndex=visual, basePosition=HIDDEN)

    def show(self, target: Vector) -> None:
        """Lay them out around the ground below ``target``, in the world's pattern wherever that is."""
        x, y = (round(value / (2 * self._side)) * 2 * self._side for value in target[:2])
        self._client.resetBasePositionAndOrientation(self._body, (x, y, ABOVE_GROUND_M), UPRIGHT)

    def hide(self) -> None:
        """Take them out of the picture."""
        self._client.resetBasePositionAndOrientation(self._body, HIDDEN, UPRIGHT)


def take_picture(
    client: BulletClient, camera: Camera, eye: Vector, target: Vector, up: Vector, *, height: int, width: int
) -> NDArray[np.uint8]:
    """What ``camera`` sees from ``eye``: uint8 [height, width, 3]."""
    pixels = client.getCameraImage(
        width,
        height,
        pybullet.computeViewMatrix(eye, target, up),
        pybullet.computeProjectionMatrixFOV(camera.vertical_fov_deg, width / height, camera.near, camera.far),
        renderer=pybullet.ER_TINY_RENDERER,
        flags=pybullet.ER_NO_SEGMENTATION_MASK,
        shadow=0,  # they are faint, lie beside the feet, and double the time
        # Told every time: Bullet keeps the light of the picture before.
        lightDirection=light_from_behind(eye, target) if camera.for_people else BULLETS_LIGHT,
    )[2]
    return np.array(pixels, dtype=np.uint8).reshape(height, width, 4)[:, :, :3].copy()  # drop alpha
