"""Descriptions that engines take differently: the same in both, or one line from both."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from robot_wm.errors import UserError
from robot_wm.spec import JointLimits
from robot_wm_sim.backend import load_backend
from robot_wm_sim.drive import Drive
from robot_wm_sim.robot import Joint, Robot
from robot_wm_sim.scene import Scene
from robot_wm_sim.urdf_tree import WORLD_LINK, loadable

ENGINES = ("pybullet", "mujoco")
INERTIA = '<inertia ixx="0.01" iyy="0.01" izz="0.01" ixy="0" ixz="0" iyz="0"/>'
INERTIAL = f'<inertial><mass value="1"/>{INERTIA}</inertial>'
BOX = '<collision><geometry><box size="0.1 0.1 0.1"/></geometry></collision>'
LIMIT = '<limit lower="-1" upper="1" effort="10" velocity="3"/>'


def link(name: str, inertial: str = INERTIAL, collision: str = BOX) -> str:
    return f'<link name="{name}">{inertial}{collision}</link>'


def joint(name: str, parent: str, child: str, kind: str = "revolute", inside: str = LIMIT, axis: str = "0 1 0") -> str:
    return (
        f'<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/>'
        f'<origin xyz="0 0 0.3"/><axis xyz="{axis}"/>{inside}</joint>'
    )


def written(folder: Path, *parts: str) -> Path:
    path = folder / "r.urdf"
    path.write_text(f'<?xml version="1.0"?><robot name="r">{"".join(parts)}</robot>', encoding="utf-8")
    return path


def robot(path: Path, *joints: str, fixed_base: bool = False, **gains) -> Robot:
    limits = JointLimits(effort=50.0)
    return Robot(
        name="r",
        description=path,
        joints=tuple(Joint(name=name, limits=limits, **({"kp": 20.0, "kd": 0.5} | gains)) for name in joints),
        firmware="f",
        fixed_base=fixed_base,
        base_position=(0.0, 0.0, 1.0),
    )


def build(engine: str, built: Robot):
    return load_backend(engine)(Scene(robot=built, physics_rate_hz=500.0))


def mass_kg(sim) -> float:
    if sim.name == "mujoco":
        return float(sim._model.body_mass.sum())
    return sum(sim._client.getDynamicsInfo(sim._robot, n)[0] for n in range(-1, sim._client.getNumJoints(sim._robot)))


A, B, C, J1 = link("a"), link("b"), link("c"), joint("j1", "a", "b")
BAD = {
    "two roots": ((A, B, C, J1), "2 links hang on nothing (a, c)"),
    "ring": ((A, B, J1, joint("j2", "b", "a")), "its links are a ring"),
    "ring beside": (
        (A, B, C, link("d"), J1, joint("j2", "c", "d"), joint("j3", "d", "c")),
        "links c, d are a ring",
    ),
    "two parents": ((A, B, C, J1, joint("j2", "a", "c"), joint("j3", "b", "c")), "joint j3: link c hangs on a already"),
    "link twice": ((A, B, B, J1), "link b is there twice"),
    "joint twice": ((A, B, C, J1, joint("j1", "b", "c")), "joint j1 is there twice"),
    "no such link": ((A, B, joint("j1", "a", "q")), "joint j1: its child 'q' is not among the links"),
    "nan": ((A, link("b", INERTIAL.replace('"1"', '"nan"')), J1), "link b: mass value is 'nan', not a finite number"),
    "two numbers": (
        (A, link("b", collision=BOX.replace("0.1 0.1 0.1", "0.1 0.1")), J1),
        "link b: box size is '0.1 0.1', not 3 finite numbers",
    ),
    "words": ((A, B, J1.replace('"0 0 0.3"', '"0 0 up"')), "joint j1: origin xyz is '0 0 up', not 3 finite numbers"),
    "no limit": ((A, B, joint("j1", "a", "b", inside="")), "joint j1 is revolute and has no <limit>"),
    "reversed": ((A, B, J1.replace('lower="-1" upper="1"', 'lower="1" upper="-1"')), "joint j1: limits 1 to -1 rad"),
    "no range": ((A, B, J1.replace('lower="-1" upper="1"', "")), "joint j1: limits 0 to 0 rad leave no way to go"),
    "no axis": ((A, B, joint("j1", "a", "b", axis="0 0 0")), "joint j1: its axis is 0 0 0"),
    "planar": ((A, B, C, J1, joint("j2", "b", "c", "planar")), "joint j2 is of type 'planar'"),
    "floating inside": ((A, B, C, J1, joint("j2", "b", "c", "floating")), "joint j2 is of type 'floating'"),
    "no mass": ((A, link("b", ""), J1), "joint j1: what it moves (b) has a mass of 0 kg"),
    "mass below": (
        (A, link("b", ""), C, J1, joint("j2", "b", "c")),
        "joint j1: what it moves (b) has a mass of 0 kg",
    ),
    "no inertia": ((A, link("b", INERTIAL.replace("0.01", "0")), J1), "joint j1: link b has 1 kg and no inertia"),
    "xacro": ((A, B, J1.replace('"-1"', '"${-pi/2}"')), "${-pi/2}: this is xacro"),
    "no mesh": (
        (A, link("b", collision=BOX.replace('<box size="0.1 0.1 0.1"/>', '<mesh filename="no.stl"/>')), J1),
        "link b: no mesh 'no.stl'; looked for ",
    ),
    "world": ((link("world", "", ""), B, joint("j1", "world", "b")), "link world is the ground"),
    "deep": ((A, B, J1, "<gazebo>" + "<a>" * 2000 + "</a>" * 2000 + "</gazebo>"), "nested more than 16 deep"),
    "too many": ((*(link(f"l{n}") for n in range(501)),), "501 links; at most 500"),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", BAD)
def test_what_no_engine_should_see_is_one_line(tmp_path, engine, case):
    parts, wanted = BAD[case]
    path = written(tmp_path, *parts)
    with pytest.raises(UserError) as caught:
        build(engine, robot(path, "j1"))
    assert str(caught.value).startswith(f"{path}: ")
    assert wanted in str(caught.value)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_link_without_inertial_weighs_nothing(tmp_path, engine):
    """As a base, as a sensor's frame, and as what a joint moves where something with mass is fixed to it."""
    path = written(
        tmp_path,
        link("base", "", ""), link("trunk"), link("imu", "", ""), link("hand", "", ""), link("palm"),
        joint("fixed_trunk", "base", "trunk", "fixed", ""), joint("fixed_imu", "trunk", "imu", "fixed", ""),
        joint("wrist", "trunk", "hand"), joint("fixed_palm", "hand", "palm", "fixed", ""),
    )  # fmt: skip
    built = robot(path, "wrist")
    sim = build(engine, built)
    assert mass_kg(sim) == pytest.approx(2.0, abs=1e-5)
    sim.run(Drive.holding_home(built), 100)  # 0.2 s of free fall, semi-implicit: g * t * (t + dt) / 2
    assert sim.state.base_position[2] == pytest.approx(1.0 - 9.81 * 0.2 * 0.202 / 2, abs=1e-4)
    assert sim.state.base_linear_velocity[2] == pytest.approx(-9.81 * 0.2, abs=1e-3)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_floats_from_a_world_link_falls(tmp_path, engine):
    parts = link("world", "", ""), link("base"), B, joint("root", "world", "base", "floating", "")
    path = written(tmp_path, *parts, joint("j1", "base", "b"))
    built = robot(path, "j1")
    sim = build(engine, built)
    sim.run(Drive.holding_home(built), 100)
    assert sim.state.base_position[2] == pytest.approx(1.0 - 9.81 * 0.2 * 0.202 / 2, abs=1e-4)
    with pytest.raises(UserError, match=r"joint root is floating, but robot r has a fixed base"):
        build(engine, robot(path, "j1", fixed_base=True))


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_fixed_to_a_world_link_stays_there(tmp_path, engine):
    parts = link("world", "", ""), link("base"), B, joint("root", "world", "base", "fixed", "")
    path = written(tmp_path, *parts, joint("j1", "base", "b"))
    built = robot(path, "j1", fixed_base=True)
    sim = build(engine, built)
    sim.run(Drive.holding_home(built), 100)
    assert sim.state.base_position[2] == 1.0
    np.testing.assert_allclose(sim.link_pose("base")[0], [0.0, 0.0, 1.3], atol=1e-6)
    np.testing.assert_allclose(sim.link_pose(WORLD_LINK)[0], [0.0, 0.0, 1.0], atol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_names_in_any_alphabet_and_a_byte_order_mark(tmp_path, engine):
    path = written(tmp_path, link("основа"), B, joint("关节1", "основа", "b"))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    sim = build(engine, robot(path, "关节1"))
    assert sim.link_pose("основа")[0][2] == pytest.approx(1.0)


@pytest.mark.parametrize("engine", ENGINES)
def test_gains_may_be_whole_numbers(tmp_path, engine):
    """A position of 0.5 rad is no whole number, and must not become one beside kp=600."""
    path = written(tmp_path, A, B, J1)
    built = robot(path, "j1", fixed_base=True, kp=600, kd=10, home=0)
    sim, drive = build(engine, built), Drive.holding_home(built)
    drive.position[:] = 0.5
    sim.run(drive, 500)
    assert sim.state.joint_position[0] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"kp": math.nan}, "joint j: kp is nan, N·m/rad or N/m, but must be finite and not negative"),
        ({"kd": -1}, "joint j: kd is -1, N·m·s/rad or N·s/m"),
        ({"damping": "much"}, "joint j: damping is 'much'"),
        ({"home": math.inf}, "joint j: home is inf, rad or m"),
        ({"kp": True}, "joint j: kp is True"),
    ],
)
def test_a_joint_that_cannot_be_is_refused(given, wanted):
    with pytest.raises(UserError) as caught:
        Joint(name="j", **given)
    assert wanted in str(caught.value)


