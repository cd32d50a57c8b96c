"""Write a bundle: whole or not at all, verified before it gets its name, never changed afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from robot_wm.atomic import atomic_directory, atomic_file, require_writable
from robot_wm.errors import UserError
from robot_wm.runtime.archive import write_archive
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.graph_tensors import Draw, NoiseTensor, StateTensor, TensorSpec
from robot_wm.runtime.manifest import MANIFEST, MODEL_CARD, PARITY, SIGNATURE, FileEntry, Lineage, Manifest
from robot_wm.runtime.monitor import MonitorSection
from robot_wm.runtime.parity_recording import Recording, write_recording
from robot_wm.runtime.parity_section import Parity
from robot_wm.runtime.planner_section import Planner
from robot_wm.runtime.planning.plan_recording import PlanRecording, write_plans
from robot_wm.runtime.signature import sign
from robot_wm.spec import AgentSpec

BUNDLE_SUFFIX = ".rwm"


def check_target(out: Path) -> None:
    """Refuse (UserError) a name that is no bundle's or is taken, for a bundle is never changed, and a place that cannot
    be written.
    """
    if out.suffix != BUNDLE_SUFFIX:
        raise UserError(f"{out}: a bundle is a folder whose name ends in {BUNDLE_SUFFIX}")
    for path in (out, zip_path(out)):
        if path.exists() or path.is_symlink():
            raise UserError(f"{path}: exists; a bundle is never changed, choose another name")
    require_writable(out)


def write_bundle(
    out: Path,
    *,
    kind: str,
    spec: AgentSpec,
    state: Sequence[StateTensor],
    noise: Sequence[NoiseTensor],
    outputs: Sequence[TensorSpec],
    draws: Sequence[Draw],
    surprise_unit: Literal["nats"] | None,
    graphs: Mapping[str, bytes],
    recording: Recording,
    parity: Parity,
    lineage: Lineage,
    sign_key: Ed25519PrivateKey | None = None,
    monitor: MonitorSection | None = None,
    planner: Planner | None = None,
    plans: PlanRecording | None = None,
    card: Callable[[Manifest], str] | None = None,
) -> Manifest:
    """Write the folder ``out`` (``*.rwm``) and return its manifest.

    ``graphs`` are the ONNX files by name, among them that of a ``planner``, whose recording is ``plans``. ``card``
    makes the card for people of a manifest that lists everything else. The bundle is opened and checked like any other
    before ``out`` appears.
    Raises UserError if ``out`` is there already, or comes into being meanwhile.
    """
    check_target(out)
    with atomic_directory(out, replace=False) as folder:
        for name, content in graphs.items():
            (folder / name).write_bytes(content)
        write_recording(folder / PARITY, recording)
        recordings = [PARITY]
        if planner is not None and plans is not None:
            write_plans(folder / planner.parity.file, plans, planner.noise)
            recordings.append(planner.parity.file)
        manifest = Manifest(
            kind=kind,
            spec=spec,
            spec_sha256=spec.content_hash(),
            files={name: _entry(folder / name) for name in sorted([*graphs, *recordings])},
            state=tuple(state),
            noise=tuple(noise),
            outputs=tuple(outputs),
            draws=tuple(draws),
            surprise_unit=surprise_unit,
            planner=planner,
            monitor=monitor,
            parity=parity,
            lineage=lineage,
        )
        if card is not None:
            (folder / MODEL_CARD).write_text(card(manifest), encoding="utf-8")
            files = manifest.files | {MODEL_CARD: _entry(folder / MODEL_CARD)}
            manifest = manifest.model_copy(update={"files": dict(sorted(files.items()))})
        raw = manifest.to_json()
        (folder / MANIFEST).write_bytes(raw)
        if sign_key is not None:
            (folder / SIGNATURE).write_bytes(sign(raw, sign_key))
        Bundle.open(folder)
    return manifest


def write_zip(bundle: Path, *, compress: bool = False) -> Path:
    """Pack the folder ``bundle`` into ``<bundle>.zip``, the same bytes for the same bundle; returns its path.

    ``compress`` is for small storage (LZMA).
    """
    target = zip_path(bundle)
    if target.exists():
        raise UserError(f"{target}: exists; a bundle is never changed, choose another name")
    # The manifest first: a reader that streams can refuse early.
    names = sorted((path.name for path in bundle.iterdir()), key=lambda name: (name not in (MANIFEST, SIGNATURE), name))
    with atomic_file(target) as temporary:
        write_archive(temporary, ((name, bundle / name) for name in names), compress=compress)
    return target


def zip_path(bundle: Path) -> Path:
    """Where the transport form of ``bundle`` lies."""
    return bundle.with_name(bundle.name + ".zip")


def _entry(path: Path) -> FileEntry:
    content = path.read_bytes()
    return FileEntry(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
