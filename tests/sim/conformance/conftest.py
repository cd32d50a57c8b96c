"""Robots from a few lines of URDF. Every test here runs once with each backend that is registered: see ``backend``."""

import pytest

from robot_wm.spec import JointLimits
from robot_wm_sim.robot import Joint, Robot


@pytest.fixture
def describe(tmp_path):
    """A robot with a fixed base from a URDF's text and joint names; each joint has a motor without gains."""

    def describe(text, *names, **fields):
        path = tmp_path / "robot.urdf"
        path.write_text(text)
        joints = tuple(Joint(name=name, limits=JointLimits(effort=1000.0, velocity=100.0)) for name in names)
        return Robot(name="test", description=path, joints=joints, firmware="none", fixed_base=True, **fields)

    return describe
