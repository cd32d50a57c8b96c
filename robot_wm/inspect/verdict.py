"""What is known of a checkpoint's imagination when somebody wants to let it out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robot_wm.errors import UserError
from robot_wm.inspect.audit_page import JSON


def known_audit(checkpoint: Path, kept: Mapping[str, Any]) -> dict[str, Any]:
    """The newest audit of that checkpoint: by `robot-wm audit`, else what training ``kept`` in it; empty without one.

    An audit in a world that was changed on purpose says nothing of the agent in its own, and does not count.
    """
    file = checkpoint.parent.parent / "audit" / JSON
    try:
        told = json.loads(file.read_text())
    except (OSError, ValueError):
        return dict(kept)
    of_this = isinstance(told, dict) and told.get("checkpoint") == checkpoint.name and "changed" not in told
    return told if of_this else dict(kept)


def require_real(told: Mapping[str, Any], max_gap: float, *, origin: str) -> None:
    """Raise UserError where an audit told of a gap above ``max_gap`` (a share), or found anything else."""
    gap = float(told.get("gap_at_least", 0.0))
    found = {name: text for name, text in told.get("findings", {}).items() if name != "gap"}
    if abs(gap) > max_gap:
        found["gap"] = (
            f"{told['horizon']} steps are imagined to bring {gap:+.1%} of what they bring, at the least"
            f" (--max-gap {max_gap:g})"
        )
    if found:
        raise UserError(
            f"{origin}: its imagination is not what comes: {'; '.join(found.values())}; --allow lets it out"
        )
