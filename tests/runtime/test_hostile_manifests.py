"""Manifests from an enemy who can write unsigned bundles: refused in one line, fast and in little memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hostile import BOMB_BYTES, relisted

from robot_wm.runtime.manifest import MANIFEST, PARITY, SIGNATURE


def a_listing_of_10_gb(folder: Path) -> Path:
    manifest = json.loads((folder / MANIFEST).read_bytes())
    manifest["files"][PARITY]["size_bytes"] = BOMB_BYTES
    return relisted(folder, manifest)


def manifest_text(change: Callable[[str], str]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / MANIFEST).write_text(change((folder / MANIFEST).read_text()))
        (folder / SIGNATURE).unlink()
        return folder

    return write


def at(*path: str | int, value: Any) -> Callable[[Path], Path]:
    """One value of the manifest replaced; the spec's hash is right again afterwards."""

    def change(folder: Path) -> Path:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        parent = manifest
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = value
        return relisted(folder, manifest)

    return change


def without_end(text: str) -> Callable[[Path], Path]:
    return manifest_text(lambda raw: raw.replace('"steps": 7', f'"steps": {text}'))


HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    # name: (what is done to a copy of a sound bundle, what the refusal must name)
    "listing of 10 GB": (a_listing_of_10_gb, "size_bytes"),
    "JSON cut": (manifest_text(lambda raw: raw[:-20]), "Invalid JSON"),
    "JSON nested": (without_end('{"a":' * 100_000 + "1" + "}" * 100_000), "recursion limit"),
    "JSON brackets": (manifest_text(lambda raw: "[" * 2_000_000), "recursion limit"),
    "JSON huge integer": (without_end("9" * 3_000_000), "Invalid JSON"),
    "JSON huge float": (without_end("1e99999"), "steps"),
    "JSON NaN": (manifest_text(lambda raw: raw.replace('"clip": 3.0', '"clip": NaN')), "clip"),
    "JSON key twice": (
        manifest_text(lambda raw: raw.replace('"kind"', '"kind": "muzero", "kind"')),
        "kind is there twice",
    ),
    "JSON of millions": (without_end("[" + "0," * 1_900_000 + "0]"), "more than"),
    "JSON of wrong objects": (at("state", value=[{}] * 11_000), "state.0.name"),
    "JSON of wrong keys": (at("files", value={f"/{i}": 0 for i in range(11_000)}), "files./0"),
    "JSON too large": (without_end('"' + "x" * 2**22 + '"'), "larger than"),
    "terminal codes": (at("files", value={"\x1b[2J\n": 0}), "\\x1b[2J"),
    "endless name": (at("spec", "action", "x" * 100_000, value=1), "xxx"),
    "rates beyond doubles": (at("spec", "control_rate_hz", value=1e-307), "multiple"),
    "scale beyond floats": (at("spec", "action", "scale", value=[1e300]), "float32"),
    "state of another shape": (at("state", 2, "shape", value=[1, 7]), "action"),
    "logits of one class": (at("outputs", 3, "shape", value=[1, 6, 1]), "one shape, of 2 classes or more"),
    "a million draws": (at("draws", value=[{}] * 11_000), "draws.0.logits"),
    "draw of a draw": (at("draws", 0, "logits", value="next/stoch"), "computed before it"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_it_is_refused_fast_and_in_little_memory(case, require_refusal):
    require_refusal(*HOSTILE[case])
