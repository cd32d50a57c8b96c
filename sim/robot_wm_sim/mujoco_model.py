"""A Scene as a MuJoCo model: the robot's own description, its drives in the model, and contacts that match Bullet's.

* The URDF is loaded as `urdf_tree` gives it, but for what Bullet does not heed either: friction of joints (the robot
  says it), and limits of effort (each drive has its own). Fixed links keep their names.
* A drive is one actuator a motor. MuJoCo's integrator dynamics carry its moving set-point and an affine bias its gains,
  so that `mj_step` computes the drive's equation at every physics step without Python (`MuJoCoBackend.run`); where
  motors are not ideal, efforts come from `Motors`, as activations without gains.
* Contacts are declared pair by pair. Only a declared pair can have the scene's combination of two friction coefficients
  (MuJoCo takes the larger) and a softness of friction apart from that of the normal force.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from xml.etree import ElementTree

import mujoco
import numpy as np

from robot_wm.errors import UserError
from robot_wm_sim.mujoco_ground import CHECKERED_GROUND, PLAIN_GROUND, add_field
from robot_wm_sim.robot import Robot
from robot_wm_sim.scene import GROUND_COLOUR, SURFACE_FRICTION, Marker, Scene, combined_friction
from robot_wm_sim.urdf_tree import loadable

# Time constants of contacts (MuJoCo's solref), s; MuJoCo never goes below two physics steps. Its default of 20 ms for
# both lets feet sink 2 mm and slip at every touchdown: the A1 stands 16 mm lower than in Bullet, and an open-loop trot
# differs by 52 mrad rms in 2 s instead of 2. With 4 ms for both, what slides hops: a block thrown at 2 m/s rises 5 cm.
CONTACT_S = 0.006  # normal force
SLIP_S = 0.01  # friction
# Friction's stiffness over the normal force's, with an elliptic cone: no creep under a steady load (MuJoCo Menagerie's
# quadrupeds have the same).
IMPEDANCE_RATIO = 100.0
# Dry friction of joints (dof_solimp, dof_solref). With MuJoCo's defaults of 0.9 and 20 ms a light joint creeps: an A1's
# knee at 0.16 rad/s under half of what would move it, with these at 0.3 mrad/s. Bullet's holds still.
FRICTION_IMPEDANCE, FRICTION_S = 0.999, 0.004
GROUND_EXTENT_M = 40.0  # half the drawn side; contacts have none
WORLD = "world"
BACKGROUND = (1.0, 1.0, 1.0)


def build_model(scene: Scene) -> mujoco.MjModel:
    """Compile the scene. Raises UserError for a description that cannot be loaded."""
    robot = scene.robot
    try:
        spec = mujoco.MjSpec.from_string(_description(robot))
        _complete_robot(spec, robot)
        shapes = _robot_shapes(spec)
        _add_drives(spec, robot)
        _add_surroundings(spec, scene)
        _declare_contacts(spec, scene, shapes)
        _set_options(spec, scene)
        model: mujoco.MjModel = spec.compile()
    except ValueError as error:
        raise UserError(f"robot {robot.name}: cannot load {robot.urdf}: {error}") from None
    _complete_model(model, robot)
    set_frictions(model, scene, robot.friction)
    return model


def set_frictions(model: mujoco.MjModel, scene: Scene, friction: float) -> None:
    """Write every declared pair's coefficient, with links of the robot that have ``friction``."""
    rule = scene.friction_combine
    with_surface = combined_friction(rule, friction, SURFACE_FRICTION)
    with_itself = combined_friction(rule, friction, friction)
    bodies = model.geom_bodyid[np.stack([model.pair_geom1, model.pair_geom2])]  # [2, pairs]
    on_surface = (bodies == 0).any(axis=0)  # the ground and boxes are shapes of the world, body 0
    model.pair_friction[:, :2] = np.where(on_surface, with_surface, with_itself)[:, None]


def marker_body(name: str) -> str:
    """Name of a marker's body in the model."""
    return f"marker/{name}"


