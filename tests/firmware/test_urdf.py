"""Limits read from a description."""

import pytest

from robot_wm.errors import UserError
from robot_wm.firmware.urdf import urdf_limits
from robot_wm.spec import JointLimits

URDF = """<robot name="r">
  <joint name="hinge" type="revolute"><limit lower="-1" upper="2" velocity="3" effort="4"/></joint>
  <joint name="wheel" type="continuous"><limit lower="0" upper="0" velocity="30" effort="1"/></joint>
  <joint name="rail" type="prismatic"><limit upper="0.5" velocity="1" effort="9"/></joint>
  <joint name="bare" type="continuous"/>
  <joint name="fixed" type="fixed"/>
  <joint name="idle" type="revolute"><limit lower="0" upper="0" velocity="0" effort="0"/></joint>
</robot>"""


def read(tmp_path, text, joints=("hinge", "wheel", "rail", "bare", "fixed", "missing")):
    path = tmp_path / "r.urdf"
    path.write_text(text)
    return urdf_limits(path, joints)


def test_limits_by_name_of_what_moves(tmp_path):
    assert read(tmp_path, URDF) == {
        "hinge": JointLimits(position=(-1.0, 2.0), velocity=3.0, effort=4.0),
        "wheel": JointLimits(velocity=30.0, effort=1.0),
        "rail": JointLimits(position=(0.0, 0.5), velocity=1.0, effort=9.0),  # the format's default for lower is 0
        "bare": JointLimits(),
    }


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("<robot", "not XML"),
        ("<mujoco/>", "its root is <mujoco>"),
        ('<!DOCTYPE r [<!ENTITY a "b">]><robot/>', "no document type"),
        (URDF.replace('upper="2"', 'upper="2 rad"'), "joint hinge: limit upper='2 rad' is not a number"),
        (URDF.replace('upper="2"', 'upper="-2"'), "joint hinge"),
        (URDF.replace('effort="4"', 'effort="-4"'), "joint hinge: effort"),
        (URDF.replace('"wheel"', '"hinge"'), "joint hinge is there twice"),
        (URDF.replace("</joint>", '<limit lower="-9" upper="9"/></joint>', 1), "joint hinge: it has 2 <limit>"),
        (
            URDF.replace('"bare" type="continuous"', '"bare" type="revolute"'),
            "joint bare is revolute and has no <limit>",
        ),
    ],
)
def test_what_is_no_description_is_refused(tmp_path, text, named):
    with pytest.raises(UserError) as caught:
        read(tmp_path, text)
    assert named in str(caught.value)


def test_a_joint_that_nobody_drives_may_say_what_it_likes(tmp_path):
    assert "hinge" in read(tmp_path, URDF)  # although idle has no positive limits
    with pytest.raises(UserError, match="joint idle"):
        read(tmp_path, URDF, ("idle",))
