"""What a simulated world draws anew for each episode: masses, frictions, delays.

An environment that randomises names its quantities, with their units, in ``randomisation_names`` (``payload_kg``,
``friction``, ``latency_s``); ``info["randomisation"]`` of every reset then holds their values in that episode. It is
stored with the episode, so that what was learned can be laid beside what was drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from robot_wm.figures import numbers

if TYPE_CHECKING:
    import gymnasium


def randomisation_names(env: gymnasium.Env[Any, Any]) -> tuple[str, ...]:
    """Names of the quantities that a task's environment draws; none where it declares none."""
    return tuple(getattr(env.unwrapped, "randomisation_names", ()))


def drawn(names: Sequence[str], info: Mapping[str, Any]) -> dict[str, float]:
    """The values of ``names`` in an episode, from the ``info`` of its reset; NaN where one is not told."""
    return numbers(names, info.get("randomisation"))
