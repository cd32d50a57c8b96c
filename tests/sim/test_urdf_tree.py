"""Descriptions that engines take differently: the same in both, or one line from both."""

from __future__ import annotations

import math

import numpy as np
import pytest
from urdf_text import BOX, ENGINES, INERTIA, INERTIAL, J1, LIMIT, MESH, A, B, C, build, joint, link, robot, written

from robot_wm.errors import UserError
from robot_wm_sim.drive import Drive
from robot_wm_sim.robot import Joint
from robot_wm_sim.urdf_tree import WORLD_LINK


def mass_kg(sim) -> float:
    if sim.name == "mujoco":
        return float(sim._model.body_mass.sum())
    return sum(sim._client.getDynamicsInfo(sim._robot, n)[0] for n in range(-1, sim._client.getNumJoints(sim._robot)))


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
    "no inertia": (
        (A, link("b", INERTIAL.replace("0.01", "0")), J1),
        "joint j1: what it moves (b) has 1 kg and no inertia",
    ),
    "xacro": ((A, B, J1.replace('"-1"', '"${-pi/2}"')), "${-pi/2}: this is xacro"),
    "no mesh": (
        (A, link("b", collision=BOX.replace('<box size="0.1 0.1 0.1"/>', '<mesh filename="no.stl"/>')), J1),
        "link b: no mesh 'no.stl'; looked for ",
    ),
    "world": ((link("world", "", ""), B, joint("j1", "world", "b")), "link world is the ground"),
    "deep": ((A, B, J1, "<gazebo>" + "<a>" * 2000 + "</a>" * 2000 + "</gazebo>"), "nested more than 16 deep"),
    "too many": ((*(link(f"l{n}") for n in range(129)),), "129 links; at most 128"),
    "too many shapes": ((A, link("b", collision=BOX * 1001), J1), "1002 shapes; at most 1000"),
    "long name": ((A, link("b" * 5000), joint("j1", "a", "b" * 5000)), "a link's name has 5000 characters"),
    "no range for home": (
        (A, B, J1.replace('"-1"', '"0.5"')),
        "joint j1: its range is 0.5 to 1 rad, but robot r starts at 0 rad",
    ),
    "underscore": ((A, link("b", INERTIAL.replace('"1"', '"1_0"')), J1), "mass value is '1_0', not a finite number"),
    "other digits": ((A, link("b", INERTIAL.replace('"1"', '"٣"')), J1), "mass value is '٣', not a finite number"),
    "too far": ((A, B, J1.replace('"0 0 0.3"', '"0 0 1e30"')), "origin xyz is '0 0 1e30'; -10000 to 10000 m can be"),
    "too heavy": (
        (A, link("b", INERTIAL.replace('"1"', '"1e308"')), J1),
        "mass value is '1e308'; 0 to 1e+06 kg can be",
    ),
    "less than nothing": (
        (A, B, link("c", INERTIAL.replace('"1"', '"-1"')), J1, joint("f", "b", "c", "fixed", "")),
        "link c: mass value is '-1'; 0 to 1e+06 kg can be",
    ),
    "next to no mass": (
        (A, link("b", INERTIAL.replace('"1"', '"1e-300"')), J1),
        "joint j1: what it moves (b) has a mass of 1e-300 kg",
    ),
    "a base of nothing": (
        (link("a", INERTIAL.replace('"1"', '"0"')), B, J1),
        "robot: what floats (a) has a mass of 0 kg",
    ),
    "a base without inertia": (
        (link("a", INERTIAL.replace("0.01", "0")), B, J1),
        "robot: what floats (a) has 1 kg and no inertia",
    ),
    "a drive that pushes back": ((A, B, J1.replace('"10"', '"-10"')), "joint j1: limit effort is '-10'; 0 to "),
    "a tiny axis": ((A, B, joint("j1", "a", "b", axis="0 1e-30 0")), "joint j1: its axis is 0 1e-30 0"),
    "no such shape": (
        (A, link("b", collision=BOX.replace("box", "cone")), J1),
        "link b: a geometry has 0 shapes; one of",
    ),
    "two shapes": (
        (A, link("b", collision=BOX.replace("<box", '<sphere radius="1"/><box')), J1),
        "link b: a geometry has 2 shapes",
    ),
    "no geometry": ((A, link("b", collision="<collision/>"), J1), "link b: collision has 0 <geometry>; one is needed"),
    "no radius": (
        (A, link("b", collision=BOX.replace('box size="0.1 0.1 0.1"', "sphere")), J1),
        "link b: sphere has no radius, m",
    ),
    "inside out": (
        (A, link("b", collision=BOX.replace('"0.1 0.1', '"-0.1 0.1')), J1),
        "box size is '-0.1 0.1 0.1'; 1e-06 to 10000 m can be",
    ),
    "limits twice": ((A, B, J1.replace(LIMIT, LIMIT * 2)), "joint j1: joint has 2 <limit>; one at most"),
    "inertial twice": ((A, link("b", INERTIAL * 2), J1), "link b: link has 2 <inertial>; one at most"),
    "parent twice": (
        (A, B, J1.replace("<child", '<parent link="b"/><child')),
        "joint j1: joint has 2 <parent>; one is",
    ),
    "no parent": ((A, B, J1.replace('<parent link="a"/>', "")), "joint j1: joint has 0 <parent>; one is needed"),
    "COLLADA": ((A, link("b", collision=MESH.replace("NAME", "r.urdf")), J1), "both engines read .stl and .obj only"),
    "a long path": ((A, link("b", collision=MESH.replace("NAME", "m" * 5000)), J1), "link b: no mesh 'mmm"),
}
BAD_TENSORS = {
    "negative": ({"ixx": -0.01}, "inertia ixx is '-0.01'; 0 to 1e+09 kg·m² can be simulated"),
    "not definite": ({"ixy": 0.02}, "its principal moments are -0.01, 0.01 and 0.03 kg·m²; each is at least 1e-12"),
    "a rod without girth": ({"iyy": 0}, "its principal moments are 0, 0.01 and 0.01 kg·m²"),
    "triangle": ({"ixx": 0.03}, "0.01, 0.01 and 0.03 kg·m²; no body's largest is more than the other two together"),
    "triangle, turned": ({"ixx": 0.02, "iyy": 0.02, "ixy": 0.015}, "0.005, 0.01 and 0.035 kg·m²; no body's"),
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


def tensor(**moments: float) -> str:
    given = dict.fromkeys(("ixx", "iyy", "izz"), 0.01) | dict.fromkeys(("ixy", "ixz", "iyz"), 0) | moments
    return "<inertia " + " ".join(f'{axes}="{value}"' for axes, value in given.items()) + "/>"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("at", ["base", "moving", "fixed"])
@pytest.mark.parametrize("case", BAD_TENSORS)
def test_an_inertia_that_no_body_has_is_one_line(tmp_path, engine, at, case):
    """Bullet sets it to zero where its own test finds it, and the joint stands still."""
    moments, wanted = BAD_TENSORS[case]
    bad = INERTIAL.replace(INERTIA, tensor(**moments))
    names = {"base": "a", "moving": "b", "fixed": "c"}
    links = (link(name, bad if name == names[at] else INERTIAL) for name in names.values())
    path = written(tmp_path, *links, J1, joint("f", "b", "c", "fixed", ""))
    with pytest.raises(UserError) as caught:
        build(engine, robot(path, "j1"))
    assert str(caught.value).startswith(f"{path}: link {names[at]}: inertia")
    assert wanted in str(caught.value)


@pytest.mark.parametrize("moments", [{"izz": 0.02}, {"izz": 0.02001}, {"ixx": 0.007, "iyy": 0.001, "izz": 0.008}])
def test_a_plate_with_rounded_moments_swings_alike(tmp_path, moments):
    """7 + 1 is less than 8 in these floats, by the last bit."""
    thin = INERTIAL.replace(INERTIA, tensor(**moments))
    path = written(tmp_path, A, link("b", thin), J1.replace("0 1 0", "0 0 1"))
    ends = []
    for engine in ENGINES:
        built = robot(path, "j1", fixed_base=True, kp=0.05, kd=0.0)
        sim, drive = build(engine, built), Drive.holding_home(built)
        drive.position[:] = 0.5
        sim.run(drive, 100)
        ends.append(sim.state.joint_position[0])
    assert ends[0] == pytest.approx(ends[1], rel=1e-3)
    assert ends[0] > 0.02


@pytest.mark.parametrize("engine", ENGINES)
def test_a_robot_without_a_name_on_one_long_line_loads(tmp_path, engine):
    """Bullet breaks a line after 8 kB, in the middle of a word, and takes no robot without a name."""
    chain = (part for n in range(1, 128) for part in (link(f"l{n}"), joint(f"j{n}", f"l{n - 1}", f"l{n}")))
    path = written(tmp_path, link("l0"), *chain, "<gazebo><x/></gazebo>" * 1000)
    path.write_text(path.read_text().replace('<robot name="r">', "<robot>"))
    sim = build(engine, robot(path, "j1", "j127", fixed_base=True))
    assert sim.link_pose("l127")[0][2] == pytest.approx(1.0 + 127 * 0.3)


@pytest.mark.parametrize("axis", ["0 10 0", "0 0.01 0", "0 1e3 0"])
def test_an_axis_of_any_length_is_the_same_axis(tmp_path, axis):
    ends = []
    for of in ("0 1 0", axis):
        built = robot(written(tmp_path, A, B, joint("j1", "a", "b", axis=of)), "j1", fixed_base=True)
        for engine in ENGINES:
            sim, drive = build(engine, built), Drive.holding_home(built)
            drive.position[:] = 0.5
            sim.run(drive, 50)
            ends.append(sim.state.joint_position[0])
    assert ends[2:] == ends[:2]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_continuous_joint_has_no_stops(tmp_path, engine):
    stops = '<limit lower="-0.1" upper="0.1" effort="10" velocity="3"/>'
    built = robot(written(tmp_path, A, B, joint("j1", "a", "b", "continuous", stops)), "j1", fixed_base=True)
    sim, drive = build(engine, built), Drive.holding_home(built)
    drive.position[:] = 0.5
    sim.run(drive, 500)
    assert sim.state.joint_position[0] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_joint_that_mimics_moves_as_it_is_driven(tmp_path, engine):
    path = written(tmp_path, A, B, C, J1, joint("j2", "b", "c", inside=LIMIT + '<mimic joint="j1" multiplier="2"/>'))
    built = robot(path, "j1", "j2", fixed_base=True)
    sim, drive = build(engine, built), Drive.holding_home(built)
    drive.position[:] = (0.2, -0.3)
    sim.run(drive, 500)
    np.testing.assert_allclose(sim.state.joint_position, (0.2, -0.3), atol=0.1)


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
def test_a_link_that_has_the_name_that_world_gets_is_told(tmp_path, engine):
    path = written(tmp_path, link("world", "", ""), link(WORLD_LINK), joint("j1", "world", WORLD_LINK))
    with pytest.raises(UserError, match="link world would be called world_link, and there is such a link"):
        build(engine, robot(path, "j1", fixed_base=True))


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
