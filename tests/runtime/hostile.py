"""What the tests of hostile bundles share: how a bundle is made hostile, and all that a robot does with it.

Two enemies: one who can change a bundle's bytes, and one who can write unsigned bundles, whose manifest lists the
hostile files with the right hashes. The second gets as far as the engine.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from robot_wm.errors import UserError
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.manifest import MANIFEST, SIGNATURE
from robot_wm.runtime.start import start_controller
from robot_wm.spec import AgentSpec

MAX_MESSAGE = 4100  # characters
MAX_EXTRA_BYTES = 512 * 2**20  # of address space, beyond what the imports take
BOMB_BYTES = 10 * 10**9


def use(path: Path, public_key: Path | None = None) -> str:
    """Do all that a robot does with a bundle; the refusal in words, or "" if there was none."""
    try:
        with Bundle.open(path, public_key) as bundle, start_controller(bundle) as controller:
            bundle.recording()
            controller.enable()
            observation = {field.name: np.zeros(field.shape, field.dtype) for field in bundle.spec.observations}
            for tick in range(3):
                command = controller.step(observation, float(tick))
                assert np.isfinite(command.command).all()
    except UserError as error:
        message = str(error)
        assert message.isprintable()
        assert len(message) <= MAX_MESSAGE, message
        return message
    return ""


def copied(original: Path, folder: Path) -> Path:
    """A copy to change: ``folder/agent.rwm``."""
    return Path(shutil.copytree(original, folder / "agent.rwm"))


def listed(folder: Path, *added: str) -> Path:
    """List the files as they are now, ``added`` ones too, as one does who can write bundles; the signature goes."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    for name in (*manifest["files"], *added):
        content = (folder / name).read_bytes()
        manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    return relisted(folder, manifest)


def relisted(folder: Path, manifest: Any) -> Path:
    """Write a manifest whose spec hash is right."""
    with suppress(ValueError, TypeError, KeyError):  # it may be no spec any more
        manifest["spec_sha256"] = AgentSpec.model_validate(manifest["spec"]).content_hash()
    (folder / MANIFEST).write_text(json.dumps(manifest))
    (folder / SIGNATURE).unlink(missing_ok=True)
    return folder


def cut(name: str, keep: float) -> Callable[[Path], Path]:
    """A change that keeps so much of one file."""

    def change(folder: Path) -> Path:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * keep)])
        return listed(folder)

    return change
