"""Bundles for the tests of this folder: ``python tests/gpu/write_bundles.py FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

from robot_wm.runtime.manifest import POLICY_OP17
from robot_wm.runtime.parity_section import LOW_PRECISIONS
from robot_wm_bench.agent import fresh_agent, random_rollout
from robot_wm_export.export import export_agent


def write_bundle(obs: str, folder: Path) -> Path:
    """Export a fresh 12m agent that sees ``obs`` in all precisions to FOLDER/<obs>.rwm."""
    agent, spec = fresh_agent("12m", obs)
    out = folder / f"{obs}.rwm"
    export_agent(agent, spec, random_rollout(agent, spec), {}, out, profiles=(POLICY_OP17,), precisions=LOW_PRECISIONS)
    return out


if __name__ == "__main__":
    for seen in ("proprio", "image"):
        print(write_bundle(seen, Path(sys.argv[1])))
