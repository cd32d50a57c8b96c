"""Meshes: found where ROS and Bullet look, and read alike by both engines, or refused by both."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from urdf_text import BOX, ENGINES, J1, MESH, A, build, link, robot, written

from robot_wm.errors import UserError
from robot_wm_sim.drive import Drive
from robot_wm_sim.urdf_tree import loadable

CORNERS = ((0.0, 0.0, 0.0), (0.1, 0.0, 0.0), (0.0, 0.1, 0.0), (0.0, 0.0, 0.1))
FACES = ((0, 2, 1), (0, 1, 3), (1, 2, 3), (0, 3, 2))


def stl(corners=CORNERS, faces=FACES, count: int | None = None) -> bytes:
    content = bytes(80) + struct.pack("<I", len(faces) if count is None else count)
    for face in faces:
        content += struct.pack("<12fH", 0, 0, 0, *(value for corner in face for value in corners[corner]), 0)
    return content


def obj(corners=CORNERS, faces=FACES) -> bytes:
    lines = [f"v {x} {y} {z}" for x, y, z in corners]
    return "\n".join([*lines, *("f " + " ".join(f"{corner + 1}" for corner in face) for face in faces)]).encode()


def mesh_link(file_name: str, scale: str = "") -> str:
    named = MESH.replace("NAME", file_name)
    return link("b", collision=named.replace("/></g", f' scale="{scale}"/></g') if scale else named)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("b.stl", stl()),
        ("B.STL", stl()),
        ("b.obj", obj()),
        ("slashes.obj", obj().replace(b"f 1 3 2", b"f 1/1/1 3//1 2/1")),
        ("from_the_end.obj", obj().replace(b"f 1 3 2", b"f -4 -2 -3")),
    ],
    ids=["stl", "STL", "obj", "slashes", "from the end"],
)
def test_what_has_a_sound_mesh_does_not_fall_through_the_ground(tmp_path, engine, name, content):
    (tmp_path / name).write_bytes(content)
    built = robot(written(tmp_path, link("a", collision=""), mesh_link(name, "2 2 2"), J1), "j1", kp=200.0)
    sim = build(engine, built)
    sim.run(Drive.holding_home(built), 500)
    assert abs(sim.state.base_position[2]) < 0.31  # as high as the joint, at most; in free fall it is at -3.9 m


BAD = {
    "empty": ("b.stl", b"", "no binary STL"),
    "text": ("b.stl", b"solid x\n" + b"vertex 0 0 0\n" * 20, "no binary STL"),
    "none": ("b.stl", stl(faces=()), "no binary STL"),
    "cut": ("b.stl", stl()[:-1], "no binary STL"),
    "lies": ("b.stl", stl(count=2**31), "no binary STL"),
    "nan": ("b.stl", stl([*CORNERS[:3], (0.0, 0.0, float("nan"))]), "a vertex is not finite"),
    "one face": ("b.stl", stl(faces=FACES[:1]), "scaled by 1, 1, 1 it is flat, or too small"),
    "flat": ("b.stl", stl([*CORNERS[:3], (0.1, 0.1, 0.0)]), "it is flat, or too small"),
    "no vertex": ("b.obj", b"f 1 2 3\n", "line 1 is no vertex or no face of those above it: 'f 1 2 3'"),
    "no such vertex": ("b.obj", obj() + b"\nf 1 2 99", "line 9 is no vertex or no face"),
    "vertex 0": ("b.obj", obj() + b"\nf 0 1 2", "line 9"),
    "two coordinates": ("b.obj", b"v 1 2\n", "line 1"),
    "words": ("b.obj", b"v one 2 3\n", "line 1"),
    "no faces": ("b.obj", obj(faces=()), "0 faces"),
    "binary": ("b.obj", bytes(range(256)) * 4, "0 faces"),
    "infinite": ("b.obj", obj([*CORNERS[:3], (0.0, 0.0, float("inf"))]), "a vertex is not finite"),
    "COLLADA": ("b.dae", b"<COLLADA/>", "both engines read .stl and .obj only"),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", BAD)
def test_a_mesh_that_engines_drop_or_crash_at_is_one_line(tmp_path, engine, case):
    name, content, wanted = BAD[case]
    (tmp_path / name).write_bytes(content)
    path = written(tmp_path, A, mesh_link(name), J1)
    with pytest.raises(UserError) as caught:
        build(engine, robot(path, "j1"))
    assert str(caught.value).startswith(f"{path}: link b: mesh {tmp_path / name}: ")
    assert wanted in str(caught.value)


@pytest.mark.parametrize(
    ("scale", "wanted"),
    [
        ("0 1 1", "scaled by 0, 1, 1 it is flat, or too small"),
        ("1e-7 1e-7 1e-7", "it is flat, or too small"),
        ("1e30 1 1", "mesh scale is '1e30 1 1'; -10000 to 10000 can be simulated"),
        ("1 1", "mesh scale is '1 1', not 3 finite numbers"),
    ],
)
def test_a_scale_that_leaves_no_body_is_refused(tmp_path, scale, wanted):
    (tmp_path / "b.stl").write_bytes(stl())
    with pytest.raises(UserError) as caught:
        loadable(robot(written(tmp_path, A, mesh_link("b.stl", scale), J1), "j1"))
    assert wanted in str(caught.value)


def test_a_mesh_in_kilometres_is_too_far(tmp_path):
    (tmp_path / "far.obj").write_bytes(obj([(x * 1e6, y, z) for x, y, z in CORNERS]))
    with pytest.raises(UserError, match=r"mesh .*far\.obj: scaled by 1, 1, 1 it reaches 7\.5e\+04 m far"):
        loadable(robot(written(tmp_path, A, mesh_link("far.obj"), J1), "j1"))


@pytest.mark.parametrize(
    "file_name",
    ["meshes/b.stl", "package://meshes/b.stl", "package://my_robot/meshes/b.stl", "package://other/b.stl", "ABSOLUTE"],
)
def test_a_mesh_is_found_where_ros_and_bullet_look(tmp_path, file_name):
    package = tmp_path / "my_robot"
    for place in (package / "urdf/meshes/b.stl", package / "meshes/b.stl", tmp_path / "other/b.stl"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(stl())
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
