"""The folder that an audit leaves: a page with everything in it, its numbers, and its pictures beside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robot_wm.atomic import atomic_file
from robot_wm.errors import UserError
from robot_wm.inspect.audit import Audit, told
from robot_wm.inspect.audit_pictures import (
    horizon_figure,
    reliability_figure,
    states_figure,
    term_rows,
    terms_figure,
    told_terms,
)
from robot_wm.inspect.exploits import film_exploit, rank_exploits
from robot_wm.inspect.world import World
from robot_wm.page import Picture, animation, saved_picture, write_page
from robot_wm.spec import AgentSpec

JSON, PAGE = "audit.json", "audit.html"
_SLOWER = 4.0  # than life: a horizon is a fraction of a second


def write_audit(
    folder: Path, found: Audit, spec: AgentSpec, world: World, *, of: Mapping[str, Any], clips: int
) -> dict[str, Any]:
    """Write the report to ``folder`` and return what it says; ``of`` comes first: what was audited, on which replay."""
    folder.mkdir(parents=True, exist_ok=True)
    exploits = rank_exploits(found.compared, clips)
    result = {
        **of,
        **told(found),
        "terms": term_rows(found),
        "exploited": [exploit.as_row() for exploit in exploits],
    }
    pictures = [Picture("What was found", " · ".join(f.text for f in found.findings) or "Nothing beyond its limit.")]
    drawn = [
        ("horizon", "Imagined and real return by horizon", "Of the policy, from the same real states.", horizon_figure),
        (
            "reliability",
            "Does it come true as often as it is said?",
            "On the diagonal what is predicted comes; below it the model promises too much.",
            reliability_figure,
        ),
        ("states", "State by state", "Above the diagonal the model promises more than comes.", states_figure),
    ]
    if told_terms(found):
        text = "Read off imagined latents by a line that was fitted to real ones; R² on episodes that were held out."
        drawn.append(("terms", "By reward term", text, terms_figure))
    for name, title, text, draw in drawn:
        pictures.append(saved_picture(folder / f"{name}.png", title, text, draw(found)))
    try:
        for place, exploit in enumerate(exploits, 1):
            frames = film_exploit(exploit, found.compared, spec, world)
            text = (
                f"Imagined {exploit.gap:.3g} more than came. As it really was, {_SLOWER:g} times slower, from step 0."
            )
            title = f"Exploited {place}: episode {exploit.state.lived.start.number}, step {exploit.state.step}"
            pictures.append(animation(title, text, frames, period_s=_SLOWER * spec.control_period_s))
    except UserError as error:
        pictures.append(Picture("No clips", str(error)))
    with atomic_file(folder / JSON) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n")
    write_page(
        folder / PAGE,
        title=f"Audit: imagination against reality, {spec.task}",
        subtitle=" · ".join(f"{name} {value}" for name, value in of.items()),
        headline=[
            ("gap over the horizon", f"{found.relative_gap:+.1%}"),
            ("control steps imagined", str(found.compared.horizon)),
            ("states", str(len(found.compared.states))),
            ("findings", str(len(found.findings))),
        ],
        pictures=pictures,
        rows=result,
    )
    return result