def mesh_link(file_name: str) -> str:
    return link("b", collision=f'<collision><geometry><mesh filename="{file_name}"/></geometry></collision>')


@pytest.mark.parametrize(
    "file_name",
    ["meshes/b.stl", "package://meshes/b.stl", "package://my_robot/meshes/b.stl", "package://other/b.stl", "ABSOLUTE"],
)
def test_a_mesh_is_found_where_ros_and_bullet_look(tmp_path, file_name):
    package = tmp_path / "my_robot"
    for place in (package / "urdf/meshes/b.stl", package / "meshes/b.stl", tmp_path / "other/b.stl"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"mesh")
    if file_name == "ABSOLUTE":
        file_name = f"file://{package}/meshes/b.stl"
    root = loadable(robot(written(package / "urdf", A, mesh_link(file_name), J1), "j1"))
    (mesh,) = root.iter("mesh")
    found = Path(mesh.get("filename"))
    assert found.is_absolute()
    assert found.is_file()
    assert found.parts[-2:] == tuple(Path(file_name).parts[-2:])


def test_meshes_for_looks_need_not_be_there(tmp_path):
    looks = BOX + '<visual><geometry><mesh filename="package://no/b.dae"/></geometry></visual>'
    root = loadable(robot(written(tmp_path, A, link("b", collision=looks), J1), "j1"))
    assert list(root.iter("visual")) == []
