"""A Scene as a Bullet world: the surroundings, and the robot as its description has it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import pybullet
from pybullet_utils.bullet_client import BulletClient

from robot_wm.errors import UserError
from robot_wm_sim.pybullet_dynamics import BASE
from robot_wm_sim.robot import Robot
from robot_wm_sim.scene import GROUND_COLOUR, SURFACE_FRICTION, Scene
from robot_wm_sim.urdf_tree import loadable


def build_surroundings(client: BulletClient, scene: Scene) -> tuple[int | None, dict[str, int]]:
    """The ground's plane, boxes and markers; Bullet's numbers of the plane, and of the markers by name.

    Raises UserError for a rule of friction that Bullet does not follow.
    """
    if scene.friction_combine != "multiply":
        rule = f"friction_combine is {scene.friction_combine!r}"
        raise UserError(f"scene: {rule}, but backend pybullet knows 'multiply' only: Bullet takes the product")
    plane = None
    if scene.ground:
        # Contacts with a plane cost a fraction of those with a box; the renderer draws no plane, so it gets a slab.
        plane = _fixed_body(
            client,
            collision={"shapeType": pybullet.GEOM_PLANE},
            visual={"shapeType": pybullet.GEOM_BOX, "halfExtents": (40.0, 40.0, 0.5)},
            visual_position=(0.0, 0.0, -0.5),
            colour=GROUND_COLOUR,
        )
    for box in scene.boxes:
        shape = {"shapeType": pybullet.GEOM_BOX, "halfExtents": box.half_extents}
        _fixed_body(client, collision=shape, visual=shape, position=box.position, colour=box.colour)
    markers: dict[str, int] = {}
    for marker in scene.markers:
        shape = (
            {"shapeType": pybullet.GEOM_SPHERE, "radius": marker.radius}
            if marker.height is None
            else {"shapeType": pybullet.GEOM_CYLINDER, "radius": marker.radius, "length": marker.height}
        )
        visual = client.createVisualShape(rgbaColor=marker.colour, **shape)
        markers[marker.name] = client.createMultiBody(baseVisualShapeIndex=visual)
    return plane, markers


def _fixed_body(
    client: BulletClient,
    *,
    collision: dict[str, Any],
    visual: dict[str, Any],
    colour: Sequence[float],
    position: Sequence[float] = (0.0, 0.0, 0.0),
    visual_position: Sequence[float] = (0.0, 0.0, 0.0),
) -> int:
    body: int = client.createMultiBody(
        baseMass=0.0,
        baseCollisionShapeIndex=client.createCollisionShape(**collision),
        baseVisualShapeIndex=client.createVisualShape(rgbaColor=colour, visualFramePosition=visual_position, **visual),
        basePosition=position,
    )
    client.changeDynamics(body, BASE, lateralFriction=SURFACE_FRICTION)
    return body


def load_robot(client: BulletClient, robot: Robot) -> int:
    """Bullet's number of the robot. Raises UserError for a description that cannot be loaded."""
    flags = (
        pybullet.URDF_USE_INERTIA_FROM_FILE | pybullet.URDF_IGNORE_VISUAL_SHAPES | pybullet.URDF_USE_IMPLICIT_CYLINDER
    )
    if robot.self_collision:
        flags |= pybullet.URDF_USE_SELF_COLLISION | pybullet.URDF_USE_SELF_COLLISION_EXCLUDE_PARENT
    with tempfile.NamedTemporaryFile(suffix=".urdf") as file:
        root = loadable(robot)
        ElementTree.indent(root)  # Bullet breaks a line after 8 kB, in the middle of a word
        ElementTree.ElementTree(root).write(file, encoding="utf-8")
        file.flush()
        try:
            body: int = client.loadURDF(file.name, robot.base_position, useFixedBase=robot.fixed_base, flags=flags)
        except pybullet.error as error:
            raise UserError(f"robot {robot.name}: cannot load {robot.urdf}: {error}") from None
    return body
