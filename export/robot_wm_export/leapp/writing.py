"""Write a bundle as a LEAPP package: YAML, ONNX and initial values, and beside them what LEAPP has no words for.

The folder ``robot_wm`` holds the manifest with its signature and every file of the bundle but the policy's graph,
which is in the node. The way back puts them together again and finds the hashes of the manifest, or refuses.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from robot_wm.atomic import atomic_directory, require_writable
from robot_wm.errors import UserError
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.manifest import MANIFEST, POLICY_OP17, SIGNATURE
from robot_wm.yaml_file import write_yaml
from robot_wm_export.leapp.check import LeappCheck, check_with_leapp
from robot_wm_export.leapp.description import CONFIG_VERSION
from robot_wm_export.leapp.outgoing import NODE, LeappGraph, Told, leapp_graph, recovered

SIDE_FOLDER = "robot_wm"
EXTENSION = "robot_wm"  # key of `pipeline.configs`, where LEAPP keeps what it does not know
FORMAT = 1
_GRAPH = f"{NODE}.onnx"
# What a runtime that reads LEAPP alone will not do; the robot's own does all of it.
LOST = (
    "limits of position, speed, effort and rate, soft start, hold and damp: nothing limits the command",
    "the age at which an observation is stale, and the check of every value for being finite",
    "the command after the safety filter: fed back is what the policy asked for",
    "the spec's hash, parity, lineage and signature: in robot_wm/, which only robot_wm reads",
)


@dataclass(frozen=True)
class LeappReport:
    """What was written."""

    path: Path
    description: Path
    without_kind: tuple[str, ...]  # inputs for which LEAPP has no kind: another runtime must be told
    lost: tuple[str, ...]
    check: LeappCheck | None  # None: leapp is not installed


def export_leapp(bundle: Bundle, out: Path) -> LeappReport:
    """Write ``bundle`` to the new folder ``out``, and let leapp's own runtime compute it where that is installed.

    Raises UserError where ``out`` is there, and where leapp's runtime computes something else than the bundle's engine.
    """
    if out.exists() or out.is_symlink():
        raise UserError(f"{out}: exists; choose another name")
    require_writable(out)
    manifest, policy = bundle.manifest, bundle.read(POLICY_OP17)
    graph = leapp_graph(policy, manifest, origin=str(bundle.path / POLICY_OP17))
    if recovered(graph.model, manifest) != policy:
        raise UserError(f"{bundle.path / POLICY_OP17}: cannot be wrapped so that it is found again; export it anew")
    name = out.name.removesuffix(".leapp")
    with atomic_directory(out, replace=False) as folder:
        description = folder / f"{name}.yaml"
        content = graph.model.SerializeToString(deterministic=True)
        (folder / _GRAPH).write_bytes(content)
        initial = f"{name}_initial_values.safetensors"
        _write_initial(folder / initial, graph)
        _write_side_files(folder / SIDE_FOLDER, bundle)
        body = _description(graph, content, initial, bundle)
        description.write_text("\n".join(write_yaml({key: value}) for key, value in body.items()))
        check = check_with_leapp(description, bundle)
    return LeappReport(
        path=out,
        description=out / description.name,
        without_kind=tuple(told.tensor.name for told in _outside(graph) if "kind" not in told.about),
        lost=_lost(bundle),
        check=check,
    )


def _outside(graph: LeappGraph) -> list[Told]:
    return [told for told in graph.inputs if told.tensor.name in graph.fed]


def _lost(bundle: Bundle) -> tuple[str, ...]:
    manifest = bundle.manifest
    lost = [*LOST]
    if manifest.noise:
        lost.append("sampling: noise inputs are states that stay zero, so the policy is greedy")
    if manifest.monitor is not None:
        lost.append("the monitor: in robot_wm/")
    if manifest.planner is not None:
        lost.append("the planner: in robot_wm/")
    return tuple(lost)


def _write_initial(path: Path, graph: LeappGraph) -> None:
    from safetensors.numpy import save

    path.write_bytes(save({f"{NODE}/{name}": value for name, value in graph.initial.items()}))


def _write_side_files(folder: Path, bundle: Bundle) -> None:
    folder.mkdir()
    for name in bundle.manifest.files:
        if name != POLICY_OP17:
            (folder / name).write_bytes(bundle.read(name))
    for name in (MANIFEST, SIGNATURE):
        if (bundle.path / name).exists():
            shutil.copyfile(bundle.path / name, folder / name)


def _description(graph: LeappGraph, content: bytes, initial: str, bundle: Bundle) -> dict[str, Any]:
    parameters = {
        "model_path": _GRAPH,
        "md5sum": hashlib.md5(content, usedforsecurity=False).hexdigest(),  # LEAPP's readers ask for both
        "sha256sum": hashlib.sha256(content).hexdigest(),
        "backend": "onnx",
        "opset_version": 17,
    }
    node = {
        "inputs": [_tensor(told) for told in graph.inputs],
        "outputs": [_tensor(told) for told in graph.outputs],
        "parameters": parameters,
    }
    spec = bundle.spec
    extension = {
        "format": FORMAT,
        "folder": SIDE_FOLDER,
        "manifest_sha256": bundle.manifest_sha256,
        "spec_sha256": spec.content_hash(),
        "kind": bundle.manifest.kind,
        "task": spec.task,
        "robot": spec.robot,
    }
    pipeline = {
        "data_flow": {},
        "feedback_flow": {f"{NODE}/{source}": [f"{NODE}/{target}"] for source, target in graph.feedback.items()},
        "inputs": {NODE: list(graph.fed)},
        "outputs": {NODE: list(graph.shown)},
        "initial_values": initial,
        "configs": {"frequency": spec.control_rate_hz, EXTENSION: extension},
    }
    about = {"leapp config version": CONFIG_VERSION, "written by": f"robot_wm {version('robot-wm')}"}
    return {"models": {NODE: node}, "pipeline": pipeline, "system information": about}


def _tensor(told: Told) -> dict[str, Any]:
    tensor = told.tensor
    about = {key: value for key, value in told.about.items() if value is not None}
    return {"name": tensor.name, "dtype": tensor.dtype, "shape": list(tensor.shape), "type": "tensor"} | about
