"""Somebody else's package on a spec: which observation each input is, and which joint each output commands.

By semantic kind, element name and unit. What is not said is not guessed: every input must be found among the robot's
observations, every joint must be commanded once, and the rate must be the robot's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from robot_wm.errors import UserError
from robot_wm.spec import AgentSpec
from robot_wm_export.leapp.description import LeappTensor
from robot_wm_export.leapp.kinds import (
    GRAVITY,
    IMAGE,
    INPUT_KINDS,
    KD,
    KP,
    MODE_OF_TARGET,
    QUATERNION,
    ROTATION,
    XYZ,
    canonical,
    find_elements,
)
from robot_wm_export.leapp.package import LeappPackage

_SAME_RATE = 1e-6  # relative


@dataclass(frozen=True)
class Elements:
    """An input whose elements are elements of fields, raw and in SI units."""

    places: tuple[tuple[str, int], ...]  # field, index in it


@dataclass(frozen=True)
class Orientation:
    """A quaternion of the body's roll and pitch; heading is 0, because gravity does not tell it."""

    order: tuple[int, ...]  # place of each element in (qx, qy, qz, qw)


@dataclass(frozen=True)
class Picture:
    """A whole image field."""

    field: str


InputSource = Elements | Orientation | Picture


@dataclass(frozen=True)
class Plan:
    """What is what. Tensors are named by port, ``node/tensor``."""

    sources: Mapping[str, InputSource]
    targets: Mapping[str, tuple[str, ...]]  # output -> the joint of each element
    gains: Mapping[str, tuple[str, tuple[str, ...] | None]]  # output -> kp or kd, and the joint of each element


def plan_of(
    package: LeappPackage, spec: AgentSpec, *, rate_hz: float | None = None, ignored: Sequence[str] = ()
) -> Plan:
    """Map ``package`` on ``spec``; UserError naming the tensor for what does not fit.

    ``rate_hz`` is the rate of a package that tells none; ``ignored`` are outputs (their names) that nobody wants.
    """
    origin = str(package.description)
    _require_rate(package, spec, rate_hz)
    if spec.action.is_discrete:
        raise UserError(f"{origin}: the robot's action is a choice, of which LEAPP has no kind")
    sources = {port: _source(package.tensor(port), spec, origin=origin) for port in package.external_inputs()}
    targets: dict[str, tuple[str, ...]] = {}
    gains: dict[str, tuple[str, tuple[str, ...] | None]] = {}
    fed_back = set(package.feedback().values())
    for port in package.external_outputs():
        tensor = package.tensor(port)
        told = f"{origin}: output {port}"
        if tensor.name in ignored:
            continue
        if tensor.kind in (KP, KD):
            gains[port] = (tensor.kind, tensor.elements())
        elif tensor.kind in MODE_OF_TARGET:
            targets[port] = _joints(tensor, spec, told=told)
        elif tensor.kind is not None or port not in fed_back:
            why = "has no kind" if tensor.kind is None else f"is of the kind {tensor.kind}"
            raise UserError(f"{told}: {why}; the robot takes {_wanted(spec)}; --ignore {tensor.name} leaves it out")
    _require_every_joint(targets, spec, origin=origin)
    for port in package.feedback():
        tensor = package.tensor(port)
        if tensor.dtype != "float32":
            raise UserError(f"{origin}: state {port}: is {tensor.dtype}; float32 is carried from tick to tick")
    return Plan(sources, targets, gains)


def _require_rate(package: LeappPackage, spec: AgentSpec, rate_hz: float | None) -> None:
    told = package.frequency_hz
    if told is None and rate_hz is None:
        raise UserError(
            f"{package.description}: pipeline.configs.frequency: the package does not tell its rate;"
            " --rate says it, in Hz"
        )
    if told is not None and rate_hz is not None and not math.isclose(told, rate_hz, rel_tol=_SAME_RATE):
        raise UserError(f"{package.description}: pipeline.configs.frequency is {told:g} Hz, --rate {rate_hz:g} Hz")
    found = told if told is not None else rate_hz
    if found is None or not math.isclose(found, spec.control_rate_hz, rel_tol=_SAME_RATE):
        raise UserError(
            f"{package.description}: the policy is computed at {found:g} Hz, {spec.task} at {spec.control_rate_hz:g} Hz"
        )


