"""Dynamics in a Bullet world: what `changeDynamics` and its like are told, always of the whole."""

from __future__ import annotations

from collections.abc import Mapping

import pybullet
from pybullet_utils.bullet_client import BulletClient

from robot_wm_sim.dynamics import Dynamics
from robot_wm_sim.pybullet_ground import BulletGround
from robot_wm_sim.scene import Scene

BASE = -1  # Bullet's link index of the base
# Bullet computes centres of mass when it loads a body, and its joints know of no motor's inertia.
FIXED_FIELDS = ("com_offset", "armature")


class BulletDynamics:
    """Writes Dynamics into the world of one robot."""

    def __init__(
        self,
        client: BulletClient,
        scene: Scene,
        body: int,
        *,
        links: Mapping[str, int],
        joints: Mapping[str, int],
        ground: BulletGround,
    ) -> None:
        """``links`` are Bullet's indices by name, ``joints`` those of all that move; a joint has its link's."""
        self._scene, self._body, self._links, self._joints, self._ground = scene, body, links, joints, ground
        found = {name: client.getDynamicsInfo(body, index) for name, index in links.items()}
        self._built = {name: (info[0], info[2]) for name, info in found.items()}  # mass kg, inertia [3] kg·m²
        self._scaled: set[str] = set()  # links whose mass is not as built

    def write(self, client: BulletClient, dynamics: Dynamics) -> None:
        """Make the world so. Raises UserError for what is not there or cannot be changed, before anything is."""
        body, robot = self._body, self._scene.robot
        dynamics.refuse("pybullet", FIXED_FIELDS)
        dynamics.require_parts(self._scene, self._links)
        self._ground.change(dynamics.terrain)
        client.setGravity(*(dynamics.gravity or (0.0, 0.0, -self._scene.gravity)))
        listed = {joint.name: joint.damping for joint in robot.joints} | dict(dynamics.joint_damping)
        damping = {self._joints[name]: value for name, value in listed.items()}
        friction = robot.friction if dynamics.friction is None else dynamics.friction
        for link in self._links.values():
            client.changeDynamics(
                body,
                link,
                linearDamping=0.0,
                angularDamping=0.0,
                jointDamping=damping.get(link, 0.0),
                lateralFriction=friction,
            )
        # Bullet gives every joint a velocity motor. One at rest, with no more effort than that, is dry friction; with
        # more it would fight the drives.
        dry = {joint.name: joint.friction for joint in robot.joints} | dict(dynamics.joint_friction)
        frictions = [dry.get(name, 0.0) for name in self._joints]
        client.setJointMotorControlArray(body, [*self._joints.values()], pybullet.VELOCITY_CONTROL, forces=frictions)
        for name in self._scaled.union(dynamics.mass_scale):
            self._weigh(client, name, dynamics.mass_scale.get(name, 1.0))
        self._scaled = set(dynamics.mass_scale)

    def _weigh(self, client: BulletClient, link: str, scale: float) -> None:
        index, (mass, inertia) = self._links[link], self._built[link]
        if mass == 0.0:  # what cannot move has no mass for Bullet
            return
        # Both in one call: on a mass alone Bullet works the inertia out anew, from the collision shape.
        scaled = [scale * moment for moment in inertia]  # [3] kg·m²
        client.changeDynamics(self._body, index, mass=scale * mass, localInertiaDiagonal=scaled)
