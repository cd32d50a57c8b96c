"""From a description to what a package says of it: the tree, the joints, the plan, the Robot with its first gains."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from robot_wm.errors import UserError
from robot_wm.firmware.urdf import read_urdf
from robot_wm.spec import JointLimits
from robot_wm_sim.importing.gains import gains, leg_gains
from robot_wm_sim.importing.joints import MovingJoint, mimics_of, moving_joints, write_limits
from robot_wm_sim.importing.kinds import Plan, guess_kind, plan, plan_base
from robot_wm_sim.importing.legs import homes_of, legs_of
from robot_wm_sim.importing.measure import Measured
from robot_wm_sim.importing.mending import gather_meshes, mend_masses
from robot_wm_sim.importing.ros2_control import Controllers
from robot_wm_sim.importing.settings import Kind, Settings
from robot_wm_sim.importing.tree import Tree
from robot_wm_sim.robot import Joint, Robot
from robot_wm_sim.urdf_parts import keep_parts
from robot_wm_sim.urdf_tree import tree_of, write_out

MESHES = "meshes"
DESCRIPTION = "robot.urdf"
GRAVITY_M_S2 = 9.81
_CLEARANCE_M = 0.005  # above the ground, of what stands on it or hangs over it when an episode starts


@dataclass(frozen=True)
class Imported:
    """What is known of a robot before it has a package."""

    source: Path
    root: Element
    tree: Tree
    plan: Plan
    reason: str  # for its kind
    notes: tuple[str, ...]

    @property
    def is_fixed(self) -> bool:
        """Whether its base stands still."""
        return self.plan.kind in ("arm", "empty")

    @property
    def motors(self) -> list[MovingJoint]:
        """What the Robot lists: what the agent commands first, in its order; then the rest, in the file's."""
        joints = self.tree.joints
        first = [name for action in self.plan.actions for name in self.plan.joints_of(action)]
        rest = [name for name, joint in joints.items() if joint.has_motor and name not in first]
        return [joints[name] for name in (*first, *rest)]


def read_description(source: Path, kind: Kind | None, settings: Settings, controllers: Controllers | None) -> Imported:
    """Read, mend and understand a description. UserError naming file, part, value and unit where it cannot be."""
    origin = str(source)
    root = read_urdf(source)
    mimics = mimics_of(root, origin)
    keep_parts(root, origin)
    notes = [*mend_masses(root)]
    links, elements, base = tree_of(root, origin)
    commanded = controllers.joints if controllers else ()
    for name in commanded:
        if name not in elements:
            raise UserError(f"{origin}: no joint {name}, which {controllers.controller} commands")  # type: ignore[union-attr]
    joints = moving_joints(root, mimics, settings, commanded, origin=origin)
    tree = Tree(base, links, elements, joints)
    base_driven = controllers.base if controllers else None
    chosen: Kind
    if kind is None and base_driven is not None:
        chosen, reason = "wheeled", f"by its {controllers.controller}, a diff_drive_controller"  # type: ignore[union-attr]
    else:
        guessed, why = guess_kind(tree)
        chosen, reason = (guessed, f"guessed: {why}") if kind is None else (kind, "as --kind said")
    if base_driven is not None and chosen == "wheeled":
        planned = plan_base(tree, base_driven, origin=origin)
    else:
        planned = plan(tree, chosen, commanded, origin=origin)
    notes += planned.notes
    notes += [
        f"joint {j.name}: mimics {j.follows}, which it follows" for j in joints.values() if j.follows and j.has_motor
    ]
    notes += [f"joint {j.name}: moves freely, nothing drives it" for j in joints.values() if not j.has_motor]
    if controllers:
        notes += [f"controller {one}: passed over, the agent commands by one" for one in controllers.passed_over]
    return Imported(source, root, tree, planned, reason, tuple(notes))


def write_description(imported: Imported, folder: Path) -> None:
    """Write the URDF that engines shall read, with its meshes, into ``folder``."""
    root, source = imported.root, imported.source
    names = gather_meshes(root, source, folder / MESHES)
    write_out(
        root, Robot(name=imported.source.stem, description=source, joints=(), firmware="", fixed_base=imported.is_fixed)
    )
    write_limits(root, imported.tree.joints)
    for path, name in names.items():
        target = folder / MESHES / name
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
    for mesh in root.iter("mesh"):
        path = Path(mesh.get("filename", ""))
        mesh.set("filename", f"{MESHES}/{names.get(path, path.name)}")
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    (folder / DESCRIPTION).write_text(f'<?xml version="1.0"?>\n{text}\n', encoding="utf-8")


def build_robot(imported: Imported, name: str, description: Path) -> Robot:
    """The Robot with its first gains, standing on the ground; ``description`` is what was written of it."""
    bare = Robot(
        name=name,
        description=description,
        joints=tuple(_joint(joint) for joint in imported.motors),
        firmware=f"{name}_import",
        fixed_base=imported.is_fixed,
        gravity_compensation=imported.is_fixed,
        couplings=imported.plan.couplings,
    )
    measured = Measured(bare)
    load = None
    if imported.plan.kind == "legged":
        legs = list(legs_of(imported.tree, imported.plan.feet, measured))
        homes = homes_of(legs, imported.tree.joints)
        measured = Measured(
            replace(bare, joints=tuple(replace(j, home=homes.get(j.name, j.home)) for j in bare.joints))
        )
        load = measured.mass_kg() * GRAVITY_M_S2 * max(leg.length_m for leg in legs) / len(legs)
    inertia = measured.inertia()
    wheels = {joint for action in imported.plan.drives for joint in imported.plan.joints_of(action)}
    joints = []
    for one in imported.motors:
        if load is not None and one.unit == "rad":
            kp, kd = leg_gains(one, inertia[one.name], load)
        else:
            kp, kd = gains(one, inertia[one.name], imported.plan.kind, is_wheel=one.name in wheels)
        joints.append(replace(measured.robot.joint(one.name), kp=kp, kd=kd))
    height_m = round(_CLEARANCE_M - measured.lowest_m(), 3)
    if imported.is_fixed and height_m < 2 * _CLEARANCE_M:  # it stands on its foot
        height_m = 0.0
    return replace(bare, joints=tuple(joints), base_position=(0.0, 0.0, height_m))


def _joint(joint: MovingJoint) -> Joint:
    limits = JointLimits(position=joint.position, velocity=joint.velocity, effort=joint.effort)
    return Joint(name=joint.name, home=joint.home, limits=limits, mimics=joint.mimics)
