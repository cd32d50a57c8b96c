"""A LEAPP package on disk: opened, bounded and hashed; nothing in it is executed, and no code is loaded."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from robot_wm.errors import UserError
from robot_wm.runtime.manifest import MAX_FILE_BYTES
from robot_wm.yaml_file import read_mapping
from robot_wm_export.leapp.description import LeappDescription, LeappTensor

_ONNX = "onnx"
_CODE = {"jit": "TorchScript", "pt2": "a torch.export program"}
_MAX_STATE_BYTES = 2**28


@dataclass(frozen=True)
class LeappNode:
    """A node with its ONNX file, which has the hash that the description names."""

    name: str
    inputs: tuple[LeappTensor, ...]
    outputs: tuple[LeappTensor, ...]
    graph: bytes


@dataclass(frozen=True)
class LeappPackage:
    """What is in the folder. A tensor's port is ``node/tensor``."""

    description: Path
    told: LeappDescription
    nodes: tuple[LeappNode, ...]  # in the order in which they are computed
    initial: Mapping[str, NDArray[Any]]  # port of an input that is fed back -> value before the first tick

    @property
    def frequency_hz(self) -> float | None:
        """How often the graph is to be computed; None where the package does not say."""
        value = self.told.pipeline.configs.get("frequency")
        return float(value) if isinstance(value, int | float) else None

    def tensor(self, port: str) -> LeappTensor:
        """The tensor of a port."""
        name, tensor = port.split("/")
        node = next(node for node in self.nodes if node.name == name)
        return next(entry for entry in (*node.inputs, *node.outputs) if entry.name == tensor)

    def external_inputs(self) -> list[str]:
        """Ports that somebody outside fills, in the order of the description."""
        return [f"{node}/{name}" for node, names in self.told.pipeline.inputs.items() for name in names]

    def external_outputs(self) -> list[str]:
        """Ports that go outside."""
        return [f"{node}/{name}" for node, names in self.told.pipeline.outputs.items() for name in names]

    def feedback(self) -> dict[str, str]:
        """Port of an input -> port of the output whose value it has at the next tick."""
        return {target: source for source, targets in self.told.pipeline.feedback_flow.items() for target in targets}

    def forward(self) -> dict[str, str]:
        """Port of an input -> port of the output whose value it has in the same tick."""
        return {target: source for source, targets in self.told.pipeline.data_flow.items() for target in targets}


def describe(path: Path) -> tuple[Path, LeappDescription]:
    """The description of the package ``path``: its folder, or the YAML itself. Raises UserError."""
    description = path
    if path.is_dir():
        found = sorted(path.glob("*.yaml"))
        if len(found) != 1:
            there = ", ".join(entry.name for entry in found) or "none"
            raise UserError(f"{path}: a LEAPP package has one description *.yaml; here: {there}")
        description = found[0]
    body = read_mapping(description)
    try:
        return description, LeappDescription.model_validate(body)
    except ValidationError as error:
        raise UserError.from_validation(error, origin=str(description)) from None


def read_package(path: Path) -> LeappPackage:
    """Read the package ``path`` (its folder or its YAML): UserError naming file and field for what cannot be used."""
    description, told = describe(path)
    folder = description.parent
    nodes = []
    for name, body in told.models.items():
        parameters = body.parameters
        if parameters.backend != _ONNX:
            what = _CODE.get(parameters.backend, f"for the backend {parameters.backend!r}")
            raise UserError(
                f"{description}: model {name} is {what}, which is code and is not loaded from others;"
                " export it with leapp's export_with='onnx'"
            )
        content = read_beside(folder, parameters.model_path, MAX_FILE_BYTES)
        sha256 = hashlib.sha256(content).hexdigest()
        if sha256 != parameters.sha256sum:
            raise UserError(
                f"{folder / parameters.model_path}: was changed: its SHA-256 is {sha256},"
                f" {description.name} says {parameters.sha256sum}"
            )
        nodes.append(LeappNode(name, body.inputs, body.outputs, content))
    return LeappPackage(description, told, tuple(nodes), _initial(description, told))


def read_beside(folder: Path, name: str, limit_bytes: int) -> bytes:
    """Content of a plain file beneath ``folder``; UserError for a name that leaves it, a link and a larger file."""
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts or "\\" in name or not relative.parts:
        raise UserError(f"{folder}: {name[:100]!r} is not a file of the package")
    path = folder.joinpath(*relative.parts)
    try:
        inside = path.parent.resolve().is_relative_to(folder.resolve())
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not inside or not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UserError(f"{path}: not a plain file of the package")
            content = file.read(limit_bytes + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot read it: {error.strerror}") from None
    if len(content) > limit_bytes:
        raise UserError(f"{path}: larger than {limit_bytes} bytes")
    return content


def _initial(description: Path, told: LeappDescription) -> dict[str, NDArray[Any]]:
    """Values before the first tick, one for every input that is fed back."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    targets = [target for names in told.pipeline.feedback_flow.values() for target in names]
    name = told.pipeline.initial_values
    if name is None:
        values: dict[str, NDArray[Any]] = {}
    else:
        path = description.parent / name
        try:
            values = load(read_beside(description.parent, name, _MAX_STATE_BYTES))
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}: not a safetensors file of plain numbers: {str(error)[:200]}") from None
    if odd := sorted(values.keys() ^ set(targets)):
        raise UserError(f"{description}: initial value of {odd[0][:100]}: is missing, or nothing is fed back there")
    for port, value in values.items():
        node, tensor = port.split("/")
        wanted = next(entry for entry in told.models[node].inputs if entry.name == tensor).shape
        if value.shape != wanted or not np.isfinite(value.astype(np.float64)).all():
            raise UserError(f"{description}: initial value of {port}: {value.shape} or not finite, expected {wanted}")
    return values
