"""The folder that an identification leaves: ranges, numbers, pictures, and a page with the pictures in it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from robot_wm.atomic import atomic_file
from robot_wm.page import saved_picture, write_page
from robot_wm_sim.identification import pictures
from robot_wm_sim.identification.identify import Identified
from robot_wm_sim.identification.ranges_file import write_ranges
from robot_wm_sim.randomisation.ranges import Randomisation
from robot_wm_sim.robot import Robot

RANGES, NUMBERS, PAGE = "identified.yaml", "identified.json", "identified.html"


def write_folder(out: Path, found: Identified, robot: Robot, over: Randomisation, *, log: Path) -> None:
    """Write identified.yaml, identified.json, identified.html, fits.png and estimates.png to ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    of = f"{robot.name} in {found.backend}, from {log.name} ({found.log.duration_s:.1f} s)"
    verdict = "do not deploy: " + "; ".join(found.reasons) if found.reasons else "within the thresholds"
    write_ranges(out / RANGES, found, robot, over, told=f"Identified: {of}; {verdict}.")
    with atomic_file(out / NUMBERS) as temporary:
        temporary.write_text(json.dumps(told(found, log), indent=1) + "\n")
    judged, sure = "On the part of the log that was not fitted to.", "With three standard deviations; hollow: not told."
    shown = [
        saved_picture(out / "fits.png", "Fits over data", judged, pictures.fits(found)),
        saved_picture(out / "estimates.png", "Parameters", sure, pictures.estimates(found)),
    ]
    delay, strength = found.estimate("delay"), found.estimate("strength")
    assert delay is not None
    assert strength is not None
    worst = max(found.errors, key=lambda one: one.error / one.motion)
    write_page(
        out / PAGE,
        title=f"{robot.name}: what its joints are",
        subtitle=f"{of}. {verdict[0].upper()}{verdict[1:]}.",
        headline=[
            ("verdict", "do not deploy" if found.reasons else "deploy"),
            ("delay", f"{1e3 * delay.value:.1f} ± {1e3 * delay.deviation:.1f} ms"),
            ("torque scale", f"{strength.value:.3f} ± {strength.deviation:.3f}"),
            ("worst joint's error", f"{worst.error / worst.motion:.1%} of its motion"),
        ],
        pictures=shown,
        rows=_rows(found),
    )


def told(found: Identified, log: Path) -> dict[str, Any]:
    """All numbers as plain values, for JSON."""
    return {
        "log": str(log),
        "task": found.log.spec.task,
        "robot": found.log.spec.robot,
        "backend": found.backend,
        "duration_s": found.log.duration_s,
        "deploy": not found.reasons,
        "reasons": list(found.reasons),
        "misfit": found.fit.cost,
        "replays": found.fit.replays,
        "parameters": [
            {
                "kind": one.parameter.kind,
                "joint": one.parameter.joint or None,
                "unit": one.parameter.unit,
                "value": one.value,
                "deviation": one.deviation if math.isfinite(one.deviation) else None,
                "informed": one.is_informed,
            }
            for one in found.estimates
        ],
        "held_out": [
            {
                "joint": one.joint,
                "error": one.error,
                "error_before": one.error_before,
                "motion": one.motion,
                "noise": one.noise,
                "large": one.is_large,
            }
            for one in found.errors
        ],
    }


def _rows(found: Identified) -> dict[str, str]:
    rows = {}
    for one in found.estimates:
        value = f"{one.value:.4g} ± {one.deviation:.2g} {one.parameter.unit}"
        rows[one.parameter.name] = value if one.is_informed else f"not told by this log ({value})"
    for error in found.errors:
        rows[f"held out, {error.joint}"] = (
            f"{error.error:.2g} rms, {error.error / error.motion:.1%} of its motion; simulator as built"
            f" {error.error_before:.2g}"
        )
    return rows
