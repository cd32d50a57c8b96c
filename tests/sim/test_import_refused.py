"""What cannot be imported is one line that names file, part, value and unit, code 2, and leaves nothing behind."""

from __future__ import annotations

import pytest
from imported_robots import arm, car, dog, hinge, joint, link, run_import, slider, written


def changed(parts: list[str], old: str, new: str) -> list[str]:
    found = [part.replace(old, new) for part in parts]
    assert found != parts
    return found


SLIDE = '<limit lower="-1" upper="1" effort="20" velocity="2"/>'
# Name -> parts, options, and what the line says.
BAD = {
    "no effort": (
        car(),
        ("--velocity", 10),
        (
            "joint front_left_wheel: <limit effort> is not there, N·m",
            "--effort front_left_wheel=VALUE",
            "--passive front_left_wheel",
        ),
    ),
    "no speed": (changed(slider(), ' velocity="2"', ""), (), ("joint slide: <limit velocity> is not there, m/s",)),
    "any effort": (
        changed(slider(), 'effort="20"', 'effort="1e6"'),
        (),
        ("joint slide: <limit effort> is 1e+06 N, beyond the 100000",),
    ),
    "too much": (slider(), ("--effort", "slide=1e6"), ("--effort slide=1e+06: beyond 100000 N",)),
    "no number": (slider(), ("--effort", "slide=much"), ("--effort slide=much: a number above 0 is needed, N·m or N",)),
    "nobody": (slider(), ("--passive", "wheel"), ("--passive: ", "no moving joint 'wheel'; it has slide")),
    "no limits": (
        changed(slider(), SLIDE, ""),
        (),
        ("joint slide is prismatic and has no <limit>: give it one", "m, N and m/s"),
    ),
    "no way": (
        changed(slider(), 'upper="1"', 'upper="-1"'),
        (),
        ("joint slide: limits -1 to -1 m leave no way to go",),
    ),
    "no motor": (slider(), ("--passive", "slide"), ("nothing in it is driven: 1 moving joints, none with a motor",)),
    "odd name": (
        changed(slider(), '"slide"', '"1-slide"'),
        (),
        ("joint '1-slide': drives and firmware know joints by letters",),
    ),
    "mimics nobody": (
        changed(arm(), 'joint="left_finger"', 'joint="thumb"'),
        (),
        ("joint right_finger: it mimics joint 'thumb'",),
    ),
    "mimics in a ring": (
        changed(arm(), 'joint="left_finger"', 'joint="right_finger"'),
        (),
        ("joint right_finger: it mimics right_finger, and so on in a ring",),
    ),
    "two roots": ([*slider(), link("other")], (), ("2 links hang on nothing (rail, other)",)),
    "xacro": (
        changed(slider(), 'effort="20"', 'effort="${effort}"'),
        (),
        ("${effort}: this is xacro, not a URDF yet",),
    ),
    "no mass": (
        [slider()[0], link("cart", mass=0.0), slider()[2]],
        (),
        ("joint slide: what it moves (cart) has a mass of 0 kg",),
    ),
    "negative inertia": (
        changed(slider(), 'ixy="0"', 'ixy="0.1"'),
        (),
        ("link cart: inertia: its principal moments are -0.09",),
    ),
    "a dae": (
        changed(slider(), '<box size="0.05 0.05 0.05"/>', '<mesh filename="a.dae"/>'),
        (),
        ("a.dae: both engines read .stl and .obj only; convert it",),
    ),
    "no mesh": (
        changed(slider(), '<box size="0.05 0.05 0.05"/>', '<mesh filename="package://my_robot/a.stl"/>'),
        (),
        ("no mesh 'package://my_robot/a.stl'", "source the ROS workspace that has package my_robot"),
    ),
    "planar": (changed(slider(), 'type="prismatic"', 'type="planar"'), (), ("nothing in it is driven",)),
    "no wheels": (
        arm(),
        ("--kind", "wheeled"),
        ("--kind wheeled: no driven joint turns without end about a level axis",),
    ),
    "no legs": (slider(), ("--kind", "legged"), ("--kind legged: 0 limbs of 2 or more driven joints",)),
    "no arm": (dog(), ("--kind", "arm"), ("--kind arm: no driven joint before motors branch off at link trunk",)),
    "ours": (slider(), ("--name", "panda"), ("--name panda is a robot of robot-wm's own",)),
    "a package": (slider(), ("--name", "json"), ("--name json is a Python package here already",)),
    "no name": (slider(), ("--name", "My-Robot"), ("--name My-Robot is no name of a package",)),
    "of nothing": (slider(), ("--controller", "arm"), ("--controller arm: --controllers says of which file",)),
}


@pytest.mark.parametrize("name", BAD)
def test_one_line_says_what_is_wrong(name, tmp_path, capsys):
    parts, options, said = BAD[name]
    (tmp_path / "a.dae").write_text("<COLLADA/>")
    urdf = written(tmp_path, parts)
    before = sorted(tmp_path.iterdir())
    assert run_import(urdf, "--out", tmp_path / "out", *options) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    for text in said:
        assert text in error
    assert ".tmp" not in error
    assert str(urdf) in error or said[0].startswith("--")  # the file, or the option
    assert sorted(tmp_path.iterdir()) == before  # neither the folder nor half of it


def test_an_unnamed_robot_wants_a_name(tmp_path, capsys):
    assert run_import(written(tmp_path, slider(), name="42"), "--out", tmp_path / "out") == 2
    assert "robot '42': --name is needed: '42' is no name of a package" in capsys.readouterr().err


def test_a_folder_that_is_there_is_left_alone(tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("mine")
    assert run_import(written(tmp_path, slider()), "--out", out) == 2
    assert f"{out}: is there already" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["mine"]


def test_a_file_that_is_not_there_is_named(tmp_path, capsys):
    assert run_import(tmp_path / "no.urdf", "--out", tmp_path / "out") == 2
    assert f"{tmp_path / 'no.urdf'}: cannot read the URDF: No such file" in capsys.readouterr().err


def test_a_setting_for_one_joint_wins_over_its_own_and_all_others(tmp_path, capsys):
    parts = [
        *slider(),
        link("tip"),
        hinge("nod", "cart", "tip"),
        link("end"),
        joint("roll", "tip", "end", "continuous"),
    ]
    options = ("--effort", 7, "--effort", "nod=3", "--velocity", 5)
    assert run_import(written(tmp_path, parts), "--out", tmp_path / "out", *options) == 0
    text = (tmp_path / "out/src/bot/firmware.yaml").read_text()
    assert "effort: 3.0" in text.split("nod:")[1]
    assert "velocity: 4.0, effort: 3.0" in text.split("nod:")[1]  # its own speed
    assert "velocity: 5.0, effort: 7.0" in text.split("roll:")[1]
    assert "velocity: 2.0, effort: 20.0" in text.split("slide:")[1]
