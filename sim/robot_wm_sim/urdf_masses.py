"""Masses and inertias of a description's links: what can be, and the same for every engine.

A link without mass weighs nothing (Bullet's default is 1 kg). A tensor that no body has MuJoCo refuses; Bullet sets it
to zero, and the joint stands still.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from xml.etree import ElementTree

import numpy as np

from robot_wm.errors import UserError
from robot_wm_sim.urdf_parts import ends

Element = ElementTree.Element

_AXES = ("ixx", "iyy", "izz", "ixy", "ixz", "iyz")
_LEAST_KG, _LEAST_KG_M2 = 1e-9, 1e-12  # of what is simulated, a speck
# Of the largest moment: numbers that were written with few digits, and what a sum needs to be a sum in every engine.
_ROUNDED, _MARGIN = 1e-3, 1e-6
# Bullet takes a root without any mass for one that is bolted to the ground: a milligram, with a sphere's inertia.
_NEXT_TO_NOTHING_KG, _NEXT_TO_NOTHING_KG_M2 = 1e-6, 1e-12


def write_masses(
    links: Mapping[str, Element], joints: Mapping[str, Element], floating_base: str | None, origin: str
) -> None:
    """Check and write out every link's ``<inertial>``. ``floating_base``: the root's name where it is not held.

    Raises UserError for a tensor that no body has, and for what moves and has no mass: its acceleration is infinite.
    """
    for name, link in links.items():
        if _value(link, "mass", "value") == 0.0:
            for inertial in link.findall("inertial"):
                link.remove(inertial)
        _write_inertia(link, f"{origin}: link {name}")
    for name, joint in joints.items():
        if joint.get("type") != "fixed":
            _require_mass(ends(joint)[1], links, joints, f"{origin}: joint {name}: what it moves")
    if floating_base is not None:
        _require_mass(floating_base, links, joints, f"{origin}: robot: what floats")
    for name, link in links.items():
        if link.find("inertial") is None:
            floats = name == floating_base
            _write_sphere(link, *((_NEXT_TO_NOTHING_KG, _NEXT_TO_NOTHING_KG_M2) if floats else (0.0, 0.0)))


def _write_inertia(link: Element, where: str) -> None:
    """Refuse a tensor that no body has; one that has been rounded is lifted to the nearest that a body can have."""
    inertia = link.find("inertial/inertia")
    if inertia is None:
        return
    ixx, iyy, izz, ixy, ixz, iyz = (float(inertia.get(axes, "0")) for axes in _AXES)
    if not any((ixx, iyy, izz, ixy, ixz, iyz)):
        return  # of a point
    least, middle, largest = np.linalg.eigvalsh([[ixx, ixy, ixz], [ixy, iyy, iyz], [ixz, iyz, izz]])
    moments = f"its principal moments are {least:.4g}, {middle:.4g} and {largest:.4g} kg·m²"
    if least < _LEAST_KG_M2:
        raise UserError(f"{where}: inertia: {moments}; each is at least {_LEAST_KG_M2:g}")
    excess = largest - least - middle
    if excess > _ROUNDED * largest:
        raise UserError(f"{where}: inertia: {moments}; no body's largest is more than the other two together")
    if excess > -_MARGIN * largest:
        for axes, value in zip(_AXES, (ixx, iyy, izz), strict=False):
            inertia.set(axes, repr(float(value + excess + _MARGIN * largest)))


def _require_mass(link: str, links: Mapping[str, Element], joints: Mapping[str, Element], what: str) -> None:
    rigid = list(_rigid(link, joints))
    mass = sum(_value(links[name], "mass", "value") for name in rigid)
    inertia = sum(_value(links[name], "inertia", axes) for name in rigid for axes in _AXES[:3])
    if mass < _LEAST_KG:
        raise UserError(f"{what} ({', '.join(rigid[:5])}) has a mass of {mass:g} kg")
    if inertia < _LEAST_KG_M2 and len(rigid) == 1:
        raise UserError(f"{what} ({link}) has {mass:g} kg and no inertia, kg·m²")


def _rigid(link: str, joints: Mapping[str, Element]) -> Iterator[str]:
    """A link and those that are fixed to it."""
    fixed = [ends(joint) for joint in joints.values() if joint.get("type") == "fixed"]
    pending = [link]
    while pending:
        parent = pending.pop()
        yield parent
        pending += [child for above, child in fixed if above == parent]


def _value(link: Element, element: str, attribute: str) -> float:
    found = link.find(f"inertial/{element}")
    return 0.0 if found is None else float(found.get(attribute, "0"))


def _write_sphere(link: Element, mass_kg: float, moment_kg_m2: float) -> None:
    inertial = ElementTree.SubElement(link, "inertial")
    ElementTree.SubElement(inertial, "mass", value=repr(mass_kg))
    axes = dict.fromkeys(_AXES[:3], repr(moment_kg_m2)) | dict.fromkeys(_AXES[3:], "0")
    ElementTree.SubElement(inertial, "inertia", axes)
