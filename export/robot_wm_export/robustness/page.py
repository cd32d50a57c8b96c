"""The folder that a grid of worlds leaves: JSON, pictures, and a page with the pictures in it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robot_wm.atomic import atomic_file
from robot_wm.page import saved_picture, write_page
from robot_wm_export.robustness import pictures
from robot_wm_export.robustness.measure import Outcome


def write_robustness(out: Path, result: Mapping[str, Any], outcomes: Sequence[Outcome]) -> None:
    """Write ``robustness.json``, ``robustness.html`` and its pictures to ``out``; ``result`` has `summary`'s values."""
    out.mkdir(parents=True, exist_ok=True)
    with atomic_file(out / "robustness.json") as temporary:
        temporary.write_text(json.dumps({**result, "worlds": [one.as_dict() for one in outcomes]}, indent=1) + "\n")
    figures = [
        (
            "overview",
            "One quantity at a time",
            "From its range's low end to its high end.",
            pictures.overview(outcomes),
        ),
        ("singles", "The same over its values", "A cross: an episode fell there.", pictures.singles(outcomes)),
    ]
    for pair in dict.fromkeys(one.cell.quantities for one in outcomes if one.cell.kind == "pair"):
        name = "pair_" + "_".join(quantity.replace("/", "_") for quantity in pair)
        figures.append((name, " and ".join(pair), "Both moved at once.", pictures.pair(outcomes, pair)))
    shown = [saved_picture(out / f"{name}.png", title, text, figure) for name, title, text, figure in figures]
    write_page(
        out / "robustness.html",
        title=f"{result['bundle']}: robustness",
        subtitle=f"Ranges of {result['ranges']}, episodes from seed {result['seed']} on.",
        headline=[(f"return, {name}", f"{figures['return_mean']:.0f}") for name, figures in result["named"].items()],
        pictures=shown,
        rows=_rows(result),
    )


def _rows(result: Mapping[str, Any]) -> dict[str, str]:
    def line(told: Mapping[str, Any]) -> str:
        shown = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in told.items()}
        return ", ".join(f"{key} {value}" for key, value in shown.items())

    rows = {name: "met" if met else "missed" for name, met in result["goals"].items()}
    rows |= {name: line(told) for name, told in result["named"].items()}
    return rows | {f"worst single world, {n + 1}": line(told) for n, told in enumerate(result["worst"])}
