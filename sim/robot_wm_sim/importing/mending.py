"""What is wrong in many descriptions of the world and can be mended without a guess at the robot; each is told.

* A tensor of inertia that no body has (its largest moment exceeds the sum of the others, often by a few percent of
  rounded CAD output) is lifted to the nearest that one can have: the same is added to all three moments.
* A mass without any inertia gets that of a ball of water of the mass, about its centre.
* A mesh that is text (ASCII STL) is written as binary, which both engines read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from robot_wm_sim.mesh_file import STL_FACE, STL_HEADER, find_mesh
from robot_wm_sim.urdf_parts import numbers_of

_AXES = ("ixx", "iyy", "izz", "ixy", "ixz", "iyz")
_MARGIN = 1e-6  # of the largest moment, so that a sum is one in every engine
_TOLD = 1e-3  # of the largest moment; less is rounding, and not worth a line
_WATER_KG_M3 = 1000.0
_VERTEX = re.compile(rb"vertex\s+(\S+)\s+(\S+)\s+(\S+)")


def mend_masses(root: Element) -> Iterator[str]:
    """Mend tensors of links in place; yields a line for each, with the link, values and units."""
    for link in root.findall("link"):
        inertial = link.find("inertial")
        mass = 0.0 if inertial is None else _value(inertial.find("mass"), "value")
        if inertial is None or mass == 0.0:
            continue
        inertia = inertial.find("inertia")
        if inertia is None:
            inertia = SubElement(inertial, "inertia")
        ixx, iyy, izz, ixy, ixz, iyz = (_value(inertia, axes) for axes in _AXES)
        if not any((ixx, iyy, izz, ixy, ixz, iyz)):
            moment = _ball_kg_m2(mass)
            for axes in _AXES:
                inertia.set(axes, repr(moment if axes in _AXES[:3] else 0.0))
            yield f"link {link.get('name')}: {mass:g} kg without inertia; {moment:.3g} kg·m² written, a ball of water's"
            continue
        least, middle, largest = np.linalg.eigvalsh([[ixx, ixy, ixz], [ixy, iyy, iyz], [ixz, iyz, izz]])
        lacking = float(largest - least - middle + _MARGIN * largest)
        if least > 0.0 and lacking > 0.0:
            for axes, moment in zip(_AXES, (ixx, iyy, izz), strict=False):
                inertia.set(axes, repr(moment + lacking))
            if lacking > _TOLD * largest:
                yield (
                    f"link {link.get('name')}: no body has principal moments of {least:.4g}, {middle:.4g} and"
                    f" {largest:.4g} kg·m²; {lacking:.3g} kg·m² added to each"
                )


def gather_meshes(root: Element, description: Path, folder: Path) -> dict[Path, str]:
    """Names in ``folder``, each once, for the meshes of collision shapes; UserError for one that is not there.

    ``filename`` becomes the full path of the mesh: of its binary twin in ``folder`` where it is text.
    """
    names: dict[Path, str] = {}
    for link in root.findall("link"):
        for mesh in link.iter("mesh"):
            path = find_mesh(mesh.get("filename", ""), description, f"{description}: link {link.get('name')}")
            if path not in names:
                names[path] = _free_name(path, names.values())
                if content := _as_binary(path):
                    folder.mkdir(exist_ok=True)
                    (folder / names[path]).write_bytes(content)
            mesh.set("filename", str(folder / names[path] if (folder / names[path]).exists() else path))
    return names


def _value(element: Element | None, attribute: str) -> float:
    found = () if element is None else numbers_of(element.get(attribute, "0"))
    return found[0] if found else 0.0


def _ball_kg_m2(mass_kg: float) -> float:
    radius_m = (3.0 * mass_kg / (4.0 * np.pi * _WATER_KG_M3)) ** (1.0 / 3.0)
    return float(0.4 * mass_kg * radius_m**2)


def _free_name(path: Path, taken: object) -> str:
    names, name, number = set(taken), path.name, 2  # type: ignore[call-overload]
    while name in names:
        name, number = f"{path.stem}_{number}{path.suffix}", number + 1
    return name


def _as_binary(path: Path) -> bytes | None:
    """A text STL's faces as binary; None for any other file, which is checked where meshes are."""
    if path.suffix.lower() != ".stl" or path.stat().st_size > 2**28:
        return None
    content = path.read_bytes()
    # Many binary ones begin with "solid", too, but for their size.
    claimed = int.from_bytes(content[STL_HEADER - 4 : STL_HEADER], "little")
    if not content.lstrip().startswith(b"solid") or len(content) == STL_HEADER + claimed * STL_FACE.itemsize:
        return None
    try:
        vertices = np.array(_VERTEX.findall(content)).astype(np.float32)
    except ValueError:
        return None
    if not len(vertices) or len(vertices) % 3:
        return None
    faces = np.zeros(len(vertices) // 3, STL_FACE)
    faces["vertices"] = vertices.reshape(-1, 3, 3)
    return b"\0" * (STL_HEADER - 4) + len(faces).to_bytes(4, "little") + faces.tobytes()
