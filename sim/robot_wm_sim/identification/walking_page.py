"""The folder that matching a walk leaves: ranges, numbers, a picture, and a page with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.atomic import atomic_file
from robot_wm.page import saved_picture, write_page
from robot_wm.yaml_file import write_yaml
from robot_wm_sim.identification.matching import BOUNDS, Matched
from robot_wm_sim.identification.page import NUMBERS, PAGE, RANGES
from robot_wm_sim.identification.ranges_file import plain
from robot_wm_sim.randomisation.ranges import Randomisation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOT_TOLD = "what one joint is beside another, zeros of encoders, and how late sensors and commands are apart"
_SHOWN = ((3, "last command, from it"), (1, "speed"))  # of the features, SI


def write_walk(
    out: Path,
    found: Matched,
    told: Sequence[NDArray[np.float64]],
    joints: Sequence[str],
    over: Randomisation,
    log: Path,
) -> dict[str, Any]:
    """Write identified.yaml, identified.json, identified.html and motions.png to ``out``; the numbers."""
    out.mkdir(parents=True, exist_ok=True)
    numbers = {
        "log": str(log),
        "deploy": not found.reasons,
        "reasons": list(found.reasons),
        "distance": found.distance,
        "held_out": found.held_out,
        "held_out_before": found.before,
        "rollouts_from_each_other": found.luck,
        "worlds_tried": found.tried,
        "best": found.best,
        "ranges": {name: list(ends) for name, ends in found.ranges.items()},
        "not_told": [name for name in found.ranges if not found.is_informed(name)],
    }
    verdict = "do not deploy: " + "; ".join(found.reasons) if found.reasons else "within the thresholds"
    with atomic_file(out / RANGES) as temporary:
        temporary.write_text(f"# Matched to a walk, {log.name}; {verdict}.\n{write_yaml(_ranges(found, over))}")
    with atomic_file(out / NUMBERS) as temporary:
        temporary.write_text(json.dumps(numbers, indent=1) + "\n")
    apart, figure = "Distributions, and not times, are compared.", motions(found, told, joints)
    write_page(
        out / PAGE,
        title=f"{log.name}: worlds that move alike",
        subtitle=f"Of all joints together. {verdict[0].upper()}{verdict[1:]}. A walk does not tell {NOT_TOLD}.",
        headline=[
            ("verdict", "do not deploy" if found.reasons else "deploy"),
            ("held out, from the log", f"{found.held_out:.3f}, as built {found.before:.3f}"),
            ("rollouts from each other", f"{found.luck:.3f}"),
        ],
        pictures=[saved_picture(out / "motions.png", "Motions", apart, figure)],
        rows={
            name: f"{found.best[name]:.4g}, {low:.4g} to {high:.4g} {'' if found.is_informed(name) else '(not told)'}"
            for name, (low, high) in found.ranges.items()
        },
    )
    return numbers


def _ranges(found: Matched, over: Randomisation) -> dict[str, Any]:
    body = {name: plain(value) for name, value in over.model_dump(mode="json", exclude_defaults=True).items()}
    body |= {name: [float(f"{end:.4g}") for end in found.ranges[name]] for name in BOUNDS if name in found.ranges}
    if "armature_s2" in body:
        body["skip_where_impossible"] = sorted({*body.get("skip_where_impossible", ()), "armature_s2"})
    return body


def motions(found: Matched, told: Sequence[NDArray[np.float64]], joints: Sequence[str]) -> Figure:
    """Of each joint the distribution of two features: in the log, in the world found, and in the world as built."""
    from matplotlib.figure import Figure

    rows = -(-len(joints) // 3)
    figure = Figure(figsize=(13, 2.0 * rows), layout="constrained")
    axes = figure.subplots(rows, 6, squeeze=False).flat
    log = np.concatenate(told)  # [W, N, F]
    shown = (
        (found.shown_before.windows, "0.65", "as built"),
        (log, "C0", "log"),
        (found.shown.windows, "C1", "matched"),
    )
    for place, axis in enumerate(axes):
        joint, (feature, title) = place // 2, _SHOWN[place % 2]
        if joint >= len(joints):
            axis.set_visible(False)
            continue
        low, high = np.quantile(log[:, joint, feature], (0.002, 0.998))
        for values, colour, label in shown:
            edges = list(np.linspace(low, high, 40))
            axis.hist(values[:, joint, feature], edges, density=True, histtype="step", color=colour, label=label)
        axis.set_title(f"{joints[joint]}\n{title}", fontsize=6)
        axis.set_yticks([])
        axis.tick_params(labelsize=6)
    figure.axes[0].legend(fontsize=6)
    return figure