def _description(robot: Robot) -> str:
    """The URDF with how MuJoCo shall read it."""
    root = loadable(robot)
    # discardvisual drops whatever touches nothing, markers included.
    settings = {"strippath": "false", "discardvisual": "false", "fusestatic": "false", "balanceinertia": "false"}
    ElementTree.SubElement(ElementTree.SubElement(root, "mujoco"), "compiler", settings)
    return ElementTree.tostring(root, encoding="unicode")


def _complete_robot(spec: mujoco.MjSpec, robot: Robot) -> None:
    """What the description does not say, or says for others."""
    robot.require_joints({joint.name for joint in spec.joints})
    motors = {motor.name for motor in robot.motors}
    for joint in spec.joints:
        joint.frictionloss = 0.0
        joint.solref_limit = [CONTACT_S, 1.0]
        # A drive's limit holds for all that it gives, compensation included; what has no drive gives nothing.
        joint.actfrclimited = joint.name in motors or robot.gravity_compensation
        joint.actfrcrange = [-1.0, 1.0]  # the compiler refuses none at all
        joint.actgravcomp = robot.gravity_compensation
    for body in spec.bodies[1:]:  # but the world
        body.gravcomp = float(robot.gravity_compensation)
        for shape in body.geoms:
            shape.rgba = robot.colours.get(body.name, (0.7, 0.7, 0.7, 1.0))
    base = spec.worldbody.first_body()
    base.pos = robot.base_position
    if not robot.fixed_base:
        # Not aligned with the centre of mass: the base's pose is that of its link's frame.
        base.add_freejoint(name="base/free").align = mujoco.mjtAlignFree.mjALIGNFREE_FALSE


def _complete_model(model: mujoco.MjModel, robot: Robot) -> None:
    """What is the same in the models of all versions of MuJoCo, but not in their specs, or is refused there."""
    model.jnt_actfrcrange[:] = 0.0  # a drive's limit comes with each Drive
    model.dof_damping[:] = model.dof_frictionloss[:] = 0.0
    model.dof_solimp[:, :2], model.dof_solref[:, 0] = FRICTION_IMPEDANCE, FRICTION_S
    for joint in robot.joints:
        model.joint(joint.name).damping[:] = joint.damping  # of the polynomial in newer versions, the linear term
        model.dof_frictionloss[model.joint(joint.name).dofadr[0]] = joint.friction


def _robot_shapes(spec: mujoco.MjSpec) -> list[mujoco.MjsGeom]:
    """Name the robot's collision shapes, and let none touch anything that no pair declares."""
    shapes = [shape for body in spec.bodies[1:] for shape in body.geoms]
    for index, shape in enumerate(shapes):
        shape.name = f"shape/{index}"
        shape.contype = shape.conaffinity = 0
    return shapes