def _source(tensor: LeappTensor, spec: AgentSpec, *, origin: str) -> InputSource:
    told = f"{origin}: input {tensor.name}"
    if tensor.is_chunk:
        raise UserError(f"{told}: has an axis of time; one moment a tick is observed (a history is a state)")
    if tensor.kind == IMAGE or tensor.dtype != "float32":
        return _picture(tensor, spec, told=told)
    size = math.prod(tensor.shape)
    if tensor.kind is None:
        field = next((one for one in spec.observations if one.name == tensor.name and not one.is_image), None)
        if field is None or field.shape != (size,):
            there = ", ".join(one.name for one in spec.observations)
            raise UserError(f"{told}: has no kind, and no observation of {size} elements has its name ({there})")
        return Elements(tuple((field.name, index) for index in range(size)))
    if tensor.kind == ROTATION:
        return _orientation(tensor, spec, told=told)
    if tensor.kind not in INPUT_KINDS:
        raise UserError(f"{told}: kind {tensor.kind} is not known here; known: {', '.join([*INPUT_KINDS, ROTATION])}")
    kind = INPUT_KINDS[tensor.kind]
    names = tensor.elements() or (kind.elements if kind.elements and len(kind.elements) == size else None)
    if names is None or len(names) != size:
        raise UserError(f"{told}: kind {tensor.kind} needs element_names, one an element of {size}")
    _require_frame_and_unit(tensor, kind.units, told=told)
    places = find_elements(spec, tensor.kind, names)
    if missing := [name for name, place in zip(names, places, strict=True) if place is None]:
        raise UserError(
            f"{told}: {tensor.kind} of {', '.join(missing[:6])}: robot {spec.robot}, task {spec.task}, observes no such"
            f" element in {' or '.join(kind.units)}, or observes it twice"
        )
    return Elements(tuple((place[0].name, place[1]) for place in places if place is not None))


def _require_frame_and_unit(tensor: LeappTensor, units: Sequence[str], *, told: str) -> None:
    given = tensor.told("units", "unit")
    if given is not None and not {part.strip() for part in given.split(",")} <= set(units):
        raise UserError(f"{told}: is in {given}; {tensor.kind} is in {' or '.join(units)} here")
    # Isaac Lab's names of what is told in the world's frame end so; the robot's sensors turn with its body.
    connection = tensor.told("isaaclab_connection") or ""
    if connection.endswith("_w") and "body" in (tensor.kind or "") and "position" not in (tensor.kind or ""):
        raise UserError(f"{told}: {connection} is in the world's frame, which no sensor of the robot knows")


def _picture(tensor: LeappTensor, spec: AgentSpec, *, told: str) -> Picture:
    if tensor.dtype != "uint8":
        what = "is an image as float32, in a range that it does not tell" if tensor.kind == IMAGE else tensor.dtype
        raise UserError(f"{told}: {what}; float32 numbers and uint8 images are given")
    found = [one.name for one in spec.observations if one.is_image and (1, *one.shape) == tensor.shape]
    if len(found) != 1:
        raise UserError(f"{told}: uint8 {tensor.shape}: the robot has {len(found)} cameras of that size")
    return Picture(found[0])


def _orientation(tensor: LeappTensor, spec: AgentSpec, *, told: str) -> InputSource:
    names = canonical(ROTATION, tensor.elements() or ())
    if sorted(names) != sorted(QUATERNION):
        raise UserError(f"{told}: {ROTATION} needs element_names qx, qy, qz, qw in its order, not {', '.join(names)}")
    field = next((one for one in spec.observations if canonical(ROTATION, one.labels) and one.shape == (4,)), None)
    if field is not None and sorted(canonical(ROTATION, field.labels)) == sorted(QUATERNION):
        own = canonical(ROTATION, field.labels)
        return Elements(tuple((field.name, own.index(name)) for name in names))
    gravity = next((one for one in spec.observations if one.name == GRAVITY and one.labels == XYZ), None)
    if gravity is None:
        raise UserError(f"{told}: robot {spec.robot} observes neither an orientation nor {GRAVITY}")
    return Orientation(tuple(QUATERNION.index(name) for name in names))


def _joints(tensor: LeappTensor, spec: AgentSpec, *, told: str) -> tuple[str, ...]:
    if MODE_OF_TARGET[str(tensor.kind)] != spec.action.mode:
        raise UserError(f"{told}: is of the kind {tensor.kind}; the robot takes {_wanted(spec)}")
    if tensor.is_chunk:
        raise UserError(f"{told}: has an axis of time; one command a tick is given")
    joints = tensor.elements()
    if joints is None:
        raise UserError(f"{told}: needs element_names: joints are matched by name, never by index")
    given = tensor.told("units", "unit")
    if given is not None and given != spec.action.unit:
        raise UserError(f"{told}: is in {given}, the robot's command in {spec.action.unit}")
    if unknown := [joint for joint in joints if joint not in spec.action.joints]:
        raise UserError(f"{told}: joint {unknown[0]} is none of {spec.robot}'s: {', '.join(spec.action.joints)}")
    return joints


def _require_every_joint(targets: Mapping[str, tuple[str, ...]], spec: AgentSpec, *, origin: str) -> None:
    commanded = [joint for joints in targets.values() for joint in joints]
    for joint in spec.action.joints:
        if commanded.count(joint) != 1:
            times = "is not commanded" if joint not in commanded else f"is commanded {commanded.count(joint)} times"
            raise UserError(f"{origin}: outputs: joint {joint} {times} as {_wanted(spec)}")


def _wanted(spec: AgentSpec) -> str:
    return " or ".join(kind for kind, mode in MODE_OF_TARGET.items() if mode == spec.action.mode)
