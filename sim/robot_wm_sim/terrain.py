"""Uneven ground: heights on a grid, from a few numbers that can be logged, and how high it is at any point.

The roughness is legged_gym's ``random_uniform_terrain`` (Rudin et al. 2021): every node of a grid has a height of its
own, uniform within the range, and between nodes the ground is linear. Both engines split each cell into the same two
triangles, and `Ground.height` is their plane, so that heights are those that feet meet.

Nobody can walk off: over the field's last metre it descends to a plane without end, which lies a little below its
deepest valley. It is flat and at height 0 where robots start.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError

LARGEST_HEIGHT_M = 0.5  # from the deepest valley to the highest peak
SEEDS = 2**32
BELOW_M = 0.01  # from the deepest valley to the plane around the field, so that a foot in a valley touches one of them
RIM_M = 1.0  # width of the border that descends to the plane


@dataclass(frozen=True, kw_only=True)
class HeightField:
    """The grid of a scene's ground, a square around the origin."""

    half_side_m: float = 12.8
    cell_m: float = 0.2  # the A1's feet are 0.36 m and 0.26 m apart: each stands on a slope of its own
    flat_radius_m: float = 0.6  # around the origin, where robots start

    @property
    def cells(self) -> int:
        """Along one side."""
        return round(2 * self.half_side_m / self.cell_m)


@dataclass(frozen=True, kw_only=True)
class Terrain:
    """Roughness of the ground: from valley to peak, around height 0, and which ground of that roughness it is."""

    height_m: float
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise UserError for what is none, or more than a field can hold."""
        height, seed = self.height_m, self.seed
        if not isinstance(height, int | float) or isinstance(height, bool) or not 0.0 <= height <= LARGEST_HEIGHT_M:
            wanted = f"within [0, {LARGEST_HEIGHT_M:g}]"
            raise UserError(f"dynamics: terrain: height_m is {height!r}, m, but must be {wanted}")
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < SEEDS:
            raise UserError(f"dynamics: terrain: seed is {seed!r}, but must be a whole number below 2^32")

    @property
    def plane_m(self) -> float:
        """Height of the plane around the field."""
        return -self.height_m / 2 - BELOW_M


def heights(terrain: Terrain, field: HeightField) -> NDArray[np.float32]:
    """Heights of the grid's nodes [N, N], rows along y and columns along x, m, in float32 as engines keep them."""
    nodes = field.cells + 1
    rough = np.random.default_rng(terrain.seed).random((nodes, nodes))  # the same ground, however high
    along = np.linspace(-field.half_side_m, field.half_side_m, nodes)
    x, y = np.meshgrid(along, along)
    # A node's cells reach one cell towards the origin, and stay flat within the radius.
    rough[np.hypot(x, y) < field.flat_radius_m + field.cell_m * np.sqrt(2)] = 0.5
    inside = field.half_side_m - np.maximum(np.abs(x), np.abs(y))  # m, to the edge
    share = np.minimum(inside / RIM_M, 1.0)
    # A little under the plane at the very edge, where the ground must not end in a step.
    found = share * terrain.height_m * (rough - 0.5) + (1.0 - share) * (terrain.plane_m - BELOW_M)
    return found.astype(np.float32)


class Ground:
    """The ground of a world as it is now; flat and at height 0 without a terrain."""

    def __init__(self, field: HeightField | None) -> None:
        self.field = field
        self.terrain: Terrain | None = None
        self.heights: NDArray[np.float32] | None = None  # [N, N] m, rows along y

    def change(self, terrain: Terrain | None) -> None:
        """Make it so; the scene must have a field for a terrain."""
        self.terrain = terrain
        self.heights = None
        if terrain is not None and self.field is not None:
            self.heights = heights(terrain, self.field)

    def height(self, x: float, y: float) -> float:
        """How high it is at a point, m."""
        grid, field, terrain = self.heights, self.field, self.terrain
        if grid is None or field is None or terrain is None:
            return 0.0
        column, row = (x + field.half_side_m) / field.cell_m, (y + field.half_side_m) / field.cell_m
        if not (0.0 <= column < field.cells and 0.0 <= row < field.cells):
            return terrain.plane_m
        i, j = int(column), int(row)
        u, v = column - i, row - j
        near, far = grid.item(j, i), grid.item(j + 1, i + 1)
        # Cells are split along the diagonal from the node with the smallest x and y to that with the largest.
        if u > v:
            side = grid.item(j, i + 1)
            level = near + (side - near) * u + (far - side) * v
        else:
            side = grid.item(j + 1, i)
            level = near + (far - side) * u + (side - near) * v
        return max(level, terrain.plane_m)