def _add_drives(spec: mujoco.MjSpec, robot: Robot) -> None:
    """An actuator a motor, in the order of axis M: force = activation - kp * q - kd * q', d activation / dt = control.

    Its gains, and the joint's limit of effort, are written by each run.
    """
    for motor in robot.motors:
        actuator = spec.add_actuator(name=motor.name, target=motor.name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        actuator.dyntype = mujoco.mjtDyn.mjDYN_INTEGRATOR
        actuator.gaintype = mujoco.mjtGain.mjGAIN_FIXED
        actuator.gainprm[0] = 1.0
        actuator.biastype = mujoco.mjtBias.mjBIAS_AFFINE


def _add_surroundings(spec: mujoco.MjSpec, scene: Scene) -> None:
    world, untouched = spec.worldbody, {"contype": 0, "conaffinity": 0}
    if scene.ground:
        spec.add_texture(
            name="checker",
            type=mujoco.mjtTexture.mjTEXTURE_2D,
            builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
            rgb1=GROUND_COLOUR[:3],
            rgb2=scene.checker.colour[:3],
            width=128,
            height=128,
        )
        side = scene.checker.side
        checker = spec.add_material(name="checker", texuniform=True, texrepeat=[1 / side, 1 / side])
        checker.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "checker"
        # The pattern starts in the plane's corner: whole pairs of squares from there to the origin.
        extent = max(round(GROUND_EXTENT_M / (2 * side)), 1) * 2 * side
        plane = {"type": mujoco.mjtGeom.mjGEOM_PLANE, "size": [extent, extent, 10.0], **untouched}
        world.add_geom(name="ground", group=PLAIN_GROUND, rgba=GROUND_COLOUR, **plane)
        world.add_geom(name="checker", group=CHECKERED_GROUND, material="checker", **plane)
    if scene.height_field is not None:
        add_field(spec, scene.height_field)
    for box in scene.boxes:
        shape = {"type": mujoco.mjtGeom.mjGEOM_BOX, "size": box.half_extents, **untouched}
        world.add_geom(name=f"box/{box.name}", pos=box.position, rgba=box.colour, **shape)
    for marker in scene.markers:
        body = world.add_body(name=marker_body(marker.name), mocap=True)
        body.add_geom(**_marker_shape(marker), rgba=marker.colour, **untouched)


def _marker_shape(marker: Marker) -> dict[str, object]:
    if marker.height is None:
        return {"type": mujoco.mjtGeom.mjGEOM_SPHERE, "size": [marker.radius, 0.0, 0.0]}
    return {"type": mujoco.mjtGeom.mjGEOM_CYLINDER, "size": [marker.radius, marker.height / 2, 0.0]}


def _declare_contacts(spec: mujoco.MjSpec, scene: Scene, shapes: list[mujoco.MjsGeom]) -> None:
    """The robot touches the ground and the boxes, and parts of it each other where it says so."""
    surroundings = [
        *(["ground"] if scene.ground else []),
        *(["terrain"] if scene.height_field is not None else []),
        *(f"box/{box.name}" for box in scene.boxes),
    ]
    for shape in shapes:
        for other in surroundings:
            _declare_contact(spec, shape.name, other)
    if scene.robot.self_collision:
        for first, second in combinations(shapes, 2):
            if not _adjacent(first.parent, second.parent):
                _declare_contact(spec, first.name, second.name)


def _declare_contact(spec: mujoco.MjSpec, first: str, second: str) -> None:
    spec.add_pair(
        geomname1=first,
        geomname2=second,
        condim=3,  # neither rolling nor spinning friction
        friction=[0.0] * 5,  # see set_frictions
        solref=[CONTACT_S, 1.0],
        solreffriction=[SLIP_S, 1.0],
    )


def _ancestors(body: mujoco.MjsBody) -> Iterator[mujoco.MjsBody]:
    """A body, its parent, and so on, without the world."""
    while body.name != WORLD:
        yield body
        body = body.parent


def _rigid_part(body: mujoco.MjsBody) -> mujoco.MjsBody:
    """The first body of those that are fixed to each other and to this one."""
    *_, base = _ancestors(body)
    return next((ancestor for ancestor in _ancestors(body) if ancestor.joints), base)


def _adjacent(first: mujoco.MjsBody, second: mujoco.MjsBody) -> bool:
    """Whether they are fixed to each other or joined by one joint: such shapes overlap by design."""
    left, right = _rigid_part(first), _rigid_part(second)
    if left.name == right.name:
        return True
    return any(
        child.parent.name != WORLD and _rigid_part(child.parent).name == parent.name
        for child, parent in ((left, right), (right, left))
    )


def _set_options(spec: mujoco.MjSpec, scene: Scene) -> None:
    option = spec.option
    option.timestep = 1.0 / scene.physics_rate_hz
    option.gravity = [0.0, 0.0, -scene.gravity]
    option.integrator = mujoco.mjtIntegrator.mjINT_EULER
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    option.impratio = IMPEDANCE_RATIO
    # Islands cost a tenth where there is one robot; a world that has blown up must not silently start again.
    option.disableflags |= mujoco.mjtDisableBit.mjDSBL_ISLAND | mujoco.mjtDisableBit.mjDSBL_AUTORESET
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_FLAT,
        rgb1=BACKGROUND,
        rgb2=BACKGROUND,
        width=8,
        height=48,
    )
    spec.visual.quality.offsamples = 0
    spec.visual.quality.shadowsize = 0
