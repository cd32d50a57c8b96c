"""Pictures of a Bullet world through TinyRenderer, which needs no display, and the ground's checker in them."""

from __future__ import annotations

import numpy as np
import pybullet
from numpy.typing import NDArray
from pybullet_utils.bullet_client import BulletClient

from robot_wm_sim.frames import Vector
from robot_wm_sim.scene import GROUND_COLOUR, Camera, Checker, light_from_behind
from robot_wm_sim.terrain import Ground

CELLS = 16  # of a terrain, to each side of what the camera looks at
TILES = 16  # squares to each side of what the camera looks at; further ones would blur into each other
ABOVE_GROUND_M = 0.002  # so that the renderers' depth tells tiles from ground
HIDDEN: Vector = (0.0, 0.0, -1000.0)  # m
SQUARE = ((0, 0), (1, 0), (1, 1), (0, 1))  # corners, anticlockwise
BULLETS_LIGHT: Vector = (-50.0, 30.0, 100.0)  # direction to it, where none is asked for
UPRIGHT = (0.0, 0.0, 0.0, 1.0)


class DrawnSurface:
    """What pictures show of the ground beside the plane's slab: a terrain, and in pictures for people the checker.

    Bullet has no colours within a body, and no snapshot is restored with more bodies: a terrain's are there for the
    time of a picture.
    """

    def __init__(self, client: BulletClient, checker: Checker) -> None:
        self._client, self._checker = client, checker
        # Now, though only pictures for people show them: Bullet restores no snapshot of a world with fewer bodies.
        self._tiles = CheckerTiles(client, checker)
        self._terrain: list[int] = []  # Bullet's numbers

    def show(self, ground: Ground, target: Vector, *, for_people: bool) -> None:
        """Lay it out around the ground below ``target``."""
        self.clear()
        if ground.terrain is not None:
            self._tiles.hide()
            self._terrain = _terrain_bodies(self._client, ground, target, self._checker if for_people else None)
        elif for_people:
            self._tiles.show(target)
        else:
            self._tiles.hide()

    def clear(self) -> None:
        """Take the terrain out of the world; a second call does nothing."""
        while self._terrain:
            self._client.removeBody(self._terrain.pop())


def _terrain_bodies(client: BulletClient, ground: Ground, target: Vector, checker: Checker | None) -> list[int]:
    """Bodies of the terrain's cells around ``target``, every other one in the checker's colour where there is one."""
    grid, field = ground.heights, ground.field
    assert grid is not None
    assert field is not None
    row, column = (round((value + field.half_side_m) / field.cell_m) for value in (target[1], target[0]))
    rows = np.arange(max(row - CELLS, 0), min(row + CELLS, field.cells))
    columns = np.arange(max(column - CELLS, 0), min(column + CELLS, field.cells))
    j, i = (part.ravel() for part in np.meshgrid(rows, columns, indexing="ij"))  # [cells] each
    found = []
    for parity, colour in enumerate((GROUND_COLOUR, GROUND_COLOUR if checker is None else checker.colour)):
        mine = (i + j) % 2 == parity
        if not mine.any():
            continue
        # Of each cell the corners of its two triangles, each with a normal of its own: facets show how rough it is.
        across = np.stack([i[mine] + d for d in (0, 1, 1, 0, 1, 0)], axis=1)  # [cells, 6] columns
        along = np.stack([j[mine] + d for d in (0, 0, 1, 0, 1, 1)], axis=1)  # [cells, 6] rows
        corners = np.stack(
            [across * field.cell_m - field.half_side_m, along * field.cell_m - field.half_side_m, grid[along, across]],
            axis=-1,
        ).reshape(-1, 3, 3)  # [triangles, corners, xyz]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        visual = client.createVisualShape(
            pybullet.GEOM_MESH,
            vertices=corners.reshape(-1, 3).tolist(),
            indices=list(range(3 * len(corners))),
            normals=np.repeat(normals, 3, axis=0).tolist(),
            rgbaColor=colour,
        )
        found.append(client.createMultiBody(baseVisualShapeIndex=visual))
    return found


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
