"""A robot in the pose that observed fields tell: see `robot_wm.posed`.

Shape letters: K steps, J joints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from robot_wm.posed import Colour, Poses
from robot_wm.runtime.live.fields import GRAVITY
from robot_wm.spec import AgentSpec, JointRole, ObservationField, Source
from robot_wm_sim.backend import PhysicsBackend
from robot_wm_sim.chase import Chase
from robot_wm_sim.robot import Robot
from robot_wm_sim.task import VIDEO, Task
from robot_wm_sim.urdf_tree import loadable

PICTURE_SIZE = (240, 320)  # height, width in pixels
_PLAIN: Colour = (0.7, 0.7, 0.7, 1.0)
_POSITION_UNITS = ("rad", "m")

Fields = Mapping[str, NDArray[Any]]
_Read = Callable[[Fields], NDArray[np.float64]]  # fields [K, O] -> a joint's positions [K]


class PosedTask:
    """`robot_wm.posed.PosedRobot` of a task, on the stage of a physics backend that nobody else uses.

    A free base stays where the description is put, because no field tells where it goes; it leans as gravity's
    direction says, and does not turn about the vertical.
    """

    def __init__(self, task: Task, sim: PhysicsBackend, spec: AgentSpec) -> None:
        self._task, self._sim = task, sim
        self._robot = task.scene.robot
        self._reads = _readers(self._robot, spec)
        self._leans = not self._robot.fixed_base and any(field.name == GRAVITY for field in spec.observations)

    @property
    def tells(self) -> bool:
        """Whether any field says where a joint is."""
        return bool(self._reads)

    @property
    def joints(self) -> tuple[str, ...]:
        """Names along axis J."""
        return self._robot.joint_names

    def description(self, colour: Colour | None = None) -> str:
        """The description with its collision shapes, which backends draw, as its looks."""
        root = loadable(self._robot)
        for link in root.findall("link"):
            name = link.get("name", "")
            for looks in link.findall("visual"):
                link.remove(looks)
            for number, shape in enumerate(link.findall("collision")):
                looks = ElementTree.SubElement(link, "visual")
                looks.extend(deepcopy(part) for part in shape if part.tag in ("origin", "geometry"))
                material = ElementTree.SubElement(looks, "material", name=f"{name}_{number}")
                rgba = colour or self._robot.colours.get(name, _PLAIN)
                ElementTree.SubElement(material, "color", rgba=" ".join(map(str, rgba)))
                link.remove(shape)
        return ElementTree.tostring(root, encoding="unicode")

    def poses(self, obs: Fields) -> Poses:
        """Joints by their fields, else at home or where what they mimic has them."""
        robot, steps = self._robot, len(next(iter(obs.values())))
        joints = np.tile([joint.home for joint in robot.joints], (steps, 1)).astype(np.float64)  # [K, J]
        for name, read in self._reads.items():
            joints[:, robot.joint_names.index(name)] = read(obs)
        for place, joint in enumerate(robot.joints):
            if joint.mimics is not None and joint.name not in self._reads:
                followed = joints[:, robot.joint_names.index(joint.mimics.joint)]
                joints[:, place] = joint.mimics.multiplier * followed + joint.mimics.offset
        quaternion = np.tile([0.0, 0.0, 0.0, 1.0], (steps, 1))
        if self._leans:
            quaternion = leaning(np.asarray(obs[GRAVITY], np.float64))
        found = Poses(joints, np.tile(np.asarray(robot.base_position, np.float64), (steps, 1)), quaternion)
        unknown = ~found.known()
        for part in found:
            part[unknown] = np.nan
        return found

    def picture(self, poses: Poses, k: int) -> NDArray[np.uint8]:
        """Through the scene's video camera."""
        free = {} if self._robot.fixed_base else {"base_position": poses.base_position[k]}
        if free:
            free["base_quaternion"] = poses.base_quaternion[k]
        self._sim.place(joint_position=poses.joints[k], **free)
        camera = Chase(replace(self._task.scene.cameras[VIDEO], for_people=True)).follow(self._sim, 0.0)
        return self._sim.render(camera, height=PICTURE_SIZE[0], width=PICTURE_SIZE[1])


def posed_task(task: Task, sim: PhysicsBackend, spec: AgentSpec) -> PosedTask | None:
    """The posed robot of a task; None where no field of ``spec`` tells a joint."""
    found = PosedTask(task, sim, spec)
    return found if found.tells else None


def leaning(gravity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quaternions [K, 4] (x, y, z, w) of a base in whose axes gravity has these directions [K, 3], heading along x."""
    x, y, z = gravity.T
    roll, pitch = np.arctan2(-y, -z) / 2, np.arctan2(x, np.hypot(y, z)) / 2
    return np.stack(
        [
            np.sin(roll) * np.cos(pitch),
            np.cos(roll) * np.sin(pitch),
            -np.sin(roll) * np.sin(pitch),
            np.cos(roll) * np.cos(pitch),
        ],
        1,
    )


def _readers(robot: Robot, spec: AgentSpec) -> dict[str, _Read]:
    """By joint, how its position is read; of several fields the one that is said to hold positions."""
    found: dict[str, _Read] = {}
    fields = [field for field in spec.observations if field.source is Source.SENSOR and not field.is_image]
    for field in sorted(fields, key=lambda field: field.role is not JointRole.POSITION):
        for label, read in _told(field).items():
            for joint in robot.couplings.get(label, (label,)):
                if joint in robot.joint_names:
                    found.setdefault(joint, read)
    return found


def _told(field: ObservationField) -> dict[str, _Read]:
    """What a field tells by label: positions as they are, and angles by their sine and cosine."""
    units, places = field.element_units(), {label: n for n, label in enumerate(field.labels)}
    found: dict[str, _Read] = {
        label: partial(_position, field.name, n) for label, n in places.items() if units and units[n] in _POSITION_UNITS
    }
    for label, sine in places.items():
        joint = label.removeprefix("sin(").removesuffix(")")
        cosine = places.get(f"cos({joint})")
        if label == f"sin({joint})" and cosine is not None:
            found[joint] = partial(_angle, field.name, sine, cosine)
    return found


def _position(name: str, element: int, obs: Fields) -> NDArray[np.float64]:
    return obs[name][:, element].astype(np.float64)


def _angle(name: str, sine: int, cosine: int, obs: Fields) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.arctan2(*obs[name].T[[sine, cosine]].astype(np.float64))
    return found
