"""Dynamics in a MuJoCo model: the arrays as they were compiled, and over them what is varied."""

from __future__ import annotations

import mujoco

from robot_wm.errors import UserError
from robot_wm_sim.dynamics import Dynamics
from robot_wm_sim.mujoco_ground import MuJoCoGround
from robot_wm_sim.mujoco_model import set_frictions
from robot_wm_sim.scene import Scene

# What is varied. What MuJoCo derives from it (`mj_setConst`) is derived anew each time.
ARRAYS = (
    "body_mass",
    "body_inertia",
    "body_ipos",
    "body_sameframe",
    "body_gravcomp",
    "dof_damping",
    "dof_frictionloss",
    "dof_armature",
    "pair_friction",
)


class MuJoCoDynamics:
    """Writes Dynamics into the model of one scene."""

    def __init__(self, model: mujoco.MjModel, scene: Scene, *, links: dict[str, int], ground: MuJoCoGround) -> None:
        """``links`` are MuJoCo's bodies by name."""
        self._model, self._scene, self._links, self._ground = model, scene, links, ground
        self._built = {name: getattr(model, name).copy() for name in ARRAYS}
        self._scratch = mujoco.MjData(model)

    def write(self, dynamics: Dynamics) -> None:
        """Make the model so. Raises UserError for what is not there or cannot be changed, before anything is."""
        model, robot = self._model, self._scene.robot
        dynamics.require_parts(self._scene, self._links)
        if robot.gravity_compensation and dynamics.com_offset:
            # MuJoCo compensates at the centre of mass where it is, not where the firmware believes it to be.
            raise UserError(f"dynamics: com_offset: not of robot {robot.name}, which has gravity_compensation")
        for link in dynamics.com_offset:
            if model.body_simple[self._links[link]]:  # a lone body; MuJoCo compiles a shorter computation for it
                raise UserError(
                    f"dynamics: com_offset of {link}: backend mujoco has compiled it as centred in its origin"
                )
        self._ground.change(dynamics.terrain)
        for name, built in self._built.items():
            getattr(model, name)[:] = built
        model.opt.gravity[:] = dynamics.gravity or (0.0, 0.0, -self._scene.gravity)
        if dynamics.friction is not None:
            set_frictions(model, self._scene, dynamics.friction)
        for link, scale in dynamics.mass_scale.items():
            body = self._links[link]
            model.body_mass[body] *= scale
            model.body_inertia[body] *= scale
            model.body_gravcomp[body] /= scale  # the firmware knows of no other mass
        for link, offset in dynamics.com_offset.items():
            body = self._links[link]
            model.body_ipos[body] += offset
            # Else MuJoCo 3.5 (not 3.17) goes on taking a centre that was the link's origin for it.
            model.body_sameframe[body] = mujoco.mjtSameFrame.mjSAMEFRAME_NONE
        for array, values in (
            (model.dof_damping, dynamics.joint_damping),
            (model.dof_frictionloss, dynamics.joint_friction),
            (model.dof_armature, dynamics.armature),
        ):
            for joint, value in values.items():
                array[model.joint(joint).dofadr[0]] = value
        mujoco.mj_setConst(model, self._scratch)
