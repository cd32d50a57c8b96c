"""The last part of the quickstart: an A1 from the zoo, which took longer to learn than a newcomer wants to wait."""

from __future__ import annotations

import time
from typing import Any

from robot_wm.errors import UserError
from robot_wm.page import Picture, animation
from robot_wm.zoo.catalog import PREFIX, Zoo

AGENT = "a1_velocity"
_EVERY_S, _SHOWN_S, _BEFORE_S = 0.08, 2.4, 4.0  # the animation: a few steps, of a robot that has got going


def walk(zoo: Zoo, *, seed: int) -> dict[str, Any]:
    """One episode of the zoo's A1 through the controller, as fast as it goes; what it showed, for report.json.

    Where the zoo has no such agent, or it cannot run here, only ``agent`` and ``left_out``, which says why.
    """
    from robot_wm.evaluation.eval_command import evaluate_bundle

    started = time.monotonic()
    try:
        bundle = zoo.bundle(AGENT)
        rate_hz = zoo.card(AGENT).control_rate_hz
        result = evaluate_bundle(bundle, public_key=zoo.public_key, option={}, episodes=1, seed=seed)
    except UserError as error:
        return {"agent": PREFIX + AGENT, "left_out": str(error)}
    took_s, simulated_s = time.monotonic() - started, result["length_mean"] / rate_hz
    return {
        "agent": PREFIX + AGENT,
        "seed": seed,
        "return": result["return_mean"],
        "seconds": simulated_s,
        "took_s": round(took_s, 2),
        "times_real_time": round(simulated_s / took_s, 2),
        "falls": result["falls"],
        "figures": result["figures"],
        "p50_us": result["p50_us"],
        "p99_us": result["p99_us"],
        "backend": result["backend"],
    }


def walk_picture(zoo: Zoo, walked: dict[str, Any]) -> Picture:
    """A few steps of the same episode, moving; where it was left out, the reason alone."""
    from robot_wm_export.zoo_stills import stills

    title = "A walking A1, from the zoo"
    if "left_out" in walked:
        return Picture(title, f"Left out: {walked['left_out']}")
    until_s = min(_BEFORE_S + _SHOWN_S, walked["seconds"])
    frames = stills(
        zoo.bundle(AGENT),
        zoo.public_key,
        seed=walked["seed"],
        every_s=_EVERY_S,
        from_s=max(0.0, until_s - _SHOWN_S),
        until_s=until_s,
    )
    text = (
        f"This one was not learned here: it came with the library, and ran {walked['seconds']:.0f} s through the same "
        f"controller, {walked['times_real_time']:.1f} times as fast as real time. {figures_text(walked)}."
    )
    return animation(title, text, frames, period_s=_EVERY_S)


def figures_text(walked: dict[str, Any]) -> str:
    """Return, falls and what the task tells of the episode, in one line; parts of its figures are left out."""
    told = {"return": walked["return"], "falls": walked["falls"], **walked["figures"]}
    return ", ".join(f"{name} {value:.3g}" for name, value in told.items() if value is not None and "/" not in name)
