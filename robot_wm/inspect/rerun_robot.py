"""A robot in a Rerun recording: as it was, and as a ghost where the model believed it to be."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from robot_wm.posed import Colour, PosedRobot, Poses

_GHOST: Colour = (1.0, 0.55, 0.1, 0.4)  # of what is imagined
_WORLD = "tf#/"  # the frame of Rerun's own root entity, which a view looks from


class RerunRobot:
    """Loads a robot's description into a recording, once for each kind of pose, and moves it there."""

    def __init__(self, recording: Any, robot: PosedRobot) -> None:
        self._recording, self._robot = recording, robot
        self._trees: dict[str, Any] = {}

    @property
    def entities(self) -> list[str]:
        """The paths of what was posed so far."""
        return [_entity(kind) for kind in self._trees]

    def pose(self, kind: str, times: object, poses: Poses) -> None:
        """Poses of the robot ``kind`` ("recorded", "imagined"), all known, at ``times``, a column of Rerun's."""
        import rerun as rr

        if kind not in self._trees:
            self._trees[kind] = self._load(kind)
        tree = self._trees[kind]
        base = rr.Transform3D.columns(
            translation=poses.base_position,
            quaternion=poses.base_quaternion,
            parent_frame=[_WORLD] * len(poses.joints),
            child_frame=[_frame(kind, tree.root_link().name)] * len(poses.joints),
        )
        columns = {"base": base}
        for place, name in enumerate(self._robot.joints):
            # Unclamped: a model may believe in what no robot can do, and that is to be seen.
            columns[name] = tree.get_joint_by_name(name).compute_transform_columns(poses.joints[:, place], clamp=False)
        for name, column in columns.items():
            rr.send_columns(f"{_entity(kind)}/moves/{name}", [times], column, recording=self._recording)  # type: ignore[list-item]

    def _load(self, kind: str) -> Any:
        import rerun as rr
        from rerun.urdf import UrdfTree

        with tempfile.TemporaryDirectory() as folder:  # Rerun reads a description from a file only
            file = Path(folder) / "robot.urdf"
            file.write_text(self._robot.description(_GHOST if kind == "imagined" else None))
            tree = UrdfTree.from_file_path(
                file,
                entity_path_prefix=_entity(kind),
                frame_prefix=_frame(kind, ""),
                static_transform_entity_path=f"{_entity(kind)}/rests",
            )
            tree.log_urdf_to_recording(self._recording)
        if not self._trees:
            self._recording.log("/", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        return tree


def _entity(kind: str) -> str:
    return f"robot_{kind}"


def _frame(kind: str, link: str) -> str:
    return f"{kind}/{link}"
