"""Meshes of collision shapes: found as ROS and Bullet find them, and refused where an engine would drop them.

Bullet takes a shape whose mesh it cannot read for none at all, without a word, and crashes at a COLLADA file; MuJoCo
reads binary STL and OBJ. So these two it is, with vertices that span a body.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError

_MAX_BYTES = 2**26
_MAX_FACES = 200_000  # MuJoCo's bound of an STL file
_RENAMED = 3  # folders up from a description that its package may be, whatever they are called
_THIN_M, _FAR_M = 1e-6, 1e4
STL_FACE = np.dtype([("normal", "<f4", 3), ("vertices", "<f4", (3, 3)), ("attribute", "<u2")])
STL_HEADER = 84  # bytes, the number of faces being the last four


def find_mesh(file_name: str, description: Path, where: str) -> Path:
    """The full path of a mesh that ``description`` names; UserError for one that is not there."""
    places = list(_places(file_name, description))
    found = next((place for place in places if _is_file(place)), None)
    if found is None:
        package = _in_package(file_name)
        mend = f"; source the ROS workspace that has package {package.split('/')[0][:80]}" if package else ""
        raise UserError(f"{where}: no mesh {file_name[:200]!r}; looked for {str(places[0])[:200]}{mend}")
    return found.resolve()


def require_mesh(path: Path, scale: tuple[float, ...], where: str) -> None:
    """UserError for a file from which engines would make no body, or different ones."""
    where = f"{where}: mesh {path}"
    read = {".stl": _stl_vertices, ".obj": _obj_vertices}.get(path.suffix.lower())
    if read is None:
        raise UserError(f"{where}: both engines read .stl and .obj only; convert it: assimp export IN OUT.stl")
    try:
        size = path.stat().st_size
        content = path.read_bytes() if size <= _MAX_BYTES else b""
    except OSError as error:
        raise UserError(f"{where}: {error.strerror}") from None
    if size > _MAX_BYTES:
        raise UserError(f"{where}: {size} bytes; at most {_MAX_BYTES}")
    vertices = read(content, where)
    if not np.isfinite(vertices).all():
        raise UserError(f"{where}: a vertex is not finite")
    spread = (vertices - vertices.mean(axis=0)) * scale  # [V, 3], m
    thickness = float(np.linalg.svd(spread, compute_uv=False)[-1]) if len(spread) >= 4 else 0.0
    largest = float(np.abs(spread).max())
    if thickness < _THIN_M or largest > _FAR_M:
        what = f"reaches {largest:.3g} m far" if largest > _FAR_M else "is flat, or too small"
        raise UserError(f"{where}: scaled by {', '.join(f'{one:g}' for one in scale)} it {what}")


def _places(file_name: str, description: Path) -> Iterator[Path]:
    """Where a mesh may be: beside the description, or in its ROS package.

    That is the one that the description is in or beside, under its own or, as a checkout may have it, another name;
    else one that a sourced workspace has.
    """
    folder = description.resolve().parent
    rest = _in_package(file_name)
    if not rest:
        yield folder / file_name.removeprefix("file://").removeprefix("localhost")
        return
    above = (folder, *folder.parents)
    yield from (one / rest for one in above)
    for variable, share in (("AMENT_PREFIX_PATH", "share"), ("ROS_PACKAGE_PATH", "")):
        yield from (Path(one) / share / rest for one in os.environ.get(variable, "").split(os.pathsep) if one)
    _, _, inside = rest.partition("/")
    yield from (one / inside for one in above[:_RENAMED] if inside)


def _in_package(file_name: str) -> str:
    """NAME/PATH of package://NAME/PATH, or as Gazebo has it model://; "" for any other file."""
    scheme, found, rest = file_name.partition("://")
    return rest if found and scheme in ("package", "model") else ""


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # such as a name that is too long
        return False


def _stl_vertices(content: bytes, where: str) -> NDArray[np.float64]:
    faces = int.from_bytes(content[STL_HEADER - 4 : STL_HEADER], "little") if len(content) >= STL_HEADER else 0
    if not 1 <= faces <= _MAX_FACES or len(content) != STL_HEADER + faces * STL_FACE.itemsize:
        raise UserError(f"{where}: no binary STL with 1 to {_MAX_FACES} faces; one that is text has to be converted")
    vertices = np.frombuffer(content, STL_FACE, offset=STL_HEADER)["vertices"]
    return np.unique(vertices.reshape(-1, 3), axis=0).astype(np.float64)


def _obj_vertices(content: bytes, where: str) -> NDArray[np.float64]:
    vertices: list[list[float]] = []
    faces = 0
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
        kind, *words = line.split() or [""]
        try:
            if kind == "v":
                vertices.append([float(word) for word in words[:3]])
                is_sound = len(words) >= 3
            elif kind == "f":
                faces += 1
                corners = [int(word.split("/")[0]) for word in words]
                is_sound = len(corners) >= 3 and all(
                    0 < corner <= len(vertices) or 0 < -corner <= len(vertices) for corner in corners
                )
            else:
                continue
        except ValueError:
            is_sound = False
        if not is_sound:
            raise UserError(f"{where}: line {number} is no vertex or no face of those above it: {line[:80]!r}")
    if not 1 <= faces <= _MAX_FACES:
        raise UserError(f"{where}: {faces} faces; 1 to {_MAX_FACES} are needed")
    return np.unique(np.array(vertices), axis=0)
