"""What an agent imagines with: its latent model, and what it takes to begin where a tick has ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from robot_wm.search.latent_model import StagedModel


class LatentPart(NamedTuple):
    """Numbers of a latent that belong together."""

    name: str
    size: int
    group: int  # numbers of each of its groups: a variable's classes, a block's units


class Imagination(NamedTuple):
    """The model that an agent learned, for who compares what it promises with what comes of it."""

    model: StagedModel
    latent: Callable[[Mapping[str, Tensor]], Tensor]  # a tick's state [N, *shape] by name -> where the model is [N, L]
    parts: tuple[LatentPart, ...]  # of a latent, side by side
    discount: float  # of a control step while the episode goes on; the model's own discounts hold it
    horizon: int  # control steps that the agent learned to look ahead
    # Latents [N, L] -> observation fields by name as the graph sees them [N, *shape], images 0..1; None without one.
    decode: Callable[[Tensor], Mapping[str, Tensor]] | None = None
