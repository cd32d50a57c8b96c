"""The way back of a package that robot_wm wrote: the same bundle, byte for byte, or none."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import onnx
from pydantic import JsonValue

from robot_wm.atomic import atomic_directory
from robot_wm.errors import UserError
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.bundle_writer import check_target
from robot_wm.runtime.graph_check import require_plain_graph
from robot_wm.runtime.manifest import MANIFEST, MAX_MANIFEST_BYTES, POLICY_OP17, SIGNATURE, Manifest
from robot_wm.runtime.signature import SIGNATURE_BYTES
from robot_wm_export.leapp.outgoing import NODE, recovered
from robot_wm_export.leapp.package import LeappPackage, read_beside
from robot_wm_export.leapp.writing import EXTENSION, FORMAT, SIDE_FOLDER


def is_ours(package: LeappPackage) -> bool:
    """Whether robot_wm wrote it."""
    return EXTENSION in package.told.pipeline.configs


def restore(package: LeappPackage, out: Path) -> Manifest:
    """Write the bundle that the package was made of to ``out`` (``*.rwm``), its signature too; returns the manifest.

    Raises UserError where the graph or a file is another one than the manifest says: then it is no longer that agent.
    """
    origin = str(package.description)
    extension = package.told.pipeline.configs[EXTENSION]
    if not isinstance(extension, Mapping) or extension.get("format") != FORMAT:
        raise UserError(
            f"{origin}: pipeline.configs.{EXTENSION}: format {FORMAT} is read here, found {extension!s:.80}"
        )
    check_target(out)
    folder = package.description.parent / SIDE_FOLDER
    raw = read_beside(folder, MANIFEST, MAX_MANIFEST_BYTES)
    _require_same_manifest(raw, extension, origin=str(folder / MANIFEST))
    manifest = Manifest.from_json(raw, origin=str(folder / MANIFEST))
    with atomic_directory(out, replace=False) as target:
        (target / POLICY_OP17).write_bytes(_policy(package, manifest))
        for name, entry in manifest.files.items():
            if name != POLICY_OP17:
                (target / name).write_bytes(read_beside(folder, name, entry.size_bytes))
        (target / MANIFEST).write_bytes(raw)
        if (folder / SIGNATURE).exists():
            (target / SIGNATURE).write_bytes(read_beside(folder, SIGNATURE, SIGNATURE_BYTES))
        Bundle.open(target).close()
    return manifest


def _require_same_manifest(raw: bytes, extension: Mapping[str, JsonValue], *, origin: str) -> None:
    found = hashlib.sha256(raw).hexdigest()
    if found != extension.get("manifest_sha256"):
        raise UserError(
            f"{origin}: is another bundle's: its SHA-256 is {found}, {extension.get('manifest_sha256')} told"
        )


def _policy(package: LeappPackage, manifest: Manifest) -> bytes:
    node = next((node for node in package.nodes if node.name == NODE), None)
    if node is None or len(package.nodes) > 1:
        raise UserError(
            f"{package.description}: models: only {NODE} was written, found {', '.join(package.told.models)}"
        )
    require_plain_graph(node.graph, origin=str(package.description.parent / f"{NODE}.onnx"))
    policy = recovered(onnx.load_from_string(node.graph), manifest)
    sha256, wanted = hashlib.sha256(policy).hexdigest(), manifest.files[POLICY_OP17].sha256
    if sha256 != wanted:
        raise UserError(
            f"{package.description}: the policy within was changed since it was exported: its SHA-256 is {sha256},"
            f" the manifest says {wanted}; --foreign imports it as somebody else's"
        )
    return policy
