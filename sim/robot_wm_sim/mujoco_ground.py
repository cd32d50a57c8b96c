"""The ground of a MuJoCo model: the planes, and the height field where the scene has one.

The field is compiled as large as a terrain may be, and buried until one is asked for: no contact is looked for there.
It is one shape to touch and a second, of the same heights, with the checker for pictures.
"""

from __future__ import annotations

import mujoco

from robot_wm_sim.scene import GROUND_COLOUR
from robot_wm_sim.terrain import LARGEST_HEIGHT_M, Ground, HeightField, Terrain

# Groups of shapes that one picture shows and another does not.
PLAIN_GROUND, CHECKERED_GROUND, PLAIN_TERRAIN, CHECKERED_TERRAIN = 1, 2, 3, 4
PLANES, FIELDS = ("ground", "checker"), ("terrain", "checkered terrain")
BURIED_M = -1000.0
BASE_M = 1.0  # of solid ground under the lowest height


def add_field(spec: mujoco.MjSpec, field: HeightField) -> None:
    """Add the field's shapes to a model that has a material ``checker``."""
    nodes, half = field.cells + 1, field.half_side_m
    # Compiled with all that may be between lowest and highest: what MuJoCo derives from it stays.
    level = [0.0] * (nodes * nodes - 1) + [1.0]
    size = [half, half, 2 * LARGEST_HEIGHT_M, BASE_M]
    spec.add_hfield(name="terrain", nrow=nodes, ncol=nodes, size=size, userdata=level)
    looks = ({"group": PLAIN_TERRAIN, "rgba": GROUND_COLOUR}, {"group": CHECKERED_TERRAIN, "material": "checker"})
    for name, look in zip(FIELDS, looks, strict=True):
        spec.worldbody.add_geom(
            name=name,
            type=mujoco.mjtGeom.mjGEOM_HFIELD,
            hfieldname="terrain",
            pos=[0.0, 0.0, BURIED_M],
            contype=0,
            conaffinity=0,
            **look,
        )


class MuJoCoGround(Ground):
    """Writes a terrain into a model."""

    def __init__(self, model: mujoco.MjModel, field: HeightField | None) -> None:
        super().__init__(field)
        self._model = model
        if field is not None:
            self._planes = [model.geom(name).id for name in PLANES]
            self._fields = [model.geom(name).id for name in FIELDS]

    def change(self, terrain: Terrain | None) -> None:
        """Make it so; the scene must have a field for a terrain. What MuJoCo derives from it is left to the caller."""
        if terrain == self.terrain:
            return
        super().change(terrain)
        model = self._model
        model.geom_pos[self._planes, 2] = 0.0 if terrain is None else terrain.plane_m
        model.geom_pos[self._fields, 2] = BURIED_M
        if self.heights is not None:
            # MuJoCo keeps heights as shares of the highest over the lowest, which is where the shape lies.
            low, high = float(self.heights.min()), float(self.heights.max())
            model.hfield_data[:] = ((self.heights - low) / (high - low)).ravel()
            model.hfield_size[0, 2] = high - low
            model.geom_pos[self._fields, 2] = low
